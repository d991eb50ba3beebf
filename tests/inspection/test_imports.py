import subprocess
import sys

import numpy as np
import pytest

from sklatent import inspection

MISSING = """
import sys
import numpy as np
sys.modules["matplotlib"] = None
sys.modules["pandas"] = None
from sklatent.inspection import EmbeddingDisplay, GaussianityDisplay
assert "torch" not in sys.modules
for display in (EmbeddingDisplay, GaussianityDisplay):
    try:
        display.from_embedding(np.eye(5))
    except ImportError as error:
        print(error)
"""


def test_import_needs_neither_matplotlib_nor_torch():
    out = subprocess.run(
        [sys.executable, "-W", "error", "-c", MISSING], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert out == [
        f"{name}.from_embedding needs matplotlib: pip install 'sklatent[plots]', or matplotlib "
        "itself"
        for name in ("EmbeddingDisplay", "GaussianityDisplay")
    ]


WITHOUT_PANDAS = """
import sys
import numpy as np
sys.modules["pandas"] = None
import matplotlib
matplotlib.use("Agg")
from sklatent.inspection import EmbeddingDisplay, GaussianityDisplay
Z = np.random.default_rng(0).standard_normal((30, 2))
GaussianityDisplay.from_embedding(Z).figure_.canvas.draw()
EmbeddingDisplay.from_embedding(Z, np.arange(30) % 3).figure_.canvas.draw()
"""


def test_pictures_need_no_pandas():
    subprocess.run([sys.executable, "-W", "error", "-c", WITHOUT_PANDAS], check=True)


@pytest.mark.parametrize("name", inspection.__all__)
def test_every_display_says_what_is_missing(name, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    display = getattr(inspection, name)
    rows = [np.eye(4)] if hasattr(display, "from_embedding") else []
    with pytest.raises(ImportError, match=rf"{name}.from_estimator needs .*sklatent\[plots\]"):
        display.from_estimator(None, *rows)
