"""Settings of the site. Build it with ``sphinx-build -W --keep-going docs build/site``.

The build reads nothing from the network. With ``-t online``, it also reads the inventories of
other projects, so that their names become links.
"""

import re
import sys
from pathlib import Path

import matplotlib as mpl

import sklatent

sys.path.insert(0, str(Path(__file__).parent / "_extensions"))

project = "sklatent"
author = "The sklatent developers"
copyright = "the sklatent developers, BSD-3-Clause"
version = release = sklatent.__version__

extensions = [
    "mathml",
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["images", "_templates", "_extensions"]
default_role = "py:obj"
math_number_all = False
html_math_renderer = "mathml"

# Markdown pages are also read on a code host, so they use no other syntax than a host knows,
# except on the landing page.
myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 4

autodoc_typehints = "none"  # numpydoc sections have the types
autodoc_member_order = "bysource"
autosummary_generate = True
numpydoc_show_class_members = False

if tags.has("online"):  # noqa: F821  # Sphinx defines it
    extensions.append("sphinx.ext.intersphinx")
    intersphinx_mapping = {
        "python": ("https://docs.python.org/3", None),
        "numpy": ("https://numpy.org/doc/stable", None),
        "scipy": ("https://docs.scipy.org/doc/scipy", None),
        "sklearn": ("https://scikit-learn.org/stable", None),
        "skorch": ("https://skorch.readthedocs.io/en/stable", None),
        "torch": ("https://docs.pytorch.org/docs/stable", None),
        "matplotlib": ("https://matplotlib.org/stable", None),
        "pandas": ("https://pandas.pydata.org/docs", None),
    }

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "auto_examples",
    "filename_pattern": r"plot_",
    "ignore_pattern": r"^(?!.*plot_)",
    "within_subsection_order": "gallery.place",
    "doc_module": ("sklatent",),
    "backreferences_dir": "generated/backreferences",
    "reference_url": {"sklatent": None},
    "image_srcset": ["2x"],
    "remove_config_comments": True,
    "show_memory": False,
    "show_signature": False,
    "download_all_examples": False,
}

templates_path = ["_templates"]
html_static_path = ["_static"]
html_css_files = ["custom.css"]
toc_object_entries_show_parents = "hide"  # "fit()", which fits beside the page
html_theme = "pydata_sphinx_theme"
html_title = "sklatent"
html_logo = "_static/logo.svg"
html_favicon = "_static/logo.svg"
html_copy_source = False
html_show_sourcelink = False
html_sidebars = {"index": [], "install": [], "settings": [], "relatives": []}
html_theme_options = {
    "logo": {"text": "sklatent", "alt_text": "sklatent"},
    "header_links_before_dropdown": 7,
    "navbar_end": ["theme-switcher"],
    "secondary_sidebar_items": ["page-toc"],
    "show_toc_level": 2,
    "navigation_depth": 2,
    "footer_start": ["copyright"],
    "footer_end": ["theme-version"],
}


def link_to_site(app, docname, source):
    """Replace links to files that the site has as pages: examples, and the README."""
    up = "../" * docname.count("/")
    text = re.sub(
        r"\]\((?:\.\./)+examples/(plot_\w+)\.py\)", rf"]({up}auto_examples/\1.rst)", source[0]
    )
    source[0] = text


def own_members_only(app, what, name, obj, skip, options):
    """Leave out methods that other packages document, such as `fit_transform`."""
    module = getattr(obj, "__module__", None)
    if callable(obj) and module is not None and not module.startswith("sklatent"):
        return True
    return None


def setup(app):
    """Register the two hooks."""
    mpl.use("Agg")
    app.connect("source-read", link_to_site)
    app.connect("autodoc-skip-member", own_members_only)
