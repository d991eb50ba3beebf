"""The Python blocks of README and docs run as they stand."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)


# Stopping at max_iter is one of the default settings.
@pytest.mark.filterwarnings("ignore:Stochastic Optimizer:sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(
    "name",
    [
        "README.md",
        "docs/install.md",
        "docs/recipes.md",
        "docs/settings.md",
        "docs/user_guide.md",
        "docs/gaussianizer.md",
        "docs/inspection.md",
    ],
)
def test_python_blocks_run(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    blocks = list(BLOCK.finditer(text))
    assert blocks
    namespace = {"__name__": "readme"}
    for block in blocks:
        # Blank lines in front give errors the line numbers of the page.
        before = "\n" * text.count("\n", 0, block.start(1))
        exec(compile(before + block.group(1), ROOT / name, "exec"), namespace)


PAGES = sorted(str(page.relative_to(ROOT)) for page in (ROOT / "docs").rglob("*.md"))


@pytest.mark.parametrize("name", ["README.md", *PAGES])
def test_links_lead_somewhere(name):
    page = ROOT / name
    for link, anchor in re.findall(r"\]\(([^)#:]*)#?([^):]*)\)", page.read_text(encoding="utf-8")):
        target = page.parent / link if link else page
        assert target.exists(), link
        if anchor:
            titles = re.findall(r"^#+ (.*)$", target.read_text(encoding="utf-8"), re.MULTILINE)
            slugs = [re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles]
            assert anchor in slugs, f"{link}#{anchor}"
