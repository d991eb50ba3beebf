"""Formulas as MathML, which browsers show without scripts or fonts from the network."""

import re
from html import escape

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.util import logging

logger = logging.getLogger(__name__)
# LaTeX takes the digits of \\frac12 one by one, docutils takes them as one number.
FRACTION = re.compile(r"(\\[dt]?frac)(\d)(\d)")
# Without a group, docutils writes the index of an accented letter below the letter.
ACCENT = re.compile(r"(\\(?:hat|tilde|bar)\s*(?:\\[A-Za-z]+|\w))")


def mathml(node, as_block):
    """Return the MathML code of a formula, or its LaTeX code with a warning."""
    code = ACCENT.sub(r"{{}\1}", FRACTION.sub(r"\1{\2}{\3}", node.astext()))
    try:
        return tex2mathml(code, as_block=as_block)
    except MathError as error:
        logger.warning("%s: %s", error, node.astext(), location=node)
        return escape(node.astext())


def inline(translator, node):
    """Write a formula within a line."""
    translator.body.append(mathml(node, as_block=False))
    raise nodes.SkipNode


def display(translator, node):
    """Write a formula on lines of its own."""
    translator.body.append(f'<div class="formula">{mathml(node, as_block=True)}</div>')
    raise nodes.SkipNode


def setup(app):
    """Register the renderer."""
    app.add_html_math_renderer("mathml", (inline, None), (display, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
