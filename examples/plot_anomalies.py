"""
Anomalies, with a threshold for the wanted rate of false alarms
===============================================================

A model of the density of regular samples gives anomalies a low likelihood. Which likelihood is
low enough for an alarm? This example trains on images of all digits but one. Images of the missing
digit are the anomalies. The wanted share of false alarms on regular images is 5 %.
"""

# %%
import warnings

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split
from sklearn.neighbors import LocalOutlierFactor
from sklearn.pipeline import make_pipeline

from sklatent import GaussianEmbedder, Gaussianizer, OutlierDetector

# Training is short here, so it ends before it converges.
warnings.filterwarnings("ignore", message="Stochastic Optimizer")
X, y = load_digits(return_X_y=True)
X = X / 16
regular, anomalies = X[y != 0], X[y == 0]
X_train, X_test = train_test_split(regular, test_size=0.5, random_state=0)
WANTED = 0.05

# %%
# The threshold from the training samples
# ---------------------------------------
#
# The obvious threshold is a quantile: 5 % of the training samples have a lower likelihood. But the
# model was fitted to these samples, so new samples have a lower likelihood. The more flexible the
# model, the more false alarms. `OutlierDetector` accepts any estimator with ``score_samples``, also
# estimators without a density.

models = {
    "PCA": PCA(8, random_state=0),
    "PCA, Gaussianizer": make_pipeline(PCA(8, random_state=0), Gaussianizer(random_state=0)),
    "GaussianEmbedder": GaussianEmbedder(8, max_iter=60, random_state=0),
    "IsolationForest": IsolationForest(random_state=0),
    "LocalOutlierFactor": LocalOutlierFactor(novelty=True),
}
false_alarms = {}


def alarms(detector, samples):
    """Return the share of alarms."""
    return (detector.predict(samples) == -1).mean()


for name, model in models.items():
    detector = OutlierDetector(model, contamination=WANTED).fit(X_train)
    false_alarms[name] = [alarms(detector, X_test)]
    print(f"{name:20} {false_alarms[name][0]:6.1%} false alarms")

# %%
# The threshold from held-out samples
# -----------------------------------
#
# With ``cv=5`` the threshold is a quantile of the scores of samples that the model was not fitted
# to. The share of false alarms is then close to 5 %. AUC is the area under the ROC curve of the
# score.

truth = np.repeat([0, 1], [len(X_test), len(anomalies)])
X_both = np.concatenate([X_test, anomalies])
for name, model in models.items():
    detector = OutlierDetector(model, contamination=WANTED, cv=5).fit(X_train)
    false_alarms[name].append(alarms(detector, X_test))
    auc = roc_auc_score(truth, -detector.score_samples(X_both))
    print(
        f"{name:20} {false_alarms[name][1]:6.1%} false alarms, "
        f"{alarms(detector, anomalies):6.1%} detected, AUC {auc:.3f}"
    )

# %%
figure, ax = plt.subplots(figsize=(8, 3), layout="constrained")
for i, (of_training, held_out) in enumerate(false_alarms.values()):
    ax.plot([100 * of_training, 100 * held_out], [i, i], color="0.8", zorder=0)
    ax.plot(100 * of_training, i, "s", color="#D55E00", label=None if i else "training samples")
    ax.plot(100 * held_out, i, "o", color="#0072B2", label=None if i else "held-out samples")
ax.axvline(100 * WANTED, color="0.4", linestyle=":")
ax.set_yticks(range(len(false_alarms)), false_alarms)
ax.invert_yaxis()
ax.set_xlim(left=0)
ax.set_xlabel("False alarms on new samples (%); wanted: 5 %")
ax.legend(title="Threshold from", loc="upper left", bbox_to_anchor=(1, 1))
ax.spines[["top", "right"]].set_visible(False)
plt.show()

# %%
# Which detector?
# ---------------
#
# `Gaussianizer` detects few anomalies here. It models the density of eight components, but the
# missing digit differs from the others outside these components. The likelihoods of `PCA` and
# `GaussianEmbedder` also include the error of the reconstruction.
#
# IsolationForest and LocalOutlierFactor have no density, and their scores have no unit. On these
# data LocalOutlierFactor detects the anomalies best. LocalOutlierFactor keeps all training samples,
# and compares each new sample with them. A density model has a fixed size, and gives a likelihood
# in nats, the units of the natural logarithm.
#
# No detector is the best on all data. The benchmarks in the documentation compare these detectors
# on four data sets.
