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
from ebmlang.data.films import bouncing_dot, bouncing_dot_long, moving_textures, turning_dot
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


def _rings(rows: int, rng: np.random.Generator) -> Arrays:
    """Two circles around 0, of radius 1 and 2, with noise of standard deviation 0.1, and which one."""
    mode = rng.integers(0, 2, rows)
    angle = 2 * np.pi * rng.random(rows)
    circle = np.stack([np.cos(angle), np.sin(angle)], axis=1) * (1 + mode)[:, None]
    return {"y": circle + 0.1 * rng.standard_normal((rows, 2)), "mode": mode}


def _gaussian(rows: int, rng: np.random.Generator) -> Arrays:
    """Points of the plane around (1, -0.5), with variances 1 and 1 and a correlation of 0.6."""
    mixing = np.array([[1.0, 0.0], [0.6, 0.8]])
    return {"y": np.array([1.0, -0.5]) + rng.standard_normal((rows, 2)) @ mixing.T}


def _mixed_sources(rows: int, rng: np.random.Generator) -> Arrays:
    """Five independent signals with heavy tails, `sources`, and five mixtures of them, `x`."""
    mixing = rng.standard_normal((5, 5))
    sources = rng.laplace(size=(rows, 5))
    return {"x": sources @ mixing.T, "sources": sources}


def spin_couplings() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Couplings [8, 8], above the diagonal, and fields [8] of the set `spins`."""
    rng = np.random.Generator(np.random.PCG64(8))
    return np.triu(0.2 * rng.standard_normal((8, 8)), 1), 0.2 * rng.standard_normal(8)


def _spins(rows: int, rng: np.random.Generator) -> Arrays:
    """Eight spins with a coupling for every pair: exact draws, by the list of all 256 states."""
    couplings, fields = spin_couplings()
    states = np.array(list(np.ndindex(*[2] * 8)), dtype=bool)
    spin = 2.0 * states - 1
    weight = np.exp(np.einsum("si,ij,sj->s", spin, couplings, spin) + spin @ fields)
    return {"v": states[rng.choice(len(states), size=rows, p=weight / weight.sum())]}


def _two_futures(rows: int, rng: np.random.Generator) -> Arrays:
    """A past `x` with two futures `y`, equally likely: one more or one less than a function of it."""
    x = rng.uniform(-1, 1, (rows, 2))
    middle = np.stack([np.sin(2 * x[:, 0]), x[:, 0] * x[:, 1], np.cos(2 * x[:, 1])], axis=1)
    return {"x": x, "y": middle + rng.choice([-1.0, 1.0], (rows, 1))}


def _incomplete(rows: int, rng: np.random.Generator) -> Arrays:
    """Four outputs `y` of three inputs `x`, with noise; 30 of 100 entries of `y` are missing (NaN)."""
    x = rng.standard_normal((rows, 3))
    y = np.sin(x @ rng.standard_normal((3, 4))) + 0.1 * rng.standard_normal((rows, 4))
    return {"x": x, "y": np.where(rng.random((rows, 4)) < 0.3, np.nan, y)}


def _white_mixtures(rows: int, rng: np.random.Generator) -> Arrays:
    """Three independent sources, uniform between -1 and 1, and mixtures of them that are white."""
    source = 2 * rng.random((rows, 3)) - 1
    rotation, _ = np.linalg.qr(rng.standard_normal((3, 3)))
    return {"x": 3**0.5 * source @ rotation, "source": source}


def _sparse_signals(rows: int, rng: np.random.Generator) -> Arrays:
    """Sums of few of 64 columns of length 32 and noise of 0.01; the codes, and the dictionary D [32, 64]."""
    # The dictionary is the same for every seed, so that another seed gives other signals of the same kind.
    columns = np.random.Generator(np.random.PCG64(32)).standard_normal((32, 64))
    dictionary = columns / np.linalg.norm(columns, axis=0)
    code = rng.standard_normal((rows, 64)) * (rng.random((rows, 64)) < 0.1)
    return {"y": code @ dictionary.T + 0.01 * rng.standard_normal((rows, 32)), "code": code, "D": dictionary}


def _pendulum_states(rows: int, rng: np.random.Generator) -> Arrays:
    """States of the pendulum of gymnasium, as it shows them: any angle, speeds up to 8, slow ones oftener."""
    angle = rng.uniform(-np.pi, np.pi, rows)
    speed = 8 * rng.random(rows) * rng.uniform(-1, 1, rows)
    return {"obs": np.stack([np.cos(angle), np.sin(angle), speed], axis=1)}


def _turning_states(rows: int, rng: np.random.Generator) -> Arrays:
    """Sequences of 41 states in the space, y, which turn by the same rotation at every step; noise 0.05."""
    turn, _ = np.linalg.qr(np.random.Generator(np.random.PCG64(3)).standard_normal((3, 3)))
    states = np.empty((rows, 41, 3))
    states[:, 0] = rng.standard_normal((rows, 3))
    for t in range(40):
        states[:, t + 1] = states[:, t] @ turn.T
    return {"y": states + 0.05 * rng.standard_normal(states.shape)}


def _valley(rows: int, rng: np.random.Generator) -> Arrays:
    """Centres of functions of five numbers, between -2 and 2."""
    return {"centre": rng.uniform(-2, 2, (rows, 5))}


GENERATED: tuple[tuple[str, Callable[[int, np.random.Generator], Arrays]], ...] = (
    ("bars_and_stripes", _bars_and_stripes),
    ("bouncing_dot", bouncing_dot),
    ("bouncing_dot_long", bouncing_dot_long),
    ("gaussian", _gaussian),
    ("incomplete", _incomplete),
    ("mixed_sources", _mixed_sources),
    ("moons", _moons),
    ("moving_textures", moving_textures),
    ("pendulum_states", _pendulum_states),
    ("ring", _ring),
    ("rings", _rings),
    ("sparse_signals", _sparse_signals),
    ("spins", _spins),
    ("turning_dot", turning_dot),
    ("turning_states", _turning_states),
    ("two_futures", _two_futures),
    ("valley", _valley),
    ("white_mixtures", _white_mixtures),
)
"""Name -> what draws its rows. The first line of the docstring is what `docs/commands.md` says of it."""


def generate(name: str, rows: int = 1000, seed: int = 0) -> Arrays:
    """The arrays of a generated set, float64, int64 or bool: [rows, ...] each, but for what all rows share.

    Raises DataError.
    """
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
