"""What pages of the library and of the gallery share: drawn graphs, and pages that begin with a skeleton."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from ebmlang.draw.dot import dot_text
from ebmlang.draw.picture import Picture
from ebmlang.draw.write import write


def digest(picture: Picture) -> str:
    """What a picture shows, as a number: it changes when the picture has to be drawn anew."""
    return hashlib.sha256(dot_text(picture).encode()).hexdigest()[:12]


def drawn_from(picture: Picture) -> str:
    """The comment by which a page says which picture it shows."""
    return f"<!-- drawn from {digest(picture)} -->"


def drawn(names: Iterable[str], picture: Callable[[str], Picture], pages: Path, to: Path) -> Iterator[Path]:
    """Draws the pictures that are missing in the folder `to` or are no longer what the page says. Needs
    Graphviz."""
    for name in names:
        path, page = to / f"{name}.svg", pages / f"{name}.md"
        shown = page.read_text(encoding="utf-8") if page.exists() else ""
        if not path.exists() or drawn_from(picture(name)) not in shown:
            path.parent.mkdir(parents=True, exist_ok=True)
            write(picture(name), path, force=True)
            yield path


def begun(names: Iterable[str], text: Callable[[str], str], pages: Path) -> Iterator[Path]:
    """Writes a page for each name that has none."""
    for name in names:
        page = pages / f"{name}.md"
        if not page.exists():
            page.parent.mkdir(parents=True, exist_ok=True)
            page.write_text(text(name), encoding="utf-8", newline="\n")
            yield page
