"""Quantile-quantile plots of an embedding against its target."""

from collections.abc import Mapping, Sequence
from numbers import Integral
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import gammaincinv, ndtri

from .._target import Target
from ..metrics._null import RandomState, as_seed
from ..metrics._samples import check_samples
from ..metrics._unwrap import embedding_of
from ..metrics._worst_direction import halves, search
from ._band import uniform_band
from ._plotting import BLUE, GREY, VERMILION, check_matplotlib, merged, panels_on

#: Default number of panels of components.
MAX_COMPONENTS = 6

Panel = str | int


class GaussianityDisplay:
    r"""Quantile-quantile plots of an embedding against its target.

    The panels are

    - the squared Mahalanobis radii :math:`(z - \mu)^T \Sigma^{-1} (z - \mu)` against the chi-square
      distribution with n_components degrees of freedom, a distance from the target's mean in all
      components together (Healy 1968);
    - the worst direction against N(0, 1): the least Gaussian projection in standard coordinates.
      One half of the samples determines the direction, and the panel shows the other half (see
      `metrics.WorstDirection`);
    - each component against N(0, 1), after subtraction of the target's mean and division by the
      target's standard deviation.

    The null hypothesis is that the samples are independent draws from the given N(mu, Sigma).
    No parameter is estimated. Under the null hypothesis, *all* points of a panel lie inside the
    band with the probability `level`. Each point has the same probability to be outside
    (Aldor-Noiman et al. 2013), so that the band detects deviations in the tails as well as in the
    middle. The band is exact up to 10,000 samples. There is no correction for the number of panels.

    Use `from_embedding` or `from_estimator` to create a display.

    Parameters
    ----------
    squared_radii : ndarray of shape (n_samples,)
    components : ndarray of shape (n_samples, n_components)
        Distances from the target's mean, in standard deviations of the target.
    projection : ndarray of shape (n_measured,)
        Projection of the samples that did not determine the worst direction.
    direction : ndarray of shape (n_components,)
        The worst direction, a unit vector in standard coordinates.

    Attributes
    ----------
    panels_ : tuple
        "radius", "worst" or the index of a component, for each panel.
    outside_ : ndarray of shape (n_panels,)
        For each panel, the share of points outside of the band.
    scatters_ : list of PathCollection
    lines_ : list of Line2D
        The diagonals, on which the quantiles of samples and target are equal.
    bands_ : list of PolyCollection
    texts_ : list of Annotation
        For each panel, the number or share of points outside of the band.
    axes_ : ndarray of Axes of shape (n_panels,)
    ax_ : Axes
        The first of `axes_`.
    figure_ : Figure

    See Also
    --------
    sklatent.metrics.gaussianity_report : Statistics and p-values for the same null hypothesis.

    References
    ----------
    - Aldor-Noiman, Brown, Buja, Rolke & Stine (2013). `The power to see: a new graphical test of
      normality <https://doi.org/10.1080/00031305.2013.847865>`_. The American Statistician 67.
    - Healy (1968). Multivariate normal plotting. Journal of the Royal Statistical Society C 17.
    - Moscovich & Nadler (2017). Fast calculation of boundary crossing probabilities for Poisson
      processes. Statistics & Probability Letters 123.

    Examples
    --------
    >>> import numpy as np
    >>> from sklatent.inspection import GaussianityDisplay
    >>> Z = np.random.default_rng(0).standard_t(df=3, size=(500, 2))
    >>> display = GaussianityDisplay.from_embedding(Z)
    >>> display.panels_
    ('radius', 'worst', 0, 1)
    >>> bool((display.outside_ > 0).all())
    True
    """

    def __init__(
        self,
        *,
        squared_radii: NDArray,
        components: NDArray,
        projection: NDArray,
        direction: NDArray,
    ) -> None:
        self.squared_radii = squared_radii
        self.components = components
        self.projection = projection
        self.direction = direction

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: ArrayLike,
        *,
        random_state: RandomState = 0,
        ax: Any = None,
        panels: Sequence[Panel] | None = None,
        level: float = 0.95,
        scatter_kwargs: Mapping[str, Any] | None = None,
        line_kwargs: Mapping[str, Any] | None = None,
        band_kwargs: Mapping[str, Any] | None = None,
    ) -> Self:
        """Draw the embedding of X against the estimator's target.

        Parameters
        ----------
        estimator : fitted estimator with transform
            `GaussianEmbedder`, ``PCA(whiten=True)``, a pipeline that ends in one, a search, ... The
            target is N(`target_mean_`, `target_cov_`). If the estimator lacks these attributes, the
            target is N(0, I).
        X : array-like of shape (n_samples, n_features)
            At least four samples that the estimator was not fitted to. A calibration gives the
            training samples exactly the target's mean and covariance.
        random_state, ax, panels, level, scatter_kwargs, line_kwargs, band_kwargs
            As in `from_embedding`.

        Returns
        -------
        GaussianityDisplay

        Raises
        ------
        TypeError
            If the estimator has no transform.

        Examples
        --------
        >>> from sklearn.datasets import load_digits
        >>> from sklearn.decomposition import PCA
        >>> from sklatent.inspection import GaussianityDisplay
        >>> X, _ = load_digits(return_X_y=True)
        >>> pca = PCA(4, whiten=True).fit(X[:1000])
        >>> display = GaussianityDisplay.from_estimator(pca, X[1000:], panels=["radius"])
        >>> display.ax_.get_title(loc="left")
        'Radius'
        """
        check_matplotlib(f"{cls.__name__}.from_estimator")
        Z, mean, cov = embedding_of(estimator, X, f"{cls.__name__}.from_estimator")
        return cls.from_embedding(
            Z,
            mean,
            cov,
            random_state=random_state,
            ax=ax,
            panels=panels,
            level=level,
            scatter_kwargs=scatter_kwargs,
            line_kwargs=line_kwargs,
            band_kwargs=band_kwargs,
        )

    @classmethod
    def from_embedding(
        cls,
        Z: ArrayLike,
        mean: ArrayLike | None = None,
        cov: ArrayLike | None = None,
        *,
        random_state: RandomState = 0,
        ax: Any = None,
        panels: Sequence[Panel] | None = None,
        level: float = 0.95,
        scatter_kwargs: Mapping[str, Any] | None = None,
        line_kwargs: Mapping[str, Any] | None = None,
        band_kwargs: Mapping[str, Any] | None = None,
    ) -> Self:
        """Draw an embedding against a target.

        Parameters
        ----------
        Z : array-like of shape (n_samples, n_components)
            The embedding of at least four samples that the encoder was not fitted to.
        mean : array-like of shape (n_components,), default=None
            Mean of the target. If None, zeros.
        cov : array-like of shape (n_components, n_components) or (n_components,), default=None
            Covariance or variances of the target. If None, the identity.
        random_state : int, RandomState instance or None, default=0
            Determines the half of the samples for the search of the worst direction.
        ax, panels, level, scatter_kwargs, line_kwargs, band_kwargs
            As in `plot`.

        Returns
        -------
        GaussianityDisplay

        Raises
        ------
        ValueError
            If an array has the wrong shape or a value that is not finite, if cov is not positive
            definite, or if Z has fewer than four samples.
        """
        check_matplotlib(f"{cls.__name__}.from_embedding")
        seed = as_seed(random_state)
        Z = check_samples(Z, min_samples=4)
        target = Target.from_params(mean, cov, Z.shape[1], prefix="")
        u = target.to_standard(Z)
        sought, measured = halves(len(u), seed)
        direction = search(u[sought], seed)
        display = cls(
            squared_radii=np.square(u).sum(axis=1),
            components=(Z - target.mean) / np.sqrt(target.cov.diagonal()),
            projection=u[measured] @ direction,
            direction=direction,
        )
        return display.plot(
            ax,
            panels=panels,
            level=level,
            scatter_kwargs=scatter_kwargs,
            line_kwargs=line_kwargs,
            band_kwargs=band_kwargs,
        )

    def plot(
        self,
        ax: Any = None,
        *,
        panels: Sequence[Panel] | None = None,
        level: float = 0.95,
        scatter_kwargs: Mapping[str, Any] | None = None,
        line_kwargs: Mapping[str, Any] | None = None,
        band_kwargs: Mapping[str, Any] | None = None,
    ) -> Self:
        """Draw the quantile-quantile plots.

        Parameters
        ----------
        ax : Axes or array of Axes, default=None
            One Axes for each panel, or a single Axes of a grid of subplots, which the panels share.
            If None, create a new figure.
        panels : sequence of "radius", "worst" or int, default=None
            The panels. Ints are indices of components. If None, draw the radius, the worst
            direction if there is more than one component, and the first six components.
        level : float in (0, 1), default=0.95
            Probability that all points of a panel are inside its band, for draws from the target.
        scatter_kwargs : dict, default=None
            Keywords of `matplotlib.axes.Axes.scatter` for the points.
        line_kwargs : dict, default=None
            Keywords of `matplotlib.axes.Axes.plot` for the diagonal.
        band_kwargs : dict, default=None
            Keywords of `matplotlib.axes.Axes.fill_between` for the band.

        Returns
        -------
        GaussianityDisplay
        """
        check_matplotlib(f"{type(self).__name__}.plot")
        from matplotlib.collections import PathCollection, PolyCollection
        from matplotlib.lines import Line2D

        if not 0 < level < 1:
            raise ValueError(f"level must be in (0, 1), got {level!r}")
        self.panels_ = self._check_panels(panels)
        points = merged(PathCollection, {"s": 9, "linewidths": 0, "zorder": 3}, scatter_kwargs)
        line = merged(Line2D, {"color": GREY, "linewidth": 1, "zorder": 2}, line_kwargs)
        band = merged(PolyCollection, {"color": "0.85", "linewidth": 0, "zorder": 1}, band_kwargs)
        self.axes_ = panels_on(ax, len(self.panels_), size=(3.1, 3.1))
        self.ax_ = self.axes_[0]
        self.figure_ = self.ax_.figure
        self.scatters_, self.lines_, self.bands_, self.texts_ = [], [], [], []
        outside = []
        for axes, panel in zip(self.axes_, self.panels_, strict=True):
            observed = np.sort(self._values(panel))
            low, middle, high = (
                self._quantiles(panel, bound) for bound in uniform_band(len(observed), level)
            )
            out = (observed < low) | (observed > high)
            outside.append(out.mean())
            colors = {} if {"color", "c", "facecolor"} & set(points) else {"c": _colors(out)}
            self.bands_.append(axes.fill_between(middle, low, high, **band))
            self.lines_.extend(axes.plot(middle[[0, -1]], middle[[0, -1]], **line))
            self.scatters_.append(axes.scatter(middle, observed, **{**colors, **points}))
            name, xlabel, ylabel = self._labels(panel)
            axes.set_title(name, loc="left", fontsize="medium")
            # Quantiles increase, so the upper left and the lower right corners are empty.
            corner = {"xy": (0.97, 0.04), "xycoords": "axes fraction", "ha": "right"}
            color = _colors(out.any())
            self.texts_.append(axes.annotate(_share(out), color=color, fontsize="small", **corner))
            axes.set(xlabel=xlabel, ylabel=ylabel)
        self.outside_ = np.array(outside)
        self._add_legend(level)
        return self

    def _check_panels(self, panels: Sequence[Panel] | None) -> tuple[Panel, ...]:
        k = self.components.shape[1]
        if panels is None:
            worst = ["worst"] if k > 1 else []
            return ("radius", *worst, *range(min(k, MAX_COMPONENTS)))
        if isinstance(panels, str) or not isinstance(panels, Sequence) or not len(panels):
            raise ValueError(
                f"panels must be a list of 'radius', 'worst' or indices of components, "
                f"got {panels!r}"
            )
        for panel in panels:
            known = panel in ("radius", "worst") if isinstance(panel, str) else _is_index(panel, k)
            if not known:
                raise ValueError(
                    f"panels must be 'radius', 'worst' or indices of components from 0 to {k - 1}, "
                    f"got {panel!r}"
                )
        return tuple(panels)

    def _values(self, panel: Panel) -> NDArray:
        if panel == "radius":
            return self.squared_radii
        return self.projection if isinstance(panel, str) else self.components[:, panel]

    def _quantiles(self, panel: Panel, q: NDArray) -> NDArray:
        return 2 * gammaincinv(self.components.shape[1] / 2, q) if panel == "radius" else ndtri(q)

    def _labels(self, panel: Panel) -> tuple[str, str, str]:
        if panel == "radius":
            k = self.components.shape[1]
            return "Radius", f"quantiles of chi-square({k})", "squared radii of samples"
        name = "Worst direction" if panel == "worst" else f"Component {panel}"
        return name, "quantiles of N(0, 1)", "samples, in target's std"

    def _add_legend(self, level: float) -> None:
        self.ax_.legend(
            handles=[self.lines_[0], self.bands_[0]],
            labels=["target", f"{100 * level:.3g}% band"],
            loc="upper left",
            fontsize="small",
            frameon=False,
        )


def _is_index(panel: Any, k: int) -> bool:
    return isinstance(panel, Integral) and not isinstance(panel, bool) and int(panel) in range(k)


def _colors(outside: Any) -> Any:
    colors = np.where(outside, VERMILION, BLUE)
    return colors if colors.ndim else colors.item()


def _share(outside: NDArray) -> str:
    count = int(outside.sum())
    if count == 0:
        return "all inside"
    if outside.mean() > 0.005:  # rounds to at least 1%
        return f"{outside.mean():.0%} outside"
    return f"{count} sample{'s' if count > 1 else ''} outside"
