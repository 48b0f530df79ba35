"""A small question asked again and again: ridge regression with 10 weights and an intercept, where what is
spent around the arithmetic is all that counts."""

from __future__ import annotations

from itertools import cycle
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

import ebmlang
from benchmarks.measure import ROOT
from benchmarks.rivals.contest import Contest, Solver

ROWS, WEIGHTS, PENALTY = 442, 10, 1.0
Array = NDArray[np.float64]


def contests() -> list[Contest]:
    """With the design matrix of the last question, and with another."""
    made = np.random.default_rng(0)
    X = made.normal(size=(ROWS, WEIGHTS))
    y = X @ made.normal(size=WEIGHTS) + made.normal(size=ROWS) + 3.0
    return [_contest(X, y, known) for known in (False, True)]


def _contest(X: Array, y: Array, known: bool) -> Contest:
    model = ebmlang.load(ROOT / "models" / "gallery" / "ridge.ebm")
    data = {"X": torch.tensor(X, dtype=torch.float32), "y": torch.tensor(y, dtype=torch.float32)}
    # A model keeps the factors of its last question. In the last digit of an entry, each question is another.
    other = data["X"].clone()
    other[0, 0] = torch.nextafter(other[0, 0], torch.tensor(torch.inf))
    questions = cycle([data] if known else [data, {**data, "X": other}])

    def ours() -> Array:
        found = model.infer(next(questions))
        return np.append(found.w.numpy(), found.b.numpy())

    def energy(weights: Array) -> float:
        w, b = np.asarray(weights[:-1], dtype=np.float64), float(weights[-1])
        return float(0.5 * ((y - X @ w - b) ** 2).sum() + PENALTY / 2 * (w**2).sum())

    words = "design matrix known" if known else "new design matrix"
    solve, factors = _by_hand(data), _factors(data)
    rivals = (
        Solver("torch.linalg.solve by hand", solve),
        Solver("by hand with the factors of the last question", lambda: _solved(data, factors)),
    )
    return Contest(f"ridge, {WEIGHTS} weights, {words}", ours, energy, rivals if known else rivals[:1], {})


def _by_hand(data: dict[str, Tensor]) -> Any:
    def solve() -> Array:
        matrix, right = _normal(data["X"]), _right(data)
        return torch.linalg.solve(matrix, right).numpy()

    return solve


def _normal(X: Tensor) -> Tensor:
    """The matrix of the normal equations, the intercept last and free."""
    wide = torch.nn.functional.pad(X, (0, 1), value=1.0)
    matrix = wide.T @ wide
    matrix.diagonal()[:-1] += PENALTY
    return matrix


def _right(data: dict[str, Tensor]) -> Tensor:
    return torch.cat((data["X"].T @ data["y"], data["y"].sum()[None]))


def _factors(data: dict[str, Tensor]) -> Tensor:
    factors: Tensor = torch.linalg.cholesky(_normal(data["X"]))
    return factors


def _solved(data: dict[str, Tensor], factors: Tensor) -> Array:
    found: Array = torch.cholesky_solve(_right(data)[:, None], factors)[:, 0].numpy()
    return found
