"""Scores of the task and of Gaussianity as functions of reg_weight."""

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ..metrics._unwrap import last_step
from ._plotting import BLUE, VERMILION, check_matplotlib, merged, panels_on


class RegularizationPathDisplay:
    """Cross-validated scores as functions of `reg_weight`, with a mark on the chosen candidate.

    With a score of the task and a score of Gaussianity, the display draws the first against the
    second. A line joins the candidates in the order of `reg_weight`, and labels show `reg_weight`.
    With one score, the display draws the score against `reg_weight`, on a logarithmic axis. If zero
    is a candidate, the axis is linear from zero to the smallest positive weight.

    Bars and bands show one standard error of the mean over the splits, in both directions. The
    splits share training samples, so that these standard errors are too small. The candidates share
    the splits, so that a difference of two candidates can be significant even if their bars
    overlap.

    A search with ``halving=True`` trains the candidates that it drops for a shorter time and on
    fewer samples. Their scores can be compared with each other, but not with the scores of the
    surviving candidates (``survived`` in ``cv_results_``). The display draws dropped candidates as
    hollow points, without line, bar and band.

    Use `from_cv_results` or `from_estimator` to create a display.

    Parameters
    ----------
    reg_weights : ndarray of shape (n_candidates,)
        In increasing order.
    scores : ndarray of shape (n_splits, n_candidates)
    gaussianity : ndarray of shape (n_splits, n_candidates) or None
    score_name : str
    gaussianity_name : str or None
    chosen : int or None
        Index of the chosen candidate.
    survived : ndarray of shape (n_candidates,), default=None
        Whether a candidate was trained to the end. None if all were.

    Attributes
    ----------
    line_ : Line2D
        Means over splits of the surviving candidates with finite scores.
    dropped_ : Line2D or None
        Means over splits of the dropped candidates. None without dropped candidates.
    errors_ : ErrorbarContainer, PolyCollection or None
        Standard errors. None with a single split.
    chosen_ : PathCollection or None
        The mark of the chosen candidate.
    annotations_ : list of Annotation
        The labels of the points, if there are two scores.
    ax_ : Axes
    figure_ : Figure

    Examples
    --------
    >>> from sklatent.inspection import RegularizationPathDisplay
    >>> cv_results = {
    ...     "param_reg_weight": [0.1, 1.0, 10.0],
    ...     "split0_test_r2": [0.81, 0.80, 0.70],
    ...     "split1_test_r2": [0.83, 0.80, 0.74],
    ...     "split0_test_gaussianity": [-0.3, -0.1, -0.01],
    ...     "split1_test_gaussianity": [-0.4, -0.1, -0.02],
    ... }
    >>> display = RegularizationPathDisplay.from_cv_results(cv_results, best_index=1)
    >>> display.line_.get_ydata()
    array([0.82, 0.8 , 0.72])
    """

    def __init__(
        self,
        *,
        reg_weights: NDArray,
        scores: NDArray,
        gaussianity: NDArray | None,
        score_name: str,
        gaussianity_name: str | None,
        chosen: int | None,
        survived: NDArray | None = None,
    ) -> None:
        self.reg_weights = reg_weights
        self.scores = scores
        self.gaussianity = gaussianity
        self.score_name = score_name
        self.gaussianity_name = gaussianity_name
        self.chosen = chosen
        self.survived = survived

    @classmethod
    def from_estimator(
        cls,
        search: Any,
        *,
        score: str | None = None,
        gaussianity: str = "gaussianity",
        ax: Any = None,
        line_kwargs: Mapping[str, Any] | None = None,
        error_kwargs: Mapping[str, Any] | None = None,
        scatter_kwargs: Mapping[str, Any] | None = None,
    ) -> Self:
        """Draw the scores of a fitted search over `reg_weight`.

        Parameters
        ----------
        search : GaussianEmbedderCV, or GridSearchCV over reg_weight
            A fitted search, or a pipeline with a fitted search as its last step. The search may
            also vary the reg_weight of a step of a pipeline.
        score, gaussianity, ax, line_kwargs, error_kwargs, scatter_kwargs
            As in `from_cv_results`.

        Returns
        -------
        RegularizationPathDisplay

        Raises
        ------
        TypeError
            If `search` has no ``cv_results_``.

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> from sklatent import GaussianEmbedderCV
        >>> from sklatent.inspection import RegularizationPathDisplay
        >>> from sklatent.metrics import gaussianity_scorer, reconstruction_scorer
        >>> X, _ = load_iris(return_X_y=True)
        >>> scoring = {"r2": reconstruction_scorer, "gaussianity": gaussianity_scorer}
        >>> search = GaussianEmbedderCV(
        ...     reg_weights=[0.1, 1, 10], cv=2, scoring=scoring, refit="r2", max_iter=0
        ... )
        >>> display = RegularizationPathDisplay.from_estimator(search.fit(X))
        >>> display.reg_weights
        array([ 0.1,  1. , 10. ])
        """
        check_matplotlib(f"{cls.__name__}.from_estimator")
        given, search = search, last_step(search)
        if not hasattr(search, "cv_results_"):
            raise TypeError(
                f"{cls.__name__}.from_estimator needs a fitted search with cv_results_, "
                f"got {given!r}"
            )
        return cls.from_cv_results(
            search.cv_results_,
            score=score,
            gaussianity=gaussianity,
            best_index=getattr(search, "best_index_", None),
            ax=ax,
            line_kwargs=line_kwargs,
            error_kwargs=error_kwargs,
            scatter_kwargs=scatter_kwargs,
        )

    @classmethod
    def from_cv_results(
        cls,
        cv_results: Mapping[str, Any],
        *,
        score: str | None = None,
        gaussianity: str = "gaussianity",
        best_index: int | None = None,
        ax: Any = None,
        line_kwargs: Mapping[str, Any] | None = None,
        error_kwargs: Mapping[str, Any] | None = None,
        scatter_kwargs: Mapping[str, Any] | None = None,
    ) -> Self:
        """Draw the scores in ``cv_results_``.

        Parameters
        ----------
        cv_results : dict or DataFrame
            ``cv_results_`` of a search over `reg_weight` alone.
        score : str, default=None
            Name of the score of the task. None is allowed if there is only one score besides
            `gaussianity`.
        gaussianity : str, default="gaussianity"
            Name of the score of Gaussianity. If no score has this name, the display draws `score`
            against `reg_weight`.
        best_index : int, default=None
            Index of the candidate to mark.
        ax, line_kwargs, error_kwargs, scatter_kwargs
            As in `plot`.

        Returns
        -------
        RegularizationPathDisplay

        Raises
        ------
        ValueError
            If other parameters vary, or a score is missing or ambiguous.
        """
        check_matplotlib(f"{cls.__name__}.from_cv_results")
        reg_weights = _reg_weights(cv_results)
        names = _score_names(cv_results)
        others = [name for name in names if name != gaussianity]
        if score is None:
            if len(others) > 1:
                raise ValueError(f"score must name one of the scores {others}, got None")
            score = others[0] if others else gaussianity
        if score not in names:
            raise ValueError(f"score must be one of {names}, got {score!r}")
        two = gaussianity in names and score != gaussianity
        order = np.argsort(reg_weights, kind="stable")
        if best_index is not None and not 0 <= best_index < len(order):
            raise ValueError(
                f"best_index must be from 0 to {len(order) - 1}, the candidates of cv_results, "
                f"got {best_index!r}"
            )
        survived = cv_results.get("survived")
        display = cls(
            reg_weights=reg_weights[order],
            scores=_splits(cv_results, score)[:, order],
            gaussianity=_splits(cv_results, gaussianity)[:, order] if two else None,
            score_name=score,
            gaussianity_name=gaussianity if two else None,
            chosen=None if best_index is None else int(np.flatnonzero(order == best_index)[0]),
            survived=None if survived is None else np.asarray(survived, dtype=bool)[order],
        )
        return display.plot(
            ax, line_kwargs=line_kwargs, error_kwargs=error_kwargs, scatter_kwargs=scatter_kwargs
        )

    def plot(
        self,
        ax: Any = None,
        *,
        line_kwargs: Mapping[str, Any] | None = None,
        error_kwargs: Mapping[str, Any] | None = None,
        scatter_kwargs: Mapping[str, Any] | None = None,
    ) -> Self:
        """Draw the path.

        Parameters
        ----------
        ax : Axes, default=None
            If None, create a new figure.
        line_kwargs : dict, default=None
            Keywords of `matplotlib.axes.Axes.plot` for the path.
        error_kwargs : dict, default=None
            Keywords of `matplotlib.axes.Axes.errorbar` with two scores, and of
            `matplotlib.axes.Axes.fill_between` with one score.
        scatter_kwargs : dict, default=None
            Keywords of `matplotlib.axes.Axes.scatter` for the mark of the chosen candidate.

        Returns
        -------
        RegularizationPathDisplay
        """
        check_matplotlib(f"{type(self).__name__}.plot")
        from matplotlib.collections import PathCollection
        from matplotlib.lines import Line2D

        self.ax_ = panels_on(ax, 1, size=(5.6, 4.2))[0]
        self.figure_ = self.ax_.figure
        finite = np.isfinite(self.scores).all(axis=0)
        if self.gaussianity is not None:
            finite &= np.isfinite(self.gaussianity).all(axis=0)
        if not finite.any():
            raise ValueError("every candidate has a score that is not finite")
        y, y_error = _mean_and_error(self.scores[:, finite])
        weights = self.reg_weights[finite]
        x, x_error = weights, None
        if self.gaussianity is not None:
            x, x_error = _mean_and_error(self.gaussianity[:, finite])

        full = np.ones(len(y), bool) if self.survived is None else self.survived[finite]
        line = {"color": BLUE, "marker": "o", "markersize": 4, "zorder": 2}
        (self.line_,) = self.ax_.plot(x[full], y[full], **merged(Line2D, line, line_kwargs))
        x_error, y_error = (e if e is None else e[full] for e in (x_error, y_error))
        self._draw_errors(x[full], y[full], x_error, y_error, error_kwargs)
        self.dropped_ = None
        if not full.all():
            hollow = {"color": self.line_.get_color(), "markerfacecolor": "none", "marker": "o"}
            hollow |= {"linestyle": "none", "markersize": 5, "zorder": 2, "label": "dropped early"}
            (self.dropped_,) = self.ax_.plot(x[~full], y[~full], **hollow)
        self.chosen_ = None
        if self.chosen is not None and finite[self.chosen]:
            at = int(finite[: self.chosen].sum())
            label = f"chosen: reg_weight={weights[at]:.3g}"
            mark = {"s": 140, "facecolors": "none", "edgecolors": VERMILION, "linewidths": 2}
            mark |= {"zorder": 4, "label": label}
            mark = merged(PathCollection, mark, scatter_kwargs)
            self.chosen_ = self.ax_.scatter(x[at : at + 1], y[at : at + 1], **mark)
        if self.chosen_ is not None or self.dropped_ is not None:
            self.ax_.legend(loc="best", fontsize="small", frameon=False)
        self.annotations_: list[Any] = []
        if self.gaussianity is None:
            self._scale_weights(weights)
            self.ax_.set(xlabel="reg_weight", ylabel=self._label(self.score_name))
        else:
            self._annotate(x, y, weights)
            self.ax_.set(
                xlabel=f"{self.gaussianity_name} (0: Gaussian; greater is better)",
                ylabel=self._label(self.score_name),
            )
        return self

    def _draw_errors(self, x, y, x_error, y_error, given):
        from matplotlib.collections import PolyCollection
        from matplotlib.lines import Line2D

        self.errors_ = None
        if y_error is None:
            return
        if x_error is None:
            band = {"color": BLUE, "alpha": 0.2, "linewidth": 0, "zorder": 1}
            band = merged(PolyCollection, band, given)
            self.errors_ = self.ax_.fill_between(x, y - y_error, y + y_error, **band)
        else:
            bars = {"color": BLUE, "alpha": 0.5, "linestyle": "none", "elinewidth": 1, "zorder": 1}
            bars = merged(Line2D, bars, given)
            self.errors_ = self.ax_.errorbar(x, y, xerr=x_error, yerr=y_error, **bars)

    def _label(self, name):
        return f"{name} (greater is better)"

    def _scale_weights(self, weights):
        positive = weights[weights > 0]
        if len(positive) == len(weights):
            self.ax_.set_xscale("log")
        elif len(positive):
            self.ax_.set_xscale("symlog", linthresh=positive.min())

    def _annotate(self, x, y, weights):
        self.ax_.autoscale_view()
        pixels = self.ax_.transData.transform(np.column_stack([x, y]))
        inch = self.figure_.dpi
        above = False
        for i, weight in enumerate(weights):
            # Labels of points that are near each other alternate above and below.
            crowded = i > 0 and (np.abs(pixels[i] - pixels[i - 1]) < [0.4 * inch, 0.2 * inch]).all()
            above = not (crowded and above)
            place = {"xytext": (5, 5), "ha": "left", "va": "bottom"}
            if not above:
                place = {"xytext": (-5, -5), "ha": "right", "va": "top"}
            label = f"{weight:.3g}"
            self.annotations_.append(
                self.ax_.annotate(
                    label,
                    (x[i], y[i]),
                    textcoords="offset points",
                    fontsize="small",
                    zorder=5,
                    **place,
                )
            )


def _reg_weights(cv_results: Mapping[str, Any]) -> NDArray:
    keys = [key for key in cv_results if key.startswith("param_")]
    ours = [key for key in keys if key == "param_reg_weight" or key.endswith("__reg_weight")]
    if len(ours) != 1:
        raise ValueError(
            "cv_results must be of a search over reg_weight, with one key param_reg_weight or "
            f"param_<step>__reg_weight, got {keys}"
        )
    others = [key for key in keys if key != ours[0] and len({repr(v) for v in cv_results[key]}) > 1]
    if others:
        raise ValueError(
            f"cv_results must vary reg_weight alone, got several values of {others}: keep only "
            "candidates with a single value of each"
        )
    return np.asarray(cv_results[ours[0]], dtype=np.float64)


def _score_names(cv_results: Mapping[str, Any]) -> list[str]:
    prefix = "split0_test_"
    names = [key.removeprefix(prefix) for key in cv_results if key.startswith(prefix)]
    if not names:
        raise ValueError(
            f"cv_results must have scores with keys {prefix}<name>, got the keys {list(cv_results)}"
        )
    return names


def _splits(cv_results: Mapping[str, Any], name: str) -> NDArray:
    keys = [f"split{i}_test_{name}" for i in range(len(cv_results))]
    rows = [np.asarray(cv_results[key], dtype=np.float64) for key in keys if key in cv_results]
    return np.array(rows)


def _mean_and_error(scores: NDArray) -> tuple[NDArray, NDArray | None]:
    """Return the mean over splits, and its standard error if there are several splits."""
    mean = scores.mean(axis=0)
    if len(scores) < 2:
        return mean, None
    return mean, scores.std(axis=0, ddof=1) / np.sqrt(len(scores))
