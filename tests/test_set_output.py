"""set_output: names, index and library of the data frames that transform returns."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_wine
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklatent import GaussianEmbedder, GaussianEmbedderCV, Gaussianizer

PANDAS = load_wine(as_frame=True).data.iloc[:60, :4]
PANDAS.index = [f"wine {i}" for i in range(60)]
FRAMES = {"pandas": PANDAS, "polars": pl.DataFrame(PANDAS.to_dict("list"))}
LIBRARIES = {"pandas": pd, "polars": pl}
COLUMNS = list(PANDAS.columns)
FAST = {"max_iter": 0, "random_state": 0}

ESTIMATORS = [
    (GaussianEmbedder(**FAST), ["gaussianembedder0", "gaussianembedder1"]),
    (
        GaussianEmbedderCV(reg_weights=[0.1, 1], cv=2, **FAST),
        ["gaussianembeddercv0", "gaussianembeddercv1"],
    ),
    (Gaussianizer(random_state=0), COLUMNS),
]


@pytest.fixture(params=ESTIMATORS, ids=lambda pair: type(pair[0]).__name__)
def case(request):
    estimator, names = request.param
    return clone(estimator), names


def check_frame(frame, library, names, values):
    assert isinstance(frame, LIBRARIES[library].DataFrame)
    assert list(frame.columns) == names
    np.testing.assert_array_equal(frame.to_numpy(), values)
    if library == "pandas":
        assert list(frame.index) == list(PANDAS.index)


@pytest.mark.parametrize("library", LIBRARIES)
def test_transform(case, library):
    estimator, names = case
    X = FRAMES[library]
    values = clone(estimator).fit_transform(X)
    estimator.set_output(transform=library)
    check_frame(estimator.fit_transform(X), library, names, values)
    assert list(estimator.get_feature_names_out()) == names
    # The index is that of the samples to transform.
    assert len(estimator.transform(X[10:13])) == 3
    if library == "pandas":
        assert list(estimator.transform(X[10:13]).index) == ["wine 10", "wine 11", "wine 12"]
    # Other methods return arrays.
    assert isinstance(estimator.inverse_transform(values), np.ndarray)


@pytest.mark.parametrize("library", LIBRARIES)
def test_in_a_pipeline(case, library):
    estimator, names = case
    X = FRAMES[library]
    pipeline = make_pipeline(StandardScaler(), estimator)
    values = clone(pipeline).fit_transform(X)
    pipeline.set_output(transform=library)
    check_frame(pipeline.fit_transform(X), library, names, values)
    assert list(pipeline[-1].feature_names_in_) == COLUMNS


@pytest.mark.parametrize("library", LIBRARIES)
def test_in_a_column_transformer(case, library):
    estimator, names = case
    X = FRAMES[library]
    columns = ColumnTransformer([("some", estimator, COLUMNS[1:])], remainder="passthrough")
    values = clone(columns).fit_transform(X)
    columns.set_output(transform=library)
    names = [f"some__{name}" for name in names if name != COLUMNS[0]]
    expected = [*names, f"remainder__{COLUMNS[0]}"]
    check_frame(columns.fit_transform(X), library, expected, values)
    np.testing.assert_array_equal(values[:, -1], X[COLUMNS[0]])
