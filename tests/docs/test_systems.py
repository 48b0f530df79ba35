"""Every model of planning in the gallery has a page, with its graph as it is and pictures that are small."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageSequence

from docs import animations, systems

NAMES = systems.names()
LARGEST = 200_000
"""Bytes of a moving picture."""

STILL = ("acrobot", "limited_regulator", "regulator")
"""Models that act in no world with pictures."""


def frames(picture: Image.Image) -> int:
    return sum(1 for _ in ImageSequence.Iterator(picture))


def test_no_page_is_left_over() -> None:
    assert {page.stem for page in systems.PAGES.glob("*.md")} <= set(NAMES)
    assert {picture.stem for picture in systems.PICTURES.iterdir()} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_page_is_there(name: str) -> None:
    """Whether it is current, is asked of all pages."""
    page = systems.PAGES / f"{name}.md"
    assert page.exists(), "run `python -m docs.generate`"
    assert f"<!-- generated: gallery.{name} -->" in page.read_text(encoding="utf-8")
    assert systems.model(name).doc, f"{name}.ebm has no doc comment"


@pytest.mark.parametrize("name", NAMES)
def test_graph_is_drawn(name: str) -> None:
    text = (systems.PICTURES / f"{name}.svg").read_text(encoding="utf-8")
    words = " ".join(re.sub(r"&#\d+;", "", t) for t in re.findall(r"<text[^>]*>([^<]*)", text))
    for term in systems.model(name).terms:
        assert term.name.split(".")[-1] in words, f"{term.name} is not in the picture"


@pytest.mark.parametrize("path", sorted(systems.PICTURES.glob("*.gif")), ids=lambda p: p.stem)
def test_moving_pictures_are_small_and_move(path: Path) -> None:
    assert path.stem not in STILL
    assert path.stat().st_size <= LARGEST
    with Image.open(path) as picture:
        assert picture.width <= animations.WIDTH
        assert 2 <= frames(picture) <= animations.FRAMES


def test_long_episodes_are_thinned_and_narrowed(tmp_path: Path) -> None:
    first, *others = (Image.fromarray(np.full((50, 500, 3), value, np.uint8)) for value in range(200))
    first.save(tmp_path / "long.gif", save_all=True, append_images=others)
    with Image.open(animations.small(tmp_path / "long.gif", tmp_path / "short.gif")) as picture:
        assert picture.size == (animations.WIDTH, 24)
        assert frames(picture) == 67


@pytest.mark.parametrize("name", STILL)
def test_what_acts_in_no_world_is_not_recorded(name: str) -> None:
    assert animations.record(name) is None
