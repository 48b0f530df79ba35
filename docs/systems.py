"""The pages of planning in the gallery: `models/gallery/planning/NAME.ebm` has `docs/gallery/NAME.md`.

All of a page stands between the comments `<!-- generated: gallery.NAME -->` and `<!-- end -->`: what the
model says of itself, its factor graph, what it looks like at work, its figures and its text.
`python -m docs.generate` writes it, `python -m docs.animations` records the moving pictures.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from docs.pages import begun, drawn, drawn_from
from ebmlang.compiler import typed
from ebmlang.compiler.pipeline import graph_of, room_for_passes
from ebmlang.draw.lifted import lifted
from ebmlang.draw.picture import Picture
from ebmlang.explaining import open_model

DOCS = Path(__file__).parent
PAGES = DOCS / "gallery"
PICTURES = PAGES / "pictures"
SOURCES = DOCS.parent / "models" / "gallery" / "planning"
COMMAND = "# ebmlang "


def names() -> tuple[str, ...]:
    """Every model of planning, in the order of the alphabet."""
    return tuple(sorted(path.stem for path in SOURCES.glob("*.ebm")))


@cache
def model(name: str) -> typed.Model:
    """The model called like its file. Raises ModelError for a file with mistakes."""
    return open_model(str(SOURCES / f"{name}.ebm"), None)


@cache
def picture(name: str) -> Picture:
    with room_for_passes():
        return lifted(graph_of(model(name)))


def source(name: str) -> str:
    return (SOURCES / f"{name}.ebm").read_text(encoding="utf-8").strip()


def commands(name: str) -> tuple[str, ...]:
    """The commands in the comment of a model, in the order in which they are run."""
    lines = source(name).splitlines()
    return tuple(line.removeprefix("# ") for line in lines if line.startswith(COMMAND))


def measured(name: str) -> list[dict[str, Any]]:
    """The figures of a model, as `python -m tests.gallery --write` noted them."""
    kept = json.loads((DOCS / "gallery.json").read_text(encoding="utf-8")).values()
    file = f"planning/{name}.ebm"
    return [figure for system in kept if system["file"] == file for figure in system["figures"]]


def system(name: str) -> str:
    """The page of a model, but for its title."""
    parts = [" ".join(model(name).doc.split()), "## Factor graph"]
    parts.append(f"![Factor graph of {name}](pictures/{name}.svg)\n{drawn_from(picture(name))}")
    if (PICTURES / f"{name}.gif").exists():
        parts += ["## At work", f"![An episode of {name}](pictures/{name}.gif)"]
    parts += ["## Commands", "```sh\n" + "\n".join(commands(name)) + "\n```"]
    if figures := [line(figure) for figure in measured(name)]:
        held = "What they are held against, says [the gallery](../gallery.md)."
        parts += ["## Figures", "\n".join(figures), held]
    parts += ["## Source", f"```ebm\n{source(name)}\n```"]
    return "\n\n".join(parts) + "\n"


def line(figure: dict[str, Any]) -> str:
    """A figure in a list."""
    bar = "" if figure["bar"] == "none" else f", bar {figure['bar']}"
    return f"- {figure['what']}: {figure['value']:g}{bar}"


def index() -> str:
    """A line for each model of planning."""
    found = [f"[{name.replace('_', ' ')}](gallery/{name}.md)" for name in names()]
    return ", ".join(found) + "\n"


def pictures() -> Iterator[Path]:
    """Draws what is missing or no longer what the page says."""
    yield from drawn(names(), picture, PAGES, PICTURES)


def skeletons() -> Iterator[Path]:
    """A page for each model that has none."""
    yield from begun(names(), _skeleton, PAGES)


def _skeleton(name: str) -> str:
    title = name.replace("_", " ").capitalize()
    return f"# {title}\n\n<!-- generated: gallery.{name} -->\n<!-- end -->\n"
