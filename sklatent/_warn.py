"""Warnings that point at the line of the caller, however deep inside a fit they arise."""

import sys
import warnings

#: Packages between the caller's line and ours: decorators, pipelines, searches.
INTERNAL = ("sklatent", "sklearn", "contextlib", "joblib")


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn at the innermost line outside this package, scikit-learn and joblib."""
    level, frame = 2, sys._getframe(1)
    while frame.f_back and frame.f_globals.get("__name__", "").split(".")[0] in INTERNAL:
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level)
