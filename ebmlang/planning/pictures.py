"""Episodes as pictures: what was done over time, and what it looked like."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ebmlang.compiler.diagnostics import listing
from ebmlang.errors import DataError
from ebmlang.files import require_place, write_whole

if TYPE_CHECKING:
    from ebmlang.planning.episodes import Episodes
    from ebmlang.planning.spaces import Array

_MOST_LINES = 6
"""Entries of an array that get a line of their own."""

PLOTS = ("png", "svg", "pdf")
"""Endings of the names of plots."""

_PICTURES_A_SECOND = 25


def require(path: str | Path, endings: Sequence[str], force: bool) -> None:
    """Raises DataError where a picture could not be written there."""
    path = Path(path)
    if path.suffix.lower().removeprefix(".") not in endings:
        raise DataError(f"pictures are not written as {path.name!r}", f"a name ending in {listing(endings)}")
    require_place(path, force)


def figure(episodes: Episodes, path: str | Path | None, force: bool) -> Any:
    """Three panels that share the time axis. Raises DataError without matplotlib."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise DataError("a plot needs matplotlib", "pip install 'ebmlang[plot]'") from error
    drawn = Figure(figsize=(8, 7), layout="constrained")
    panels = drawn.subplots(3, 1, sharex=True)
    for episode in episodes:
        label = f"seed {episode.seed}"
        _lines(panels[0], episode.rewards, label)
        _lines(panels[1], episode.actions, label)
        seen = episode.observations
        for key, values in seen.items() if isinstance(seen, Mapping) else (("", seen),):
            _lines(panels[2], values, f"{key} {label}".strip())
    for panel, title in zip(panels, ("reward", "action", "observation"), strict=True):
        panel.set_ylabel(title)
        panel.spines[["top", "right"]].set_visible(False)
    panels[2].set_xlabel("step")
    if 1 < len(episodes) <= _MOST_LINES:
        panels[0].legend(frameon=False, fontsize="small")
    panels[0].set_title(episodes.world, loc="left")
    if path is not None:
        _save(drawn, Path(path), force)
    return drawn


def _save(drawn: Any, path: Path, force: bool) -> None:
    require(path, PLOTS, force)
    content = io.BytesIO()
    drawn.savefig(content, format=path.suffix.lower().removeprefix("."))
    write_whole(path, content.getvalue(), force)


def _lines(panel: Any, values: Array, label: str) -> None:
    flat = np.asarray(values, dtype=float).reshape(len(values), -1)[:, :_MOST_LINES]
    panel.plot(np.arange(len(flat)), flat, label=label, linewidth=1)


def write_gif(episodes: Episodes, path: Path, force: bool) -> None:
    """All pictures in order. Raises DataError where there are none, or without Pillow."""
    require(path, ("gif",), force)
    pictures = [picture for episode in episodes for picture in episode.pictures]
    if not pictures:
        raise DataError(f"{episodes.world} shows no pictures", "an environment that renders rgb_array")
    try:
        from PIL import Image
    except ImportError as error:
        raise DataError("moving pictures need Pillow", "pip install 'ebmlang[plan]'") from error
    frames = [Image.fromarray(picture) for picture in pictures]
    content = io.BytesIO()
    frames[0].save(
        content,
        format="GIF",
        save_all=True,
        append_images=frames[1:],
        duration=1000 // _PICTURES_A_SECOND,
        loop=0,
    )
    write_whole(path, content.getvalue(), force)
