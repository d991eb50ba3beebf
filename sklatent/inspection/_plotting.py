"""What all displays need of matplotlib; it is imported when they draw."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Told apart by the color-blind (Okabe & Ito 2008).
BLUE, VERMILION, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
GREY = "0.45"


def check_matplotlib(caller: str) -> None:
    """Raise an ImportError that says what to install where matplotlib is missing."""
    try:
        import matplotlib  # noqa: F401 (whether it can be imported is the question)
    except ImportError as error:
        raise ImportError(
            f"{caller} needs matplotlib: pip install 'sklatent[plots]', or matplotlib itself"
        ) from error


def merged(artist: Any, defaults: dict[str, Any], given: Mapping[str, Any] | None) -> dict:
    """Return an artist's keywords, those of the user first, whichever alias they use."""
    from matplotlib.cbook import normalize_kwargs

    return {**defaults, **normalize_kwargs(dict(given or {}), artist)}


def panels_on(
    ax: Any, n: int, *, size: tuple[float, float], n_columns: int = 4, margin: float = 0.0
) -> NDArray:
    """Return n Axes: of a new figure, in the place of the one given, or those given.

    A new figure has `size` inches per panel, and a `margin` at the right.

    Raises
    ------
    ValueError
        If another number of Axes is given, or one that cannot be divided.
    """
    if ax is not None and not hasattr(ax, "plot"):
        axes = np.asarray(ax, dtype=object).ravel()
        if len(axes) != n:
            raise ValueError(f"ax must be one Axes or {n}, one for each panel; got {len(axes)}")
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
                f"ax must be part of a grid of subplots, to be divided into {n} panels; give an "
                f"array of {n} Axes instead"
            )
        figure, grid = ax.figure, spec.subgridspec(n_rows, n_columns, wspace=0.4, hspace=0.5)
        ax.set_axis_off()
    axes = np.empty(n, dtype=object)
    for i in range(n):
        axes[i] = figure.add_subplot(grid[i // n_columns, i % n_columns])
    return axes
