"""From a factor graph to a file: which view, which format, and what can go wrong."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from ebmlang.compiler.diagnostics import did_you_mean, listing
from ebmlang.compiler.graph import FactorGraph
from ebmlang.draw.document import json_text
from ebmlang.draw.dot import dot_text
from ebmlang.draw.lifted import lifted
from ebmlang.draw.picture import FactorNode, Picture
from ebmlang.errors import DataError
from ebmlang.files import write_whole

RENDERED = (".svg", ".png", ".pdf")
ENDINGS = (*RENDERED, ".dot", ".json")
PNG_DPI = 144


def draw(
    graph: FactorGraph, path: str | Path, *, energies: Mapping[str, float] | None = None, force: bool = False
) -> None:
    """Draw the lifted factor graph to a .svg, .png, .pdf, .dot or .json file, by its ending.

    `energies` are numbers by term, which the squares then carry. Raises DataError for an unknown
    ending, for a file that is there already unless `force`, and where Graphviz is missing.
    """
    write(with_energies(lifted(graph), energies or {}), path, force)


def write(picture: Picture, path: str | Path, force: bool = False) -> None:
    """Write a picture whole or not at all. Raises DataError as `draw` does."""
    write_whole(Path(path), content(picture, ending_of(path)), force)


def ending_of(path: str | Path) -> str:
    ending = Path(path).suffix.lower()
    if ending not in ENDINGS:
        raise DataError(
            f"pictures are not written as {Path(path).name!r}", f"a name ending in {listing(ENDINGS)}"
        )
    return ending


def content(picture: Picture, ending: str) -> bytes:
    """The bytes of a file with this ending."""
    if ending == ".json":
        return json_text(picture).encode()
    if ending == ".dot":
        return dot_text(picture).encode()
    return _rendered(dot_text(picture, PNG_DPI if ending == ".png" else None), ending[1:])


def with_energies(picture: Picture, energies: Mapping[str, float]) -> Picture:
    """The picture with numbers on its squares, by term or by summand such as `smooth[3]`."""
    factors = [n.id for n in picture.nodes if isinstance(n, FactorNode)]
    for name in energies:
        if name not in factors:
            hint = did_you_mean(name, factors) or f"it has {listing(factors[:10], 'and')}"
            raise DataError(f"the graph has no term `{name}`", hint)
    nodes = [replace(n, energy=energies.get(n.id)) if isinstance(n, FactorNode) else n for n in picture.nodes]
    return replace(picture, nodes=tuple(nodes))


def _rendered(text: str, format_: str) -> bytes:
    import graphviz

    try:
        return bytes(graphviz.Source(text).pipe(format=format_, quiet=True))
    except graphviz.ExecutableNotFound:
        raise DataError(
            f"a .{format_} picture needs the program `dot` of Graphviz, which is not installed",
            "apt-get install graphviz, brew install graphviz, or a name ending in .dot or .json",
        ) from None
    except subprocess.CalledProcessError as error:
        words = (error.stderr or b"").decode(errors="replace").split("\n")[0].strip()
        reason = words or f"it ended with code {error.returncode}"
        raise DataError(
            f"`dot` of Graphviz could not draw the graph: {reason}", "a name ending in .dot or .json"
        ) from None
