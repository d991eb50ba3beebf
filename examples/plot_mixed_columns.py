"""
Numbers, categories and missing values
======================================

A table has columns of numbers with different units, categories, and missing values. How do you
embed such a table? The preprocessing matters most. A `ColumnTransformer` combines its steps.
"""

# %%
# The data are synthetic. Two hidden properties of each household, wealth and age, determine all
# columns but one. So a good embedding of the columns can predict wealth and age. A tenth of the
# values is missing.

import warnings

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.decomposition import PCA
from sklearn.impute import SimpleImputer
from sklearn.metrics import r2_score
from sklearn.model_selection import train_test_split
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, PowerTransformer

from sklatent import GaussianEmbedder

# Training is short here, so it ends before it converges.
warnings.filterwarnings("ignore", message="Stochastic Optimizer")


def make_households(n_samples, random_state):
    """Draw a table with missing values, and the hidden properties."""
    rng = np.random.default_rng(random_state)
    wealth, age = hidden = rng.standard_normal((2, n_samples))

    def noise(scale):
        return scale * rng.standard_normal(n_samples)

    def category(values, names):
        borders = np.quantile(values, np.arange(1, len(names)) / len(names))
        return np.array(names, dtype=object)[np.searchsorted(borders, values)]

    table = pd.DataFrame(
        {
            "income": 3e4 * np.exp(0.7 * wealth - 0.2 * age**2 + noise(0.2)),
            "rooms": 4 + wealth - 0.5 * age**2 + noise(0.5),
            "children": np.clip(np.round(1 - age**2 + noise(0.5)) + 1, 0, None),
            "sick_days": np.exp(1 + 0.5 * age - 0.3 * wealth + noise(0.3)),
            "house_number": rng.integers(1, 400, n_samples).astype(float),
            "home": category(wealth + noise(0.3), ["shared", "rented", "owned", "villa"]),
            "work": category(age + noise(0.3), ["school", "first job", "career", "retired"]),
            "car": category(np.abs(wealth) + noise(0.2), ["van", "compact", "sports"]),
        }
    )
    return table.mask(rng.random(table.shape) < 0.1), hidden.T


X, hidden = make_households(3000, 0)
X_train, X_test, hidden_train, hidden_test = train_test_split(X, hidden, random_state=0)
print(X.head())

# %%
# The wrong answer: whatever runs
# -------------------------------
#
# The quick way is to fill in means, to number the categories, and not to scale. The income and the
# house number have by far the largest variance, so the embedding represents these two columns only.
# The numbers of the categories have an order without a meaning.

numbers = make_column_selector(dtype_include="number")
categories = make_column_selector(dtype_exclude="number")
quick = make_column_transformer(
    (SimpleImputer(), numbers),
    (make_pipeline(OrdinalEncoder(), SimpleImputer()), categories),
)

# %%
# Scale, encode and mark
# ----------------------
#
# - Numbers: scale all columns to unit variance, and replace missing numbers by the median. A
#   `PowerTransformer` also shortens the long tail of the income, so that a few rich households do
#   not dominate.
# - ``add_indicator=True`` adds a column that marks missing numbers, so an embedder can learn to
#   ignore the median.
# - Categories: encode each category as a column, and missing values as one more column. The output
#   of `OneHotEncoder` can be sparse or dense. `GaussianEmbedder` accepts both.

careful = make_column_transformer(
    (
        make_pipeline(
            PowerTransformer(),
            SimpleImputer(strategy="median", add_indicator=True),
        ),
        numbers,
    ),
    (
        make_pipeline(
            SimpleImputer(strategy="constant", fill_value="missing"),
            OneHotEncoder(handle_unknown="ignore", sparse_output=False),
        ),
        categories,
    ),
)

# %%
# Each pipeline embeds in two components. A nearest-neighbor regression on the components predicts
# the hidden properties of new households.

steps = {
    "quick": quick,
    "careful": careful,
}
results = {}
for preparation, step in steps.items():
    for embedder in (
        PCA(2, whiten=True, random_state=0),
        GaussianEmbedder(2, max_iter=60, random_state=0),
    ):
        pipeline = make_pipeline(step, embedder).fit(X_train)
        Z_train, Z_test = pipeline.transform(X_train), pipeline.transform(X_test)
        predicted = KNeighborsRegressor(20).fit(Z_train, hidden_train).predict(Z_test)
        name = f"{preparation}, {type(embedder).__name__}"
        r2 = r2_score(hidden_test, predicted, multioutput="raw_values")
        results[name] = r2
        print(f"{name:26} R^2 of wealth {r2[0]:.2f}, of age {r2[1]:.2f}")

# %%
figure, ax = plt.subplots(figsize=(7.5, 2.8), layout="constrained")
for i, (wealth, age) in enumerate(results.values()):
    ax.plot([wealth, age], [i, i], color="0.8", zorder=0)
    ax.plot(wealth, i, "o", color="#0072B2", label=None if i else "wealth")
    ax.plot(age, i, "s", color="#D55E00", label=None if i else "age")
ax.set_yticks(range(len(results)), results)
ax.set_ylim(3.5, -0.5)
ax.set_xlim(-0.1, 1)
ax.set_xlabel("R^2 of the hidden property, new households")
ax.legend(loc="upper left", bbox_to_anchor=(1, 1))
ax.spines[["top", "right"]].set_visible(False)
plt.show()

# %%
# The preprocessing matters most: without scaling, no embedding predicts the age. With all steps,
# the nonlinear embedding predicts both properties better than PCA with as many components.
