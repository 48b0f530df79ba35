"""Data sets that are drawn, not stored: `generated:ring,rows=2000,seed=0`.

The same name, rows and seed give the same numbers on every machine: the generator is numpy's PCG64, whose
stream is fixed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ebmlang.compiler.diagnostics import did_you_mean, listing
from ebmlang.data.dataset import DataSet, LazyArray, Loaded
from ebmlang.errors import DataError

Arrays = dict[str, NDArray[Any]]

MOST_ROWS = 10_000_000
"""More are refused: they would be drawn into memory."""


def _ring(rows: int, rng: np.random.Generator) -> Arrays:
    """Eight Gaussians of standard deviation 0.1 on the circle of radius 2, and which one it was."""
    mode = rng.integers(0, 8, rows)
    angle = 2 * np.pi * mode / 8
    centre = 2 * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return {"y": centre + 0.1 * rng.standard_normal((rows, 2)), "mode": mode}


def _moons(rows: int, rng: np.random.Generator) -> Arrays:
    """Two half circles that reach into each other, with noise of standard deviation 0.1, and which one."""
    mode = rng.integers(0, 2, rows)
    angle = np.pi * rng.random(rows)
    x = np.where(mode == 0, np.cos(angle), 1 - np.cos(angle))
    y = np.where(mode == 0, np.sin(angle), 0.5 - np.sin(angle))
    return {"y": np.stack([x, y], axis=1) + 0.1 * rng.standard_normal((rows, 2)), "mode": mode}


def _bars_and_stripes(rows: int, rng: np.random.Generator) -> Arrays:
    """Pictures of 3 x 3 pixels whose rows or columns are on or off: 14, equally likely."""
    lines = np.array(list(np.ndindex(2, 2, 2)))
    stripes = np.repeat(lines[:, :, None], 3, axis=2)
    pictures = np.unique(np.concatenate([stripes, stripes.transpose(0, 2, 1)]).reshape(16, 9), axis=0)
    return {"v": pictures[rng.integers(0, len(pictures), rows)].astype(bool)}


GENERATED: tuple[tuple[str, Callable[[int, np.random.Generator], Arrays]], ...] = (
    ("bars_and_stripes", _bars_and_stripes),
    ("moons", _moons),
    ("ring", _ring),
)
"""Name -> what draws its rows. The first line of the docstring is what `docs/commands.md` says of it."""


def generate(name: str, rows: int = 1000, seed: int = 0) -> Arrays:
    """The arrays of a generated set, [rows, ...] each, float64, int64 or bool. Raises DataError."""
    draw = dict(GENERATED).get(name)
    if draw is None:
        known = [known for known, _ in GENERATED]
        hint = did_you_mean(name, known) or f"the sets that are generated: {listing(known)}"
        raise DataError(f"there is no data set generated:{name}", hint)
    if not 1 <= rows <= MOST_ROWS:
        raise DataError(f"generated:{name} cannot have {rows} rows", f"between 1 and {MOST_ROWS:,}")
    if seed < 0:
        raise DataError(f"a seed is at least 0, not {seed}", "seed=0")
    return draw(rows, np.random.Generator(np.random.PCG64(seed)))


def read_generated(spec: str) -> DataSet:
    """The data set that `NAME,rows=R,seed=S` describes. Raises DataError."""
    name, *options = spec.split(",")
    arrays: Mapping[str, NDArray[Any]] = generate(name, **_options(spec, options))
    lazy: dict[str, LazyArray] = {key: Loaded(value) for key, value in arrays.items()}
    return DataSet(f"generated:{spec}", lazy)


def _options(spec: str, options: list[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for option in options:
        key, _, value = option.partition("=")
        if key not in ("rows", "seed") or not value.isdecimal():
            example = f"generated:{spec.split(',')[0]},rows=1000,seed=0"
            raise DataError(f"'{option}' is no option of a generated data set", example)
        found[key] = int(value)
    return found
