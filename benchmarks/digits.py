"""Sparse codes of all 1797 digits: total energy and time against scikit-learn's coordinate descent."""

from __future__ import annotations

import time
import warnings

import numpy as np
from numpy.typing import NDArray
from sklearn import datasets
from sklearn.decomposition import sparse_encode
from sklearn.exceptions import ConvergenceWarning

import ebmlang
from benchmarks.measure import ROOT, Row

BAR = 1e-4
LAM = 0.1


def rows() -> list[Row]:
    """Digits scaled to [0, 1], 128 random unit columns; both sides once."""
    y = datasets.load_digits().data / 16
    columns = np.random.default_rng(0).normal(size=(64, 128))
    D = columns / np.linalg.norm(columns, axis=0)
    begin = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        theirs = sparse_encode(y, D.T, algorithm="lasso_cd", alpha=LAM, max_iter=100_000)
    their_seconds = time.perf_counter() - begin
    optimum = _energy(y, D, theirs)
    model = ebmlang.load(ROOT / "models" / "gallery" / "sparse_coding.ebm", lam=LAM)
    result = []
    for dtype in ("float32", "float64"):
        begin = time.perf_counter()
        found = model.infer(y=y, D=D, dtype=dtype)
        seconds = time.perf_counter() - begin
        excess = _energy(y, D, found.z.double().numpy()) / optimum - 1
        done = int(found.converged.sum())
        result += [
            Row(
                f"1797 digits, 128 codes, {dtype}: energy above scikit-learn's",
                f"{excess:.1e}",
                f"{optimum:.4f} in all",
                "",
                f"<= {BAR}",
                excess <= BAR,
            ),
            Row(
                f"1797 digits, 128 codes, {dtype}: time ({done} rows converged)",
                f"{seconds:.2f} s",
                f"{their_seconds:.2f} s",
                f"{seconds / their_seconds:.2f}",
                "none",
                None,
            ),
        ]
    return result


def _energy(y: NDArray[np.float64], D: NDArray[np.float64], z: NDArray[np.float64]) -> float:
    return float(0.5 * ((y - z @ D.T) ** 2).sum() + LAM * np.abs(z).sum())
