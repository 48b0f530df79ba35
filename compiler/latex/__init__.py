"""Models as formulas: the energy, its unknowns and its givens in LaTeX.

`symbols` spells names, sizes and numbers, `expressions` values, `model` the whole. What is written is within
what KaTeX, MathJax and amsmath have in common, and holds no backslash before punctuation and no bare `<`,
so that Markdown leaves it alone.
"""

from ebmlang.compiler.latex.model import displays, energy_latex, model_latex

__all__ = ["displays", "energy_latex", "model_latex"]
