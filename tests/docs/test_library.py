"""Every component of the standard library has a page, and the page shows the component as it is."""

from __future__ import annotations

import re

import pytest

from docs import components, generate
from tests.docs.blocks import ROOT, blocks

NAMES = components.names()


def test_no_page_is_left_over() -> None:
    assert {page.stem for page in components.PAGES.glob("*.md")} <= set(NAMES)
    assert {picture.stem for picture in components.PICTURES.glob("*.svg")} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_page_is_complete(name: str) -> None:
    page = components.PAGES / f"{name}.md"
    assert page.exists(), "run `python -m docs.generate`, and write what the new page asks for"
    text = page.read_text(encoding="utf-8")
    assert components.TO_WRITE not in text, f"{page.name}: an introduction and an example are to be written"
    assert f"<!-- generated: std.{name} -->" in text, f"{page.name}: the two comments are missing"
    assert text == generate.renewed(text), "run `python -m docs.generate`"
    written = generate.PART.sub("", text)
    assert text.startswith((f"# std.{name}\n", f"# {name}\n"))
    assert "\n## Example\n" in written, f"{page.name}: a section `## Example`"
    assert len(re.findall(r"[.:](?:\s|$)", written.split("## Example")[0])) >= 2, (
        "an introduction of sentences"
    )
    assert any(block.language == "python" for block in blocks(page)), f"{page.name}: a program that runs"


@pytest.mark.parametrize("name", NAMES)
def test_picture_is_there(name: str) -> None:
    """A page says what its picture was drawn from; `test_page_is_complete` compares that with the model."""
    picture = components.PICTURES / f"{name}.svg"
    assert picture.exists(), "run `python -m docs.generate` where Graphviz is installed"
    text = picture.read_text(encoding="utf-8")
    shown = {re.sub(r"&#\d+;|<[^>]+>", "", t) for t in re.findall(r"<text[^>]*>([^<]*)", text)}
    words = " ".join(shown)
    for term in components.model(name).terms:
        assert term.name.split(".")[-1] in words, f"{term.name} is not in the picture"


def test_every_component_is_in_the_index_with_a_sentence() -> None:
    index = (ROOT / "docs" / "library.md").read_text(encoding="utf-8")
    for name in NAMES:
        assert components.comment(name), f"models/std/{name}.ebm has no doc comment"
        assert f"[`std.{name}`](library/{name}.md): " in index
    assert "docs/library.md" in (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("doc", "first"),
    [
        ("One thing. Another.", "One thing."),
        ("Bardes et al. 2022 in\ntwo lines. More", "Bardes et al. 2022 in two lines."),
        ("A head. score[i] = 2", "A head."),
        ("no end", "no end"),
    ],
)
def test_first_sentence(doc: str, first: str) -> None:
    assert components.first_sentence(doc) == first
