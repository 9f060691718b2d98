"""Sphinx extension: formulas as MathML, which every browser draws by itself, instead of MathJax from a far server."""

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError
from sphinx.writers.html5 import HTML5Translator


def mathml(node: nodes.math | nodes.math_block, block: bool) -> str:
    tex = node.astext().replace(r"\big[", r"\bigl[").replace(r"\big]", r"\bigr]")  # docutils knows no bare \big
    try:
        return tex2mathml(tex, as_block=block)
    except MathError as error:
        raise ExtensionError(f"docutils cannot read the formula {tex!r}: {error}") from error


def inline(self: HTML5Translator, node: nodes.math) -> None:
    self.body.append(mathml(node, block=False))
    raise nodes.SkipNode


def display(self: HTML5Translator, node: nodes.math_block) -> None:
    self.body.append(f'<div class="formula">{mathml(node, block=True)}</div>')
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_html_math_renderer("mathml", (inline, None), (display, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
