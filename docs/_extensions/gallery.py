"""The order of the examples in the gallery."""

ORDER = [
    "classifier",
    "task",
    "regularizers",
    "reg_weight",
    "gaussianizer",
    "anomalies",
    "generate",
    "kalman",
    "inspection",
    "mixed_columns",
    "large_data",
    "own_networks",
]


def place(name):
    """Return the place of an example's file; every example must be in `ORDER`."""
    return ORDER.index(name.removeprefix("plot_").removesuffix(".py"))
