"""
Whitening before a classifier
=============================

A common pipeline whitens the data with PCA and gives a few components to a classifier. Which
embedding should replace PCA? The answer depends on whether the embedding is trained with the
labels. This example compares embeddings with and without labels on images of digits (64 pixels in
8 components), by the accuracy on a test set.
"""

# %%
import warnings

import matplotlib.pyplot as plt
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.neighbors import KNeighborsClassifier, NeighborhoodComponentsAnalysis
from sklearn.pipeline import make_pipeline

from sklatent import GaussianEmbedder

# Training is short here, so it ends before it converges.
warnings.filterwarnings("ignore", message="Stochastic Optimizer")
X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(
    X / 16, y, test_size=0.5, stratify=y, random_state=0
)

# %%
# The pipeline with PCA
# ---------------------
#
# ``PCA`` keeps the directions of the largest variance. These directions may not separate the
# classes.

K = 8
results = {}


def compare(name, embedder):
    """Store the accuracy of two classifiers on the embedding."""
    classifiers = KNeighborsClassifier(), LogisticRegression(max_iter=1000)
    embedder.fit(X_train, y_train)
    Z_train, Z_test = embedder.transform(X_train), embedder.transform(X_test)
    results[name] = [each.fit(Z_train, y_train).score(Z_test, y_test) for each in classifiers]
    print(f"{name:40} nearest neighbors {results[name][0]:.3f}, logistic {results[name][1]:.3f}")


compare("PCA(whiten=True)", PCA(K, whiten=True, random_state=0))

# %%
# A first idea: a nonlinear embedding
# -----------------------------------
#
# A `GaussianEmbedder` without labels explains more of the variance of X than PCA. Both classifiers
# become a little more accurate. With ``calibration="gaussianize"`` the embedding becomes more
# Gaussian, and the linear classifier less accurate: the map spreads the classes over one Gaussian,
# so the borders between classes become curved.

params = {"max_iter": 100, "random_state": 0}
compare("reconstruction", GaussianEmbedder(K, **params))
gaussianized = GaussianEmbedder(K, calibration="gaussianize", **params)
compare("reconstruction, gaussianized", gaussianized)

# %%
# Train the embedding with the labels
# -----------------------------------
#
# ``task="classification"`` trains the embedding to predict the labels. Both classifiers now make
# far fewer errors. Neighborhood components analysis (NCA) is scikit-learn's linear method for the
# same purpose. The last embedder combines the task with "kl", the regularizer of a variational
# autoencoder, at a small weight.

compare("NCA", NeighborhoodComponentsAnalysis(K, random_state=0))
supervised = GaussianEmbedder(K, task="classification", **params)
compare("classification", supervised)
compare(
    "classification, kl, reg_weight=0.1",
    GaussianEmbedder(K, task="classification", regularizer="kl", reg_weight=0.1, **params),
)

# %%
# The embeddings of `GaussianEmbedder` have mean 0 and covariance I on the training set, as whitened
# components have. The figure shows the errors.

figure, ax = plt.subplots(figsize=(7.5, 3.4), layout="constrained")
for i, scores in enumerate(results.values()):
    errors = [100 * (1 - score) for score in scores]
    ax.plot(errors, [i, i], color="0.8", zorder=0)
    ax.plot(errors[0], i, "o", color="#0072B2", label="5 nearest neighbors" if i == 0 else None)
    ax.plot(errors[1], i, "s", color="#D55E00", label="logistic regression" if i == 0 else None)
ax.set_yticks(range(len(results)), results)
ax.invert_yaxis()
ax.set_xlim(left=0)
ax.set_xlabel("Errors on the test set (%)")
ax.legend(loc="lower right")
ax.spines[["top", "right"]].set_visible(False)

# %%
# When to stay with PCA
# ---------------------
#
# If the next step is a linear model and you have no labels for the embedding, PCA is often as good,
# and takes milliseconds. If the classifier can use all features, it may need no embedding. Here is
# a logistic regression on the 64 pixels.

plain = make_pipeline(LogisticRegression(max_iter=1000)).fit(X_train, y_train)
print(f"logistic regression on 64 pixels: {plain.score(X_test, y_test):.3f}")
plt.show()
