"""
A Kalman filter on images
=========================

A bright spot moves in the plane, and a camera takes a noisy image at each time step. The position
follows a linear-Gaussian model, as a Kalman filter assumes. But the filter cannot use pixels,
because an image is not a linear function of the position. Which embedding of the images makes the
filter work?
"""

# %%
# The spot turns around the center, with random changes. Over a long time, its position is N(0, I).
# Each training image has one version with noise and one without. The test images have noise, and
# the camera fails for ten of every twenty steps.

import warnings
from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np
from scipy.stats import chi2
from sklearn.decomposition import PCA
from sklearn.linear_model import LinearRegression

from sklatent import GaussianEmbedder

# Training is short here, so it ends before it converges.
warnings.filterwarnings("ignore", message="Stochastic Optimizer")
rng = np.random.default_rng(0)
SIDE, NOISE, DAMPING, TURN = 16, 0.3, 0.98, 0.15
rotation = np.array([[np.cos(TURN), -np.sin(TURN)], [np.sin(TURN), np.cos(TURN)]])
pixels = np.stack(np.meshgrid(*2 * [np.linspace(-4, 4, SIDE)]), axis=-1).reshape(-1, 2)


def walk(n_steps):
    """Draw a path of the spot."""
    path = np.zeros((n_steps, 2))
    for before, now in pairwise(path):
        push = np.sqrt(1 - DAMPING**2) * rng.standard_normal(2)
        now[:] = DAMPING * rotation @ before + push
    return path


def render(path):
    """Draw an image for each position, as a matrix with one image per row."""
    distances = np.square(path[:, None] - pixels).sum(axis=-1)
    return np.exp(-distances / (2 * 0.8**2))


def add_noise(images):
    """Add noise to the pixels."""
    return images + NOISE * rng.standard_normal(images.shape)


path, path_test = walk(3000), walk(1000)
X, X_test = render(path), add_noise(render(path_test))
X_noisy = add_noise(X)
seen = np.arange(len(path_test)) % 20 < 10

# %%
figure, axes = plt.subplots(1, 6, figsize=(7, 1.6), layout="constrained")
for ax, t in zip(axes, range(0, 12, 2), strict=True):
    image = X_test[t] if seen[t] else np.full(SIDE**2, np.nan)
    ax.imshow(image.reshape(SIDE, SIDE), cmap="gray_r", origin="lower")
    ax.set(xticks=[], yticks=[], title=f"step {t}")

# %%
# The filter
# ----------
#
# The filter assumes :math:`z_{t+1} = A z_t + b + w` with Gaussian w, and observes z with Gaussian
# noise. A linear regression on the embedding z of the training images without noise estimates A, b
# and the covariance of w. The difference between the embeddings with and without image noise gives
# the covariance of the noise of z. While the camera fails, the filter only predicts.


def track(embedder):
    """Return the filter's means and covariances on the test images."""
    Z, observed = embedder.transform(X), embedder.transform(X_test)
    dynamics = LinearRegression().fit(Z[:-1], Z[1:])
    pushes = np.cov((Z[1:] - dynamics.predict(Z[:-1])).T)
    noise = np.cov((embedder.transform(X_noisy) - Z).T)
    mean, cov, means, covs = Z.mean(axis=0), np.cov(Z.T), [], []
    for z, camera_works in zip(observed, seen, strict=True):
        mean = dynamics.predict(mean[None])[0]
        cov = dynamics.coef_ @ cov @ dynamics.coef_.T + pushes
        if camera_works:
            gain = np.linalg.solve(cov + noise, cov).T
            mean, cov = mean + gain @ (z - mean), cov - gain @ cov
        means.append(mean)
        covs.append(cov)
    return np.array(means), np.array(covs)


# %%
# PCA, and a nonlinear embedding
# ------------------------------
#
# The position has two coordinates, so two components should be enough. The wrong answer is to keep
# two principal components. These components are not a linear function of the position, so their
# dynamics are not linear, and the filter loses the spot. The position is nearly a linear function
# of many components, so more components help, but more components also contain more noise.
#
# `GaussianEmbedder` learns two components. All embedders are trained on images with noise, so a
# nonlinear encoder also learns to ignore noise. The table has
#
# - the error of the position that a linear regression predicts from the filter's mean (root mean
#   square), while the camera works and while it fails;
# - the coverage: the share of the steps at which the filter's 90 % region contains the embedding of
#   the image without noise;
# - R^2 of a linear regression that predicts the position from the embedding without noise.

params = {"max_iter": 60, "random_state": 0}
embedders = {
    "PCA(2)": PCA(2, whiten=True),
    "PCA(8)": PCA(8, whiten=True),
    "PCA(20)": PCA(20, whiten=True),
    "no regularizer": GaussianEmbedder(2, regularizer=None, **params),
    '"kl"': GaussianEmbedder(2, regularizer="kl", **params),
}
tracks = {}
for name, embedder in embedders.items():
    Z = embedder.fit(X_noisy).transform(X)
    means, covs = track(embedder)
    position = LinearRegression().fit(Z, path)
    tracks[name] = position.predict(means)
    errors = np.square(tracks[name] - path_test).sum(axis=1)
    deviations = embedder.transform(render(path_test)) - means
    distances = (deviations * np.linalg.solve(covs, deviations[..., None])[..., 0]).sum(axis=1)
    covered = distances < chi2.ppf(0.9, Z.shape[1])
    error_seen, error_unseen = (np.sqrt(errors[some].mean()) for some in (seen, ~seen))
    print(
        f"{name:15} error {error_seen:.2f} and {error_unseen:.2f}, "
        f"coverage {covered.mean():.2f}, R^2 {position.score(Z, path):.3f}"
    )

# %%
# The picture shows one coordinate of the position and its estimate. The camera fails in the gray
# periods.

figure, axes = plt.subplots(3, 1, figsize=(7.5, 5), sharex=True, sharey=True, layout="constrained")
steps = slice(400, 500)
for ax, name in zip(axes, ("PCA(2)", "PCA(20)", '"kl"'), strict=True):
    ax.plot(path_test[steps, 0], color="0.4", label="position")
    ax.plot(tracks[name][steps, 0], color="#D55E00", label="filter")
    for start in range(10, 100, 20):
        ax.axvspan(start - 0.5, start + 9.5, color="0.9", zorder=0)
    ax.set_title(name, fontsize="medium")
axes[0].legend(ncols=2, loc="lower right", bbox_to_anchor=(1, 1), frameon=False)
axes[-1].set_xlabel("step")
axes[1].set_ylabel("first coordinate")
plt.show()

# %%
# What helps, and what does not
# -----------------------------
#
# The nonlinear embedding helps: two components track the spot at least as well as twenty principal
# components. The regularizer hardly matters here. The encoder starts at PCA, the reconstruction
# needs the position, and the calibration gives the embedding the covariance I. So the embedding
# without a regularizer is nearly Gaussian too. With "kl", the regularizer of a variational
# autoencoder, the position is a little closer to a linear function of the embedding.
#
# For some embedders, the 90 % regions are too small: the noise of an embedding depends on the
# position, but the filter assumes one covariance for all positions.
