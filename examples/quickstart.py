"""Compare GaussianEmbedder with PCA on handwritten digits: a table, and a picture.

Which embedding of 64 pixels gives a simple classifier the highest accuracy, which one is closest to
N(0, I), and which one reconstructs the images best? Every number is measured on a test set. The
picture, quickstart.png, shows embeddings with two components.
"""

import time
import warnings

import matplotlib.pyplot as plt
import numpy as np
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import r2_score
from sklearn.model_selection import train_test_split
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline

from sklatent import GaussianEmbedder, Gaussianizer
from sklatent.metrics import classifier_two_sample_test

# 100 epochs are enough for a comparison, so ignore the warning that training has not converged.
warnings.filterwarnings("ignore", message="Stochastic Optimizer")
X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(
    X / 16, y, test_size=0.3, stratify=y, random_state=0
)
ours = GaussianEmbedder(max_iter=100, random_state=0)
pca = PCA(whiten=True, random_state=0)
gaussian = clone(ours).set_params(calibration="gaussianize")
supervised = clone(ours).set_params(task="classification", regularizer="kl", reg_weight=0.1)


def accuracies(embedder):
    """Return the accuracy of two classifiers on the embedding of the test set."""
    Z_train, Z_test = embedder.transform(X_train), embedder.transform(X_test)
    classifiers = KNeighborsClassifier(5), LogisticRegression(max_iter=1000)
    return [each.fit(Z_train, y_train).score(Z_test, y_test) for each in classifiers]


def auc(embedder):
    """Return the AUC of classifiers that tell the embedding from draws from N(0, I)."""
    return classifier_two_sample_test(embedder.transform(X_test), random_state=0).statistic


def r2(embedder):
    """Return the share of the variance of X that the reconstruction explains, as text."""
    if not hasattr(embedder, "inverse_transform"):  # as an embedder that is trained with labels
        return "    -"
    restored = embedder.inverse_transform(embedder.transform(X_test))
    return f"{r2_score(X_test, restored, multioutput='variance_weighted'):.3f}"


def print_table(k):
    """Fit embedders with k components and print what is measured on the test set."""
    print(f"digits, {k} components          5-NN   logistic     AUC     R^2   fit, s")
    print("--------------------------   -----   --------   -----   -----   ------")
    for name, embedder in {
        "PCA(whiten=True)": pca.set_params(n_components=k),
        "PCA, then Gaussianizer": make_pipeline(pca, Gaussianizer(random_state=0)),
        "ours, default": clone(ours).set_params(n_components=k),
        'ours, "gaussianize"': clone(gaussian).set_params(n_components=k),
        "LDA, whitened, with labels": make_pipeline(
            LinearDiscriminantAnalysis(n_components=k), clone(pca)
        ),
        'ours, "kl", with labels': clone(supervised).set_params(n_components=k),
    }.items():
        start = time.perf_counter()
        embedder.fit(X_train, y_train)
        seconds = time.perf_counter() - start
        knn, logistic = accuracies(embedder)
        measured = f"{knn:.3f}   {logistic:8.3f}   {auc(embedder):.3f}   {r2(embedder)}"
        print(f"{name:26}   {measured}   {seconds:6.2f}", flush=True)
    print("5-NN, logistic: accuracy of a 5-nearest-neighbor classifier and a logistic regression.")
    print("AUC: of classifiers that tell the embedding from draws from N(0, I); draws have 0.5.")
    print("R^2: share of the variance that the reconstruction explains.")


def draw(path):
    """Draw the test set in two components, with circles that hold 50 % and 95 % of N(0, I)."""
    figure, axes = plt.subplots(1, 4, figsize=(12, 3.7), layout="constrained", sharey=True)
    for ax, (name, embedder) in zip(
        axes,
        {
            "PCA(whiten=True)": pca,
            "GaussianEmbedder()": ours,
            'calibration="gaussianize"': gaussian,
            'task="classification", "kl"': supervised,
        }.items(),
        strict=True,
    ):
        embedder.set_params(n_components=2).fit(X_train, y_train)
        Z = embedder.transform(X_test)
        for share in (0.5, 0.95):
            radius = np.sqrt(-2 * np.log(1 - share))
            ax.add_patch(plt.Circle((0, 0), radius, fill=False, color="0.7", zorder=0))
        ax.scatter(*Z.T, c=y_test, cmap="tab10", s=8, linewidths=0)
        ax.set(aspect="equal", xlim=(-3.6, 3.6), ylim=(-3.6, 3.6), title=name)
        ax.set_xlabel(f"5-NN {accuracies(embedder)[0]:.2f},  AUC {auc(embedder):.2f}")
        ax.set(xticks=[], yticks=[])
    figure.savefig(path, dpi=110)
    print(f"\nPicture of two components: {path}")


if __name__ == "__main__":
    start = time.perf_counter()
    print_table(8)
    draw("quickstart.png")
    print(f"{time.perf_counter() - start:.0f} s")
