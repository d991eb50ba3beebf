"""
Which reg_weight?
=================

``reg_weight`` weighs the regularizer against the task. The best weight depends on the purpose of
the embedding, so different scores select different weights. This example compares three purposes
on images of digits (64 pixels in 8 components): a reconstruction, a model of the data, and features
for a classifier. For the first two, use `GaussianEmbedderCV`, for the third, `GridSearchCV`.
"""

# %%
import warnings

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold, train_test_split
from sklearn.pipeline import make_pipeline

from sklatent import GaussianEmbedder, GaussianEmbedderCV
from sklatent.inspection import RegularizationPathDisplay
from sklatent.metrics import (
    gaussianity_scorer,
    log_likelihood_scorer,
    most_gaussian_within,
    reconstruction_scorer,
)

# Training is short here, so it ends before it converges.
warnings.filterwarnings("ignore", message="Stochastic Optimizer")
X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(
    X / 16, y, test_size=0.3, stratify=y, random_state=0
)
REG_WEIGHTS = [0.01, 0.1, 0.3, 1.0, 3.0, 10.0]
params = {
    "regularizer": "kl",
    "hidden_layer_sizes": (128,),
    "max_iter": 60,
    "random_state": 0,
}
# The digits are sorted by writer, so the folds are shuffled.
folds = list(StratifiedKFold(3, shuffle=True, random_state=0).split(X_train, y_train))

# %%
# A first idea: the best reconstruction
# -------------------------------------
#
# `GaussianEmbedderCV` fits each weight on each fold, and can compute several scores. R^2 is the
# share of the variance that the reconstruction explains. A reconstruction does not need a Gaussian
# embedding, so R^2 always favors the smallest weight.

search = GaussianEmbedderCV(
    8,
    reg_weights=REG_WEIGHTS,
    cv=folds,
    scoring={
        "R^2": reconstruction_scorer,
        "log-likelihood": log_likelihood_scorer,
        "gaussianity": gaussianity_scorer,
    },
    refit=most_gaussian_within("R^2", 0.03),
    **params,
)
search.fit(X_train)
results = search.cv_results_
for name in search.scorer_:
    print(f"{name:15}", *(f"{score:8.3f}" for score in results[f"mean_test_{name}"]))

# %%
# A Gaussian embedding at a known price
# -------------------------------------
#
# If the embedding should be Gaussian, decide how much R^2 may be lost, here 0.03.
# `most_gaussian_within` then selects the most Gaussian embedding among the candidates within this
# tolerance. The plot shows both scores for each weight of "kl", the regularizer of a variational
# autoencoder. The largest weights of "kl" lower both scores: the encoder then ignores part of X.

_, ax = plt.subplots(figsize=(7, 3.6), layout="constrained")
RegularizationPathDisplay.from_estimator(search, score="R^2", ax=ax)
ax.get_legend().set_loc("lower right")
ax.margins(y=0.1)
print("selected:", search.reg_weight_)

# %%
# A model of the data
# -------------------
#
# To draw samples or estimate densities, select by the log-likelihood, the default score of
# `GaussianEmbedderCV`. The log-likelihood of x is high if a likely point of N(0, I) decodes to a
# point near x. With a small weight, the embedding does not fill N(0, I). With a large weight, the
# reconstruction is worse.

likelihood = results["mean_test_log-likelihood"]
print("selected by the log-likelihood:", REG_WEIGHTS[np.argmax(likelihood)])

# %%
# Features for a classifier
# -------------------------
#
# `GaussianEmbedderCV` ignores the steps after the embedding. If the pipeline ends with a
# classifier, search the pipeline: `GridSearchCV` scores each weight by the accuracy of the whole
# pipeline.

pipeline = make_pipeline(GaussianEmbedder(8, **params), LogisticRegression(max_iter=1000))
grid = GridSearchCV(pipeline, {"gaussianembedder__reg_weight": REG_WEIGHTS}, cv=folds)
grid.fit(X_train, y_train)
print(f"{'accuracy':15}", *(f"{score:8.3f}" for score in grid.cv_results_["mean_test_score"]))
print("selected by the accuracy:", grid.best_params_["gaussianembedder__reg_weight"])
print(f"accuracy on the test set: {grid.score(X_test, y_test):.3f}")

# %%
# The scores disagree
# -------------------
#
# Circles and titles show the best weight by each score. The bands are one standard error. The
# accuracy is similar for all smaller weights, so the search can select any of them. Only the
# largest weight is clearly worse.

figure, axes = plt.subplots(1, 3, figsize=(7.5, 2.8), layout="constrained")
accuracy = {
    key.replace("test_score", "test_accuracy"): values for key, values in grid.cv_results_.items()
}
scores = {"R^2": results, "log-likelihood": results, "accuracy": accuracy}
for ax, (name, cv_results) in zip(axes, scores.items(), strict=True):
    best = np.argmax(cv_results[f"mean_test_{name}"])
    RegularizationPathDisplay.from_cv_results(
        cv_results, score=name, gaussianity="", best_index=best, ax=ax
    )
    ax.set(title=f"{name}: {REG_WEIGHTS[best]:g}", ylabel="")
    ax.get_legend().remove()
plt.show()

# %%
# So choose the score by the purpose:
#
# - a model of the data, samples, anomalies: `GaussianEmbedderCV` with its default score;
# - a Gaussian embedding: `GaussianEmbedderCV` with `most_gaussian_within`;
# - a classifier or a regression after the embedding: `GridSearchCV` of the pipeline. If the
#   labels are available, ``task="classification"`` gains more than any weight of an embedding
#   without labels, see :ref:`sphx_glr_auto_examples_plot_classifier.py`.
