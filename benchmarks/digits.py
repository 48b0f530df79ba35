"""Sparse codes of all 1797 digits: energy and processor time against scikit-learn's coordinate descent."""

from __future__ import annotations

import time
import warnings
from statistics import median

import numpy as np
from numpy.typing import NDArray
from sklearn import datasets
from sklearn.decomposition import sparse_encode
from sklearn.exceptions import ConvergenceWarning

import ebmlang
from benchmarks.measure import ROOT, Row

BAR = 1e-6
LAM = 0.1


def rows() -> list[Row]:
    """Digits scaled to [0, 1], and digits of zero mean and unit variance per pixel, which is harder."""
    scaled = datasets.load_digits().data / 16
    spread = scaled.std(0)
    standard = (scaled - scaled.mean(0)) / np.where(spread > 0, spread, 1.0)
    return [*_compared("1797 digits", scaled, None), *_compared("1797 standardised digits", standard, 1 / 5)]


def _compared(name: str, y: NDArray[np.float64], bar: float | None) -> list[Row]:
    """Codes by 128 random unit columns; `bar` is for the ratio of times in float32.

    Ours is the median of three runs of which each follows one of theirs; the first of ours, which compiles
    the model, is not timed.
    """
    columns = np.random.default_rng(0).normal(size=(64, 128))
    D = columns / np.linalg.norm(columns, axis=0)
    model = ebmlang.load(ROOT / "models" / "gallery" / "sparse_coding.ebm", lam=LAM)
    model.infer(y=y[:2], D=D)
    dtypes = ("float32", "float64")
    times: dict[str, list[float]] = {side: [] for side in (*dtypes, "theirs")}
    found = {}
    for _ in range(3):
        begin = time.process_time()
        with warnings.catch_warnings():
            warnings.simplefilter("error", ConvergenceWarning)
            theirs = sparse_encode(y, D.T, algorithm="lasso_cd", alpha=LAM, max_iter=100_000)
        times["theirs"].append(time.process_time() - begin)
        for dtype in dtypes:
            begin = time.process_time()
            found[dtype] = model.infer(y=y, D=D, dtype=dtype)
            times[dtype].append(time.process_time() - begin)
    optimum = min(_energy(y, D, theirs), _energy(y, D, found["float64"].z.numpy()))
    result = []
    for dtype in dtypes:
        excess = _energy(y, D, found[dtype].z.double().numpy()) / optimum - 1
        done = int(found[dtype].converged.sum())
        pairs = zip(times[dtype], times["theirs"], strict=True)
        seconds, ratio = median(times[dtype]), median(a / b for a, b in pairs)
        limit = bar if dtype == "float32" else None
        result += [
            Row(
                f"{name}, 128 codes, {dtype}: energy above the best known",
                f"{excess:.1e}",
                f"{_energy(y, D, theirs) / optimum - 1:.1e}",
                "",
                f"<= {BAR}",
                excess <= BAR,
            ),
            Row(
                f"{name}, 128 codes, {dtype}: processor time ({done} rows converged)",
                f"{seconds:.2f} s",
                f"{median(times['theirs']):.2f} s",
                f"{ratio:.2f}",
                "none" if limit is None else f"<= {limit:.2g}",
                None if limit is None else ratio <= limit,
            ),
        ]
    return result


def _energy(y: NDArray[np.float64], D: NDArray[np.float64], z: NDArray[np.float64]) -> float:
    return float(0.5 * ((y - z @ D.T) ** 2).sum() + LAM * np.abs(z).sum())
