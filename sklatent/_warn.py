"""Warnings that point to the line of the caller."""

import sys
import warnings

#: Packages whose frames are skipped: this one, training, decorators, pipelines and searches.
INTERNAL = ("sklatent", "skorch", "torch", "sklearn", "contextlib", "joblib")


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn at the innermost line outside this package and the packages that call it."""
    level, frame = 2, sys._getframe(1)
    while frame.f_back and frame.f_globals.get("__name__", "").split(".")[0] in INTERNAL:
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level)
