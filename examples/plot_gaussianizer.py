"""
Make two features Gaussian, one by one or together
==================================================

Two moons and a ring are not Gaussian. The wrong answer is to make each feature Gaussian on its own:
both features then have the right distribution, but the samples still form two moons or a ring.
`Gaussianizer` transforms the features together.
"""

# %%
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import make_circles, make_moons
from sklearn.preprocessing import PowerTransformer, QuantileTransformer

from sklatent import Gaussianizer
from sklatent.metrics import epps_pulley_test

data = {
    "moons": [make_moons(3000, noise=0.1, random_state=seed) for seed in (0, 1)],
    "ring": [make_circles((0, 3000), noise=0.1, factor=0.99, random_state=seed) for seed in (0, 1)],
}
transformers = {
    "X": None,
    "PowerTransformer": PowerTransformer(),
    "QuantileTransformer": QuantileTransformer(output_distribution="normal", random_state=0),
    "Gaussianizer": Gaussianizer(random_state=0),
}

# %%
# The plots show test samples, and a grid that each map deforms. A map of single features keeps the
# grid lines straight, so a ring keeps its hole. `Gaussianizer` curves the lines. A small hole
# remains, because an invertible continuous map cannot remove a hole. The circles contain 50, 90 and
# 99 % of N(0, I). G is the statistic of the sliced Epps-Pulley test of Gaussianity, divided by its
# mean for Gaussian draws. So draws from N(0, I) have a G of about 1.

figure, axes = plt.subplots(2, 4, figsize=(8, 4.4), layout="constrained")
for row, (name, ((X_train, _), (X_test, y_test))) in zip(axes, data.items(), strict=True):
    # Lines through the range of the samples, as (n_lines, n_points, 2).
    ticks = np.linspace(X_train.min(axis=0), X_train.max(axis=0), 25)
    points = np.linspace(X_train.min(axis=0), X_train.max(axis=0), 400)
    vertical = np.stack(np.broadcast_arrays(ticks[:, None, 0], points[None, :, 1]), axis=-1)
    horizontal = np.stack(np.broadcast_arrays(points[None, :, 0], ticks[:, None, 1]), axis=-1)
    for ax, (title, transformer) in zip(row, transformers.items(), strict=True):
        Z, lines = X_test, np.concatenate([vertical, horizontal])
        if transformer is not None:
            transformer.fit(X_train)
            Z = transformer.transform(X_test)
            lines = transformer.transform(lines.reshape(-1, 2)).reshape(lines.shape)
            result = epps_pulley_test(Z, random_state=0)
            title = f"{title}\nG = {result.statistic / result.expected:.1f}"
            for share in (0.5, 0.9, 0.99):
                circle = plt.Circle((0, 0), np.sqrt(-2 * np.log(1 - share)), fill=False, lw=1)
                ax.add_patch(circle)
            ax.set(xlim=(-4, 4), ylim=(-4, 4))
        ax.plot(*lines.transpose(2, 1, 0), color="0.75", lw=0.5, zorder=0)
        ax.scatter(*Z.T, s=1, c=np.where(y_test, "C1", "C0") if name == "moons" else "C0")
        ax.set(xticks=[], yticks=[])
        ax.set_title(title, fontsize="medium")
        ax.set_aspect("equal", adjustable="datalim" if transformer is None else "box")

# %%
# The fitted map is also a model of the density. The log-density of new samples detects anomalies.
# To generate new samples, `sample` draws from N(0, I) and maps the draws back.

gaussianizer = transformers["Gaussianizer"]  # fitted to the ring
on_ring, center = gaussianizer.score_samples([[1.0, 0.0], [0.0, 0.0]])
print(f"log-density on the ring {on_ring:.1f}, in its center {center:.1f}")
plt.show()
