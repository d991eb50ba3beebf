"""Public classes and functions are documented as numpydoc validates."""

import importlib
import inspect

import pytest

numpydoc = pytest.importorskip("numpydoc.validate", reason="numpydoc is in the extra 'test'")

MODULES = {
    "sklatent": None,
    "sklatent.calibration": None,
    "sklatent.inspection": None,
    "sklatent.metrics": None,
    "sklatent.onnx": None,
    "sklatent.regularizers": None,
    "sklatent.tasks": ["Classification", "Reconstruction", "Regression", "Task"],
    "sklatent.networks": ["Embedding", "Linear", "MLP"],
}
IGNORED = {
    "ES01": "one sentence is often enough",
    "SA01": "the user guide compares classes and functions, so not all have a section See Also",
    "PR07": "a type with a shape can say it all, as in X : array-like of shape (n, p)",
    "RT03": "the same holds for returned arrays",
}
# numpydoc takes the fields of these for parameters; their docstrings list them as attributes.
RECORDS = ["GaussianityReport", "MardiaResult", "TestResult", "WorstDirection", "Embedding"]


def public():
    for module, names in MODULES.items():
        imported = importlib.import_module(module)
        for name in names or imported.__all__:
            if callable(getattr(imported, name)):
                yield f"{module}.{name}"


@pytest.mark.parametrize("name", list(public()))
def test_docstring_is_valid(name):
    record = name.rpartition(".")[2] in RECORDS
    errors = numpydoc.validate(name)["errors"]
    assert not [e for e in errors if e[0] not in IGNORED and not (record and e[0] == "PR01")]


@pytest.mark.parametrize("name", list(public()))
def test_methods_have_docstrings(name):
    module, _, attribute = name.rpartition(".")
    thing = getattr(importlib.import_module(module), attribute)
    for key, member in inspect.getmembers(thing):
        if not key.startswith("_") and getattr(member, "__module__", "").startswith("sklatent"):
            assert member.__doc__, key
