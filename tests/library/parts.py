"""What the tests of the library share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import ebmlang

STD = Path(__file__).resolve().parents[2] / "models" / "std"
Array = NDArray[Any]


def std(name: str, **settings: Any) -> ebmlang.Model:
    """The component `std.NAME`."""
    return ebmlang.load(STD / f"{name}.ebm", **settings)


def normal(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(size=shape)
