"""Scatter plots of pairs of components, with contours of the target."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from numbers import Integral, Real
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import check_consistent_length, check_random_state, column_or_1d

from .._target import Target
from ..metrics._null import RandomState
from ..metrics._samples import check_samples
from ..metrics._unwrap import embedding_of
from ._plotting import BLUE, check_matplotlib, merged, panels_on

#: Ten colors that readers prefer and that color-blind readers can distinguish (Petroff 2021).
COLORS = (
    *("#3f90da", "#ffa90e", "#bd1f01", "#94a4a2", "#832db6"),
    *("#a96b59", "#e76300", "#b9ac70", "#717581", "#92dadd"),
)
#: Largest number of classes: those beyond the colors are rings instead of dots.
MAX_CLASSES = 2 * len(COLORS)
MASSES = (0.5, 0.9, 0.99)


class EmbeddingDisplay:
    """Scatter plots of pairs of components, with contours of the target.

    The ellipses are contours of the target's marginal density of each pair, and contain 50, 90 and
    99 percent of its mass. Both axes of a panel have the same range in units of the target's
    standard deviations, so that the ellipses of uncorrelated components are circles.

    Use `from_embedding` or `from_estimator` to create a display.

    Parameters
    ----------
    Z : ndarray of shape (n_shown, n_components)
    y : ndarray of shape (n_shown,) or None
    mean : ndarray of shape (n_components,)
        Mean of the target.
    cov : ndarray of shape (n_components, n_components)
        Covariance of the target.
    y_name : str, default="y"
        Title of the legend or the color bar.

    Attributes
    ----------
    pairs_ : list of tuple of (int, int)
        The horizontal and the vertical component of each panel.
    classes_ : ndarray of shape (n_classes,) or None
        The classes, or None if y is not drawn as classes.
    scatters_ : list of PathCollection
    contours_ : list of list of Line2D
        For each panel, an ellipse for each mass.
    legend_ : Legend or None
        The legend of the classes, or None if y is not drawn as classes.
    colorbar_ : Colorbar or None
        The color bar, or None if y is not drawn as numbers.
    axes_ : ndarray of Axes of shape (n_panels,)
    ax_ : Axes
        The first of `axes_`.
    figure_ : Figure

    References
    ----------
    Petroff (2021). `Accessible color sequences for data visualization
    <https://arxiv.org/abs/2107.02270>`_.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.decomposition import PCA
    >>> from sklatent.inspection import EmbeddingDisplay
    >>> X, y = load_iris(return_X_y=True)
    >>> Z = PCA(3, whiten=True).fit_transform(X)
    >>> display = EmbeddingDisplay.from_embedding(Z, y)
    >>> display.pairs_
    [(0, 1), (0, 2), (1, 2)]
    >>> display.classes_
    array([0, 1, 2])
    """

    def __init__(
        self,
        *,
        Z: NDArray,
        y: NDArray | None,
        mean: NDArray,
        cov: NDArray,
        y_name: str = "y",
    ) -> None:
        self.Z = Z
        self.y = y
        self.mean = mean
        self.cov = cov
        self.y_name = y_name

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: ArrayLike,
        y: ArrayLike | None = None,
        *,
        components: Sequence[int] | None = None,
        subsample: float | int | None = 2000,
        random_state: RandomState = 0,
        ax: Any = None,
        scatter_kwargs: Mapping[str, Any] | None = None,
        contour_kwargs: Mapping[str, Any] | None = None,
    ) -> Self:
        """Draw the embedding of X with contours of the estimator's target.

        Parameters
        ----------
        estimator : fitted estimator with transform
            `GaussianEmbedder`, ``PCA(whiten=True)``, a pipeline that ends in one, a search, ... The
            target is N(`target_mean_`, `target_cov_`). If the estimator lacks these attributes, the
            target is N(0, I).
        X : array-like of shape (n_samples, n_features)
            Preferably samples that the estimator was not fitted to.
        y : array-like of shape (n_samples,), default=None
            As in `from_embedding`.
        components, subsample, random_state, ax, scatter_kwargs, contour_kwargs
            As in `from_embedding`.

        Returns
        -------
        EmbeddingDisplay

        Raises
        ------
        TypeError
            If the estimator has no transform.

        Examples
        --------
        >>> from sklearn.datasets import load_diabetes
        >>> from sklearn.decomposition import PCA
        >>> from sklatent.inspection import EmbeddingDisplay
        >>> X, y = load_diabetes(return_X_y=True)
        >>> pca = PCA(2, whiten=True).fit(X)
        >>> display = EmbeddingDisplay.from_estimator(pca, X, y)
        >>> display.ax_.get_xlabel()
        'component 0'
        """
        check_matplotlib(f"{cls.__name__}.from_estimator")
        Z, mean, cov = embedding_of(estimator, X, f"{cls.__name__}.from_estimator")
        return cls.from_embedding(
            Z,
            y,
            mean=mean,
            cov=cov,
            components=components,
            subsample=subsample,
            random_state=random_state,
            ax=ax,
            scatter_kwargs=scatter_kwargs,
            contour_kwargs=contour_kwargs,
        )

    @classmethod
    def from_embedding(
        cls,
        Z: ArrayLike,
        y: ArrayLike | None = None,
        *,
        mean: ArrayLike | None = None,
        cov: ArrayLike | None = None,
        components: Sequence[int] | None = None,
        subsample: float | int | None = 2000,
        random_state: RandomState = 0,
        ax: Any = None,
        scatter_kwargs: Mapping[str, Any] | None = None,
        contour_kwargs: Mapping[str, Any] | None = None,
    ) -> Self:
        """Draw an embedding with contours of a target.

        Parameters
        ----------
        Z : array-like of shape (n_samples, n_components)
            The embedding, with at least two components.
        y : array-like of shape (n_samples,), default=None
            Colors of the samples. Labels, and integers with at most 20 different values, are drawn
            as classes with a legend. Other numbers are drawn with a color bar.
        mean : array-like of shape (n_components,), default=None
            Mean of the target. If None, zeros.
        cov : array-like of shape (n_components, n_components) or (n_components,), default=None
            Covariance or variances of the target. If None, the identity.
        components : sequence of int, default=None
            Indices of components. The display draws all pairs of them. If None, the first three.
        subsample : int, float in (0, 1) or None, default=2000
            Largest number of samples to show, or the share of samples to show. The subsample is
            random, without replacement. If None, show all samples. More points are drawn more
            transparent.
        random_state : int, RandomState instance or None, default=0
            Determines the subsample.
        ax, scatter_kwargs, contour_kwargs
            As in `plot`.

        Returns
        -------
        EmbeddingDisplay

        Raises
        ------
        ValueError
            If an array has the wrong shape or a value that is not finite, if cov is not positive
            definite, or if y has more than 20 labels.
        """
        check_matplotlib(f"{cls.__name__}.from_embedding")
        y_name = getattr(y, "name", None)
        Z = check_samples(Z)
        target = Target.from_params(mean, cov, Z.shape[1], prefix="")
        if y is not None:
            y = column_or_1d(y)
            check_consistent_length(Z, y)
        shown = _shown(len(Z), subsample, random_state)
        display = cls(
            Z=Z[shown],
            y=None if y is None else np.asarray(y)[shown],
            mean=target.mean,
            cov=target.cov,
            y_name=y_name if isinstance(y_name, str) else "y",
        )
        return display.plot(
            ax,
            components=components,
            scatter_kwargs=scatter_kwargs,
            contour_kwargs=contour_kwargs,
        )

    def plot(
        self,
        ax: Any = None,
        *,
        components: Sequence[int] | None = None,
        scatter_kwargs: Mapping[str, Any] | None = None,
        contour_kwargs: Mapping[str, Any] | None = None,
    ) -> Self:
        """Draw the scatter plots.

        Parameters
        ----------
        ax : Axes or array of Axes, default=None
            One Axes for each pair, or a single Axes of a grid of subplots, which the pairs share.
            If None, create a new figure. The legend is to the right of the new figure's panels, or
            of the last given Axes.
        components : sequence of int, default=None
            Indices of components. The display draws all pairs of them. If None, the first three.
        scatter_kwargs : dict, default=None
            Keywords of `matplotlib.axes.Axes.scatter` for the samples. With classes, ``cmap`` can
            be a list of colors.
        contour_kwargs : dict, default=None
            Keywords of `matplotlib.axes.Axes.plot` for the ellipses.

        Returns
        -------
        EmbeddingDisplay
        """
        check_matplotlib(f"{type(self).__name__}.plot")
        from matplotlib.collections import PathCollection
        from matplotlib.lines import Line2D

        self.pairs_ = self._check_components(components)
        self.classes_ = None if self.y is None else _classes(self.y)
        # Many points overlap. Smaller and more transparent points then show the density.
        crowd = min(1.0, (600 / len(self.Z)) ** 0.4)
        defaults = {"s": max(4, 14 * crowd), "linewidths": 0.5, "alpha": 0.8 * crowd}
        points = merged(PathCollection, {**defaults, "zorder": 2}, scatter_kwargs)
        colors, handles = self._colors(points)
        line = {"color": "black", "linewidth": 1, "zorder": 3}
        line = merged(Line2D, line, contour_kwargs)

        self.axes_ = panels_on(
            ax, len(self.pairs_), n_columns=3, size=(3.4, 3.4), margin=0 if self.y is None else 0.9
        )
        self.ax_ = self.axes_[0]
        self.figure_ = self.ax_.figure
        self.scatters_, self.contours_ = [], []
        for axes, (i, j) in zip(self.axes_, self.pairs_, strict=True):
            self.scatters_.append(axes.scatter(self.Z[:, i], self.Z[:, j], **{**colors, **points}))
            self.contours_.append(self._draw_contours(axes, i, j, line))
            axes.set(xlabel=f"component {i}", ylabel=f"component {j}")
        self._add_key(handles, beside=ax is None)
        return self

    def _check_components(self, components: Sequence[int] | None) -> list[tuple[int, int]]:
        k = self.Z.shape[1]
        if k < 2:
            raise ValueError(
                "EmbeddingDisplay needs an embedding with at least two components, got one. "
                "GaussianityDisplay draws embeddings with one component."
            )
        chosen = list(range(min(k, 3))) if components is None else list(components)
        valid = all(isinstance(i, Integral) and 0 <= i < k for i in chosen)
        if not valid or len(set(chosen)) != len(chosen) or len(chosen) < 2:
            raise ValueError(
                f"components must be at least two different indices from 0 to {k - 1}, "
                f"got {components!r}"
            )
        return list(combinations(chosen, 2))

    def _colors(self, points: dict[str, Any]) -> tuple[dict[str, Any], list[Any]]:
        """Return keywords of the scatter plots, and the handles of the legend."""
        from matplotlib.colors import to_rgba
        from matplotlib.lines import Line2D

        if {"color", "c", "facecolor", "edgecolor"} & set(points):
            self.classes_ = None
            return {}, []
        if self.y is None:
            return {"color": BLUE}, []
        if self.classes_ is None:
            return {"c": self.y, "cmap": "viridis"}, []
        palette = points.pop("cmap", COLORS)
        if isinstance(palette, str):
            from matplotlib import colormaps

            palette = colormaps[palette](np.linspace(0, 1, len(self.classes_)))
        alpha = points.pop("alpha")
        code = np.searchsorted(self.classes_, self.y)
        strong = np.array([to_rgba(palette[c % len(palette)]) for c in range(len(self.classes_))])
        faint = strong * [1, 1, 1, alpha]
        hollow = np.arange(len(strong)) >= len(palette)
        handles = [
            Line2D([], [], ls="", marker="o", ms=5, mec=edge, mfc="none" if ring else edge)
            for edge, ring in zip(strong, hollow, strict=True)
        ]
        faces = np.where(hollow[:, None], 0.0, faint)
        return {"facecolors": faces[code], "edgecolors": faint[code]}, handles

    def _draw_contours(self, axes: Any, i: int, j: int, line: dict[str, Any]) -> list[Any]:
        pair = [i, j]
        mean, std = self.mean[pair], np.sqrt(self.cov.diagonal()[pair])
        factor = np.linalg.cholesky(self.cov[np.ix_(pair, pair)])
        angle = np.linspace(0, 2 * np.pi, 181)
        circle = np.array([np.cos(angle), np.sin(angle)])  # (2, 181)
        contours = []
        for mass in MASSES:
            radius = np.sqrt(-2 * np.log(1 - mass))  # quantile of chi(2)
            x, y = mean[:, None] + radius * factor @ circle
            contours.extend(axes.plot(x, y, **line))
            axes.annotate(
                f"{mass:.0%}" + (" of target" if mass == MASSES[-1] else ""),
                (x[y.argmin()], y.min()),
                ha="center",
                va="center",
                fontsize="x-small",
                zorder=4,
                bbox={"facecolor": "white", "linewidth": 0, "pad": 0.5},
            )
        reach = np.abs((self.Z[:, pair] - mean) / std).max(initial=radius) * 1.06
        axes.set_box_aspect(1)
        axes.set_xlim(mean[0] - reach * std[0], mean[0] + reach * std[0])
        axes.set_ylim(mean[1] - reach * std[1], mean[1] + reach * std[1])
        return contours

    def _add_key(self, handles: list[Any], beside: bool) -> None:
        self.legend_ = self.colorbar_ = None
        if self.classes_ is not None:
            key = (handles, [str(c) for c in self.classes_])
            if beside:
                self.legend_ = self.figure_.legend(
                    *key, title=self.y_name, loc="outside right upper", frameon=False
                )
            else:
                beyond = {"loc": "upper left", "bbox_to_anchor": (1, 1), "frameon": False}
                self.legend_ = self.axes_[-1].legend(
                    *key, title=self.y_name, fontsize="small", **beyond
                )
        elif self.y is not None and self.scatters_[0].get_array() is not None:
            # With a single Axes, the color bar becomes part of the grid, which tight_layout needs.
            axes = self.axes_.tolist() if len(self.axes_) > 1 else self.ax_
            self.colorbar_ = self.figure_.colorbar(self.scatters_[0], ax=axes, label=self.y_name)
            self.colorbar_.solids.set_alpha(1)


def _shown(n: int, subsample: float | int | None, random_state: RandomState) -> Any:
    if subsample is None:
        return slice(None)
    whole = isinstance(subsample, Integral) and not isinstance(subsample, bool) and subsample > 0
    share = isinstance(subsample, Real) and 0 < subsample < 1
    if not (whole or share):
        raise ValueError(
            f"subsample must be an int of at least 1, a float in (0, 1) or None, got {subsample!r}"
        )
    size = int(subsample) if whole else max(1, int(n * subsample))
    if size >= n:
        return slice(None)
    return np.sort(check_random_state(random_state).choice(n, size, replace=False))


def _classes(y: NDArray) -> NDArray | None:
    """Return the classes of y, or None if y has numbers for a color bar."""
    numeric = y.dtype.kind in "iuf"
    if numeric and not np.isfinite(y).all():
        raise ValueError("y must be finite, got nan or infinity")
    try:
        classes = np.unique(y)
    except TypeError:
        raise ValueError(
            "y must have labels of one type, without missing labels, got labels of the types "
            f"{sorted({type(label).__name__ for label in y})}"
        ) from None
    if numeric and (len(classes) > MAX_CLASSES or (classes != np.round(classes)).any()):
        return None
    if len(classes) > MAX_CLASSES:
        raise ValueError(
            f"y must have at most {MAX_CLASSES} different labels, got {len(classes)}: merge some "
            "labels, or omit y"
        )
    return classes
