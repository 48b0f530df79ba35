"""Where the worked models are, and the data that their tests share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn import datasets

import ebmlang
from ebmlang.api import Model

ROOT = Path(__file__).resolve().parents[2]
GALLERY = ROOT / "models" / "gallery"
FILES = tuple(sorted(GALLERY.glob("*.ebm")))

Array = NDArray[np.float64]


def load(name: str, **hypers: Any) -> Model:
    """A model of the gallery by the name of its file."""
    return ebmlang.load(GALLERY / f"{name}.ebm", **hypers)


def diabetes() -> tuple[Array, Array]:
    """442 patients: 10 features of norm 1, and the progression of the disease (25 to 346)."""
    x, y = datasets.load_diabetes(return_X_y=True)
    return x, y


def breast_cancer() -> tuple[Array, NDArray[np.int64]]:
    """569 tumours: 30 features as measured (from 1e-3 to 4e3), and the class."""
    x, y = datasets.load_breast_cancer(return_X_y=True)
    return x, y.astype(np.int64)


def digits() -> Array:
    """1797 handwritten digits of 64 pixels, 0 to 16."""
    return np.asarray(datasets.load_digits().data, dtype=np.float64)


def standardised(x: Array) -> Array:
    """Columns of mean 0 and unbiased standard deviation 1."""
    return np.asarray((x - x.mean(0)) / x.std(0, ddof=1))


def unit_columns(n: int, k: int, seed: int) -> Array:
    """A random dictionary."""
    columns = np.random.default_rng(seed).normal(size=(n, k))
    return np.asarray(columns / np.linalg.norm(columns, axis=0))


def relative(found: Any, expected: Any) -> float:
    """Largest difference of two arrays, relative to the largest entry of the second."""
    expected = np.asarray(expected)
    return float(np.abs(np.asarray(found, dtype=np.float64) - expected).max() / np.abs(expected).max())
