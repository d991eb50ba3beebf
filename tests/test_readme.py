"""The Python blocks of README and docs run as they stand."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)


# Stopping at max_iter is one of the default settings.
@pytest.mark.filterwarnings("ignore:Stochastic Optimizer:sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("name", ["README.md", "docs/user_guide.md", "docs/inspection.md"])
def test_python_blocks_run(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    blocks = list(BLOCK.finditer(text))
    assert blocks
    namespace = {"__name__": "readme"}
    for block in blocks:
        # Blank lines in front give errors the line numbers of the page.
        before = "\n" * text.count("\n", 0, block.start(1))
        exec(compile(before + block.group(1), ROOT / name, "exec"), namespace)


@pytest.mark.parametrize("name", ["README.md", *(p.name for p in (ROOT / "docs").glob("*.md"))])
def test_links_lead_somewhere(name):
    path = ROOT / name if name == "README.md" else ROOT / "docs" / name
    for link in re.findall(r"\]\(([^)#:]+)[^):]*\)", path.read_text(encoding="utf-8")):
        assert (path.parent / link).exists(), link
