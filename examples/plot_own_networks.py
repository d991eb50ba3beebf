"""
Your own network and regularizer
================================

The default network ignores which pixels of an image are neighbors. Is a convolutional encoder
better? And what if no regularizer compares the property that you need? You can write both in a few
lines. This example embeds images of digits (64 pixels) in 8 components.
"""

# %%
import math
import warnings

import matplotlib.pyplot as plt
import torch
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.model_selection import train_test_split
from torch import nn

from sklatent import GaussianEmbedder
from sklatent.inspection import GaussianityDisplay
from sklatent.metrics import reconstruction_scorer
from sklatent.regularizers import Regularizer, SlicedWasserstein

# Training is short here, so it ends before it converges.
warnings.filterwarnings("ignore", message="Stochastic Optimizer")
X, y = load_digits(return_X_y=True)
X_train, X_test = train_test_split(X / 16, test_size=0.3, stratify=y, random_state=0)

# %%
# A convolutional encoder
# -----------------------
#
# Write a function that takes the numbers of inputs and outputs and returns a torch module. The
# module receives a matrix with one sample per row, so its first layer reshapes the rows to images.
# The number of outputs depends on the regularizer, so do not write a constant. The output of the
# network is added to PCA's, and training starts at PCA.


def convolutions(in_features, out_features):
    """Return an encoder of square images."""
    side = math.isqrt(in_features)
    return nn.Sequential(
        nn.Unflatten(-1, (1, side, side)),
        nn.Conv2d(1, 16, 3, padding=1),
        nn.SiLU(),
        nn.Conv2d(16, 32, 3, stride=2, padding=1),
        nn.SiLU(),
        nn.Flatten(),
        nn.Linear(32 * (side // 2) ** 2, out_features),
    )


params = {"regularizer": SlicedWasserstein(), "max_iter": 60, "random_state": 0}
models = {
    "PCA": PCA(8, whiten=True, random_state=0),
    "default network": GaussianEmbedder(8, **params),
    "convolutions": GaussianEmbedder(8, encoder=convolutions, **params),
}
for name, model in models.items():
    print(f"{name:16} R^2 {reconstruction_scorer(model.fit(X_train), X_test):.3f}")

# %%
# The wrong answer is that a convolutional network is always better for images. These images are so
# small that the default network is as good. Compare both on your own data.
#
# Is the radius right?
# --------------------
#
# If the embedding u is N(0, I), the squared radius (the sum of the squared components) has a
# chi-square distribution. "sliced_wasserstein" compares projections on lines, so the radius can
# stay wrong: too few samples are near the center, and too few are far from the center.
#
# A regularizer of your own derives from `Regularizer`. Here p is the chi-square probability of a
# smaller radius, which is uniform for draws from N(0, I). The Cramér-von Mises statistic compares
# the sorted p with their expected values. The regularizer subtracts the expectation of this
# statistic for draws from N(0, I), so the mean penalty of Gaussian batches is zero.


class Radius(Regularizer):
    """Compare the squared radius with the chi-square distribution."""

    def __call__(self, embedding, n_rows=math.inf, generator=None):
        """Return the penalty of a batch, per model."""
        u = embedding.sample  # (..., n samples, k components)
        n, k = u.shape[-2:]
        half = torch.full_like(u[..., 0], k / 2)
        p = torch.special.gammainc(half, u.square().sum(dim=-1) / 2).sort(dim=-1).values
        expected = torch.arange(1, n + 1, dtype=u.dtype, device=u.device) / (n + 1)
        return 12 * ((p - expected).square().mean(dim=-1) - 1 / (6 * (n + 1)))


# %%
# You can add regularizers. The radius alone is not enough: samples on a line can also have the
# right distribution of the radius.

params["regularizer"] = SlicedWasserstein() + Radius()
both = models["with Radius"] = GaussianEmbedder(8, **params).fit(X_train)
print(f"with Radius      R^2 {reconstruction_scorer(both, X_test):.3f}")

# %%
# The plots show the squared radius of test samples against the quantiles of its target, the
# chi-square distribution. For 95 % of Gaussian data sets, all points are in the gray band.

figure, axes = plt.subplots(1, 3, figsize=(7.5, 2.9), sharey=True, layout="constrained")
for ax, name in zip(axes, ("PCA", "default network", "with Radius"), strict=True):
    display = GaussianityDisplay.from_estimator(models[name], X_test, ax=[ax], panels=["radius"])
    ax.set_title(name, loc="left", fontsize="medium")
    ax.label_outer()
    print(f"{name:16} outside of the band {display.outside_[0]:.2f}")
plt.show()
