"""Validated data of a fit: samples, their targets and their weights."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import issparse
from sklearn import config_context
from sklearn.base import BaseEstimator
from sklearn.model_selection import train_test_split
from sklearn.utils import get_tags
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.random import sample_without_replacement
from sklearn.utils.validation import (
    _check_sample_weight,
    assert_all_finite,
    check_array,
    validate_data,
)

from ._lazy import LazySamples, as_samples, blocks
from ._params import is_task, needs_y, uses_y

FLOATS = (np.float64, np.float32)


@dataclass(frozen=True)
class Data:
    """Samples of positive weight.

    Attributes
    ----------
    X : ndarray or LazySamples of shape (n, p)
        In float32 or float64. `LazySamples` for large or sparse data, if the estimator supports
        sparse data.
    y : ndarray of shape (n, ...) or None
        Labels or numbers.
    sample_weight : ndarray of shape (n,) or None
        Weights with mean one; None if all weights are equal.
    features : dict
        `features_of` an estimator that is fitted to the samples.
    """

    X: Any
    y: NDArray | None = None
    sample_weight: NDArray | None = None
    features: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def check(
        cls,
        estimator: BaseEstimator,
        task: Any,
        X: Any,
        y: Any = None,
        sample_weight: Any = None,
        *,
        reset: bool,
        least: int = 2,
    ) -> Self:
        """Validate the data of a method call, and drop the samples of weight zero.

        Parameters
        ----------
        estimator : BaseEstimator
            Not changed. X must match its features, unless this is a new fit.
        task : Task, str, callable or None
        X, y, sample_weight : array-like
        reset : bool
            Whether this is a new fit.
        least : int, default=2
            Minimum number of samples.

        Raises
        ------
        ValueError
            For invalid data, or fewer than `least` samples of positive weight.
        """
        sparse = get_tags(estimator).input_tags.sparse
        kwargs = {"reset": reset, "ensure_min_samples": least, "sparse": sparse}
        classifies = is_task(task, "classification")
        estimator = copy.copy(estimator)  # validation sets attributes
        if needs_y(task) or (y is not None and uses_y(task)):
            X, y = check_X(estimator, X, y, multi_output=not classifies, **kwargs)
            if classifies:
                check_classification_targets(y)
            else:
                y = _numeric(y, task)
        else:
            X, y = check_X(estimator, X, **kwargs), None
        rows = as_samples(X) if sparse else X
        features = features_of(estimator)
        if sample_weight is None:
            return cls(rows, y, None, features)
        with config_context(array_api_dispatch=False):
            weight = _check_sample_weight(
                sample_weight, X, dtype=np.float64, ensure_non_negative=True
            )
        kept = weight > 0
        data, weight = cls(rows, y).take(kept), (weight / weight.max())[kept]
        if len(data) < least:
            raise ValueError(
                f"sample_weight must be positive for at least {least} samples, got {len(data)}"
            )
        equal = bool((weight == weight[0]).all())
        return cls(data.X, data.y, None if equal else weight / weight.mean(), features)

    def __len__(self) -> int:
        return len(self.X)

    def take(self, index: Any) -> Self:
        """Return some of the samples; `LazySamples` are not read."""
        y, weight = (None if part is None else part[index] for part in (self.y, self.sample_weight))
        X = self.X.take(index) if isinstance(self.X, LazySamples) else self.X[index]
        return type(self)(X, y, weight)

    def sample(self, size: int, random_state: Any, also: NDArray | None = None) -> NDArray | None:
        """Return sorted indices of a random sample; None if all samples are needed.

        Parameters
        ----------
        size : int
        random_state : int or RandomState
        also : ndarray or None
            Sorted indices that the sample contains in any case.
        """
        if not isinstance(self.X, LazySamples) or len(self) <= size:
            return None
        index = sample_without_replacement(len(self), size, random_state=random_state)
        return np.unique(index) if also is None else np.union1d(index, also)

    def in_memory(self, size: int, random_state: Any) -> Self:
        """Return data with a dense X: a random sample of `LazySamples`, or else all samples."""
        index = self.sample(size, random_state)
        data = self if index is None else self.take(index)
        return type(self)(data.X[:], data.y, data.sample_weight)

    def blocks(self) -> Iterator[Self]:
        """Return the data with a dense X, block by block for `LazySamples`."""
        for some in blocks(self.X):
            y, weight = (
                None if part is None else part[some] for part in (self.y, self.sample_weight)
            )
            yield type(self)(self.X[some], y, weight)


def check_X(estimator: BaseEstimator, X: Any, *y: Any, sparse: bool = False, **kwargs: Any) -> Any:
    """Validate X, and y if given, as `sklearn.utils.validation.validate_data` does.

    Tensors and other arrays become NumPy arrays, also under ``array_api_dispatch=True``.
    """
    if issparse(X) and not sparse:
        raise TypeError(
            "Sparse data was passed for X, but dense data is required. Use '.toarray()' to "
            "convert to a dense numpy array, sparse_output=False in encoders such as "
            "OneHotEncoder, or sparse_threshold=0 in ColumnTransformer."
        )
    try:
        # The sum of X, by which scikit-learn tests for nan, can be inf - inf.
        with config_context(array_api_dispatch=False), np.errstate(invalid="ignore"):
            return validate_data(
                estimator, X, *y, dtype=FLOATS, accept_sparse="csr" if sparse else False, **kwargs
            )
    except ValueError as error:
        if str(error) != "Input contains NaN":  # message for a y of objects
            raise
        raise ValueError("Input y contains NaN.") from error
    except TypeError as error:
        if "BFloat16" not in str(error):
            raise
        raise TypeError(
            "tensors must have a type that NumPy has, got bfloat16: convert them by .float()"
        ) from error


def features_of(estimator: BaseEstimator) -> dict[str, Any]:
    """Return `n_features_in_` and `feature_names_in_`, or None for an attribute that is absent."""
    names = ("n_features_in_", "feature_names_in_")
    return {name: getattr(estimator, name, None) for name in names}


def set_fitted(estimator: BaseEstimator, attributes: dict[str, Any]) -> None:
    """Set fitted attributes of an estimator; None removes an attribute."""
    vars(estimator).update(attributes)
    for name in [name for name, value in attributes.items() if value is None]:
        delattr(estimator, name)


def as_numpy(array: Any) -> Any:
    """Return an array of another library as a NumPy array, and other arguments as they are."""
    return np.asarray(array) if hasattr(array, "__array_namespace__") else array


def check_Z(estimator: Any, Z: Any, n_components: int) -> NDArray:
    """Validate an embedding."""
    with config_context(array_api_dispatch=False), np.errstate(invalid="ignore"):
        rows = check_array(Z, dtype=FLOATS, input_name="Z")
    if rows.shape[1] != n_components:
        raise ValueError(
            f"Z has {rows.shape[1]} components, but {type(estimator).__name__} is expecting "
            f"{n_components} components as input"
        )
    return rows


def _numeric(y: NDArray, task: Any) -> NDArray:
    """Return y as numbers that torch has; y may be an array of objects."""
    if y.dtype.kind == "O" or y.dtype == np.longdouble:
        try:
            y = y.astype(np.float64)
        except (TypeError, ValueError) as error:
            raise ValueError(f"y must be numeric for task={task!r}: {error}") from error
        assert_all_finite(y, input_name="y")
        return y
    if y.dtype.kind not in "biuf":
        raise ValueError(f"y must be numeric for task={task!r}, got dtype {y.dtype}")
    return y


def check_classes(y: Any) -> None:
    """Raise a ValueError if labels are missing or all the same."""
    if any(label is None or label != label for label in np.asarray(y, dtype=object).flat):
        raise ValueError(f"the classes must not have missing values, got {y!r}")
    if len(labels := np.unique(y)) < 2:
        raise ValueError(
            "y must have at least 2 classes for task='classification' (for partial_fit, classes "
            f"can name them), got 1 class: {labels.tolist()}"
        )


def split(n: int, n_valid: int, codes: NDArray | None, seed: int) -> tuple[NDArray, NDArray]:
    """Return the sorted indices of the training samples and of the samples to set aside.

    Parameters
    ----------
    n, n_valid : int
        Number of samples, and number of samples to set aside.
    codes : ndarray of shape (n,) or None
        Class of each sample, from 0. The split is stratified if both parts can hold all classes.
    seed : int
    """
    stratify = None
    if codes is not None:
        counts = np.bincount(codes)
        counts = counts[counts > 0]
        if counts.min() > 1 and min(n_valid, n - n_valid) >= len(counts):
            stratify = codes
    train, valid = train_test_split(
        np.arange(n), test_size=n_valid, random_state=seed, stratify=stratify
    )
    return np.sort(train), np.sort(valid)
