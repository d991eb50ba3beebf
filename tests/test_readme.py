"""The Python blocks of README and docs run as they stand."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)
PAGES = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
TEXTS = {str(page.relative_to(ROOT)): page.read_text(encoding="utf-8") for page in sorted(PAGES)}


# Stopping at max_iter is one of the default settings.
@pytest.mark.filterwarnings("ignore:Stochastic Optimizer:sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("name", [name for name, text in TEXTS.items() if BLOCK.search(text)])
def test_python_blocks_run(name):
    text = TEXTS[name]
    namespace = {"__name__": "readme"}
    for block in BLOCK.finditer(text):
        # Blank lines in front give errors the line numbers of the page.
        before = "\n" * text.count("\n", 0, block.start(1))
        exec(compile(before + block.group(1), ROOT / name, "exec"), namespace)


@pytest.mark.parametrize("name", TEXTS)
def test_links_lead_somewhere(name):
    page = ROOT / name
    for link, anchor in re.findall(r"\]\(([^)#:]*)#?([^):]*)\)", TEXTS[name]):
        target = page.parent / link if link else page
        assert target.exists(), link
        if anchor:
            titles = re.findall(r"^#+ (.*)$", target.read_text(encoding="utf-8"), re.MULTILINE)
            slugs = [re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles]
            assert anchor in slugs, f"{link}#{anchor}"
