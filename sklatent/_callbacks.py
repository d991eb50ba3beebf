"""The tasks of a fit, for scikit-learn's callbacks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from numpy.typing import ArrayLike

from ._params import uses_y
from .training import Watch


class Tasks:
    """Tells the callbacks of an estimator when the tasks of its fit begin and end.

    Every task that has begun also ends, in reverse order, even if the fit fails or is interrupted.

    Parameters
    ----------
    estimator : BaseEstimator
        An estimator with `sklearn.callback.CallbackSupportMixin`.
    X, y, sample_weight : array-like
        The arguments of `fit`, which the callbacks receive.

    Examples
    --------
    >>> from sklearn.callback import ScoringMonitor
    >>> from sklearn.datasets import load_iris
    >>> from sklatent import GaussianEmbedder
    >>> from sklatent.metrics import reconstruction_scorer
    >>> X, _ = load_iris(return_X_y=True)
    >>> monitor = ScoringMonitor(scoring={"R^2": reconstruction_scorer})
    >>> embedder = GaussianEmbedder(tol=0.01, random_state=0).set_callbacks(monitor).fit(X)
    >>> fit, *epochs = monitor.get_logs().data
    >>> len(epochs) == embedder.n_iter_
    True
    >>> fit["R^2"] == reconstruction_scorer(embedder, X)
    True
    """

    def __init__(
        self, estimator: Any, X: ArrayLike, y: ArrayLike | None, sample_weight: ArrayLike | None
    ) -> None:
        if y is None and not uses_y(getattr(estimator, "task", None)):
            # Such a fit ignores y, and ScoringMonitor does not score without y.
            y = X
        metadata = None if sample_weight is None else {"sample_weight": sample_weight}
        self.estimator = estimator
        self._told = {"estimator": estimator, "X": X, "y": y, "metadata": metadata}
        self._open: list[Any] = []

    def begin(self, context: Any) -> None:
        """Begin a task."""
        context.call_on_fit_task_begin(**self._told)
        self._open.append(context)

    def end(self, attributes: Any = None) -> bool:
        """End the task that began last; return whether a callback asks to stop.

        Parameters
        ----------
        attributes : dict, callable or None
            Attributes of the estimator as if the fit ended now, or a function that returns them.
        """
        context = self._open.pop()
        return context.call_on_fit_task_end(**self._told, reconstruction_attributes=attributes)

    @contextmanager
    def task(self, context: Any, attributes: Any = None) -> Iterator[Any]:
        """Run a block as a task; `attributes` as in `end`."""
        depth = len(self._open)
        self.begin(context)
        try:
            yield context
            while len(self._open) > depth + 1:  # an interrupted period
                self.end()
        except BaseException:
            while len(self._open) > depth:
                with suppress(Exception):  # the first error is the one to raise
                    self.end()
            raise
        self.end(attributes)

    def fit(self, context: Any, name: str, estimator: Any, *data: Any) -> Any:
        """Fit another estimator as a subtask, and pass on the callbacks that support subtasks.

        Parameters
        ----------
        context : CallbackContext
            The task that the fit is a subtask of.
        name : str
        estimator : BaseEstimator
        *data
            Arguments of ``estimator.fit``.
        """
        subcontext = context.subcontext(name)
        with subcontext.propagate_callback_context(estimator), self.task(subcontext):
            return estimator.fit(*data)

    def watch(
        self, context: Any, name: str, attributes: Callable[[], dict[str, Any]] | None = None
    ) -> list[Watch]:
        """Return callbacks that make each training period a subtask; [] without callbacks.

        Parameters
        ----------
        context : CallbackContext
            The task of the training.
        name : str
            Name of the subtasks.
        attributes : callable or None
            As in `end`.
        """
        if not hasattr(self.estimator, "_skl_callbacks"):
            return []
        return [Watch(lambda: self.begin(context.subcontext(name)), lambda: self.end(attributes))]
