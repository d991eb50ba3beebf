"""Helpers of all displays, which import matplotlib only when they draw."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Colors that color-blind readers can distinguish (Okabe & Ito 2008).
BLUE, VERMILION, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
GREY = "0.45"


def check_matplotlib(caller: str) -> None:
    """Raise an ImportError with the command to install matplotlib, if matplotlib is missing."""
    try:
        import matplotlib  # noqa: F401 (only tests the import)
    except ImportError as error:
        raise ImportError(
            f"{caller} needs matplotlib: pip install 'sklatent[plots]', or matplotlib itself"
        ) from error


def merged(artist: Any, defaults: dict[str, Any], given: Mapping[str, Any] | None) -> dict:
    """Return an artist's keywords. The user's keywords, under any alias, replace the defaults."""
    from matplotlib.cbook import normalize_kwargs

    return {**defaults, **normalize_kwargs(dict(given or {}), artist)}


def panels_on(
    ax: Any, n: int, *, size: tuple[float, float], n_columns: int = 4, margin: float = 0.0
) -> NDArray:
    """Return n Axes: the given ones, parts of a single given one, or those of a new figure.

    A new figure has `size` inches per panel, and a `margin` on the right.

    Raises
    ------
    ValueError
        If the number of given Axes is wrong, or a single given Axes cannot be divided.
    """
    if ax is not None and not hasattr(ax, "plot"):
        axes = np.asarray(ax, dtype=object).ravel()
        if len(axes) != n:
            raise ValueError(f"ax must be one Axes or {n}, one for each panel, got {len(axes)}")
        return axes
    if ax is not None and n == 1:
        return np.array([ax], dtype=object)

    n_columns = min(n, n_columns)
    n_rows = -(-n // n_columns)
    if ax is None:
        import matplotlib.pyplot as plt

        width, height = size[0] * n_columns + margin, size[1] * n_rows
        figure = plt.figure(figsize=(width, height), layout="constrained")
        grid = figure.add_gridspec(n_rows, n_columns)
    else:
        spec = ax.get_subplotspec()
        if spec is None:
            raise ValueError(
                f"ax must be part of a grid of subplots, to be divided into {n} panels. Pass an "
                f"array of {n} Axes instead."
            )
        figure, grid = ax.figure, spec.subgridspec(n_rows, n_columns, wspace=0.4, hspace=0.5)
        ax.set_axis_off()
    axes = np.empty(n, dtype=object)
    for i in range(n):
        axes[i] = figure.add_subplot(grid[i // n_columns, i % n_columns])
    return axes
