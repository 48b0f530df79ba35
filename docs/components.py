"""The pages of the standard library: `models/std/NAME.ebm` has the page `docs/library/NAME.md`.

The introduction and the example of a page are written by hand. Energy, factor graph and source stand
between the comments `<!-- generated: std.NAME -->` and `<!-- end -->`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from itertools import takewhile
from pathlib import Path

from docs.pages import begun, drawn, drawn_from
from ebmlang.compiler import typed
from ebmlang.compiler.latex import displays
from ebmlang.compiler.pipeline import check_source, graph_of, room_for_passes
from ebmlang.draw.lifted import lifted
from ebmlang.draw.picture import Picture
from ebmlang.errors import ModelError
from ebmlang.files import read_source

DOCS = Path(__file__).parent
PAGES = DOCS / "library"
PICTURES = PAGES / "pictures"
SOURCES = DOCS.parent / "models" / "std"
TO_WRITE = "WRITE HERE"
"""Stands in a new page where something has to be written."""


def names() -> tuple[str, ...]:
    """Every component, in the order of the alphabet."""
    return tuple(sorted(path.stem for path in SOURCES.glob("*.ebm")))


@cache
def model(name: str) -> typed.Model:
    """The model called like its file. Raises ModelError for a file with mistakes."""
    checked = check_source(read_source(SOURCES / f"{name}.ebm"))
    if checked.failed:
        raise ModelError(checked.diagnostics)
    return next((m for m in checked.models if m.name == name), checked.models[-1])


@cache
def picture(name: str) -> Picture:
    with room_for_passes():
        return lifted(graph_of(model(name)))


def component(name: str) -> str:
    """Energy, factor graph and source of a component."""
    with room_for_passes():
        formula = displays(model(name))
    source = (SOURCES / f"{name}.ebm").read_text(encoding="utf-8").strip()
    return "\n".join(
        [
            f"## Energy\n\n{formula}\n",
            f"## Factor graph\n\n![Factor graph of {name}](pictures/{name}.svg)",
            f"{drawn_from(picture(name))}\n",
            f"## Source\n\n`import std.{name}` reads `models/std/{name}.ebm`:\n\n```ebm\n{source}\n```\n",
        ]
    )


def index() -> str:
    """One line for each component: the first sentence of its comment."""
    written = [name for name in names() if (PAGES / f"{name}.md").exists()]
    lines = [f"- [`std.{name}`](library/{name}.md): {first_sentence(comment(name))}\n" for name in written]
    return "".join(lines)


def comment(name: str) -> str:
    """The doc comment of the model; one at the head of the file, above imports, is about it too."""
    if model(name).doc:
        return model(name).doc
    lines = (SOURCES / f"{name}.ebm").read_text(encoding="utf-8").splitlines()
    return "\n".join(line[2:].strip() for line in takewhile(lambda line: line.startswith("##"), lines))


def first_sentence(doc: str) -> str:
    text = " ".join(doc.split())
    found = re.match(r".+?(?<!\bal)(?<!\beq)(?<!\bcf)[.!?](?=\s|$)", text)
    return found[0] if found else text


def pictures() -> Iterator[Path]:
    """Draws what is missing or no longer what the page says."""
    yield from drawn(names(), picture, PAGES, PICTURES)


def skeletons() -> Iterator[Path]:
    """A page for each component that has none, with places to fill in."""
    yield from begun(names(), _skeleton, PAGES)


def _skeleton(name: str) -> str:
    return (
        f"# std.{name}\n\n{TO_WRITE}: what it is for, in two to six sentences, and the source.\n\n"
        f"## Example\n\n{TO_WRITE}: a program that runs.\n\n"
        f"<!-- generated: std.{name} -->\n<!-- end -->\n"
    )
