"""Drawings of factor graphs: circles for variables, squares for terms, frames for plates.

A factor graph becomes a `Picture` (what is shown), a picture becomes text for Graphviz or JSON.
"""

from ebmlang.draw.lifted import lifted
from ebmlang.draw.picture import Picture
from ebmlang.draw.unrolled import unrolled
from ebmlang.draw.write import ENDINGS, draw, with_energies, write

__all__ = ["ENDINGS", "Picture", "draw", "lifted", "unrolled", "with_energies", "write"]
