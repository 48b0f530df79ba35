"""Is the method that is chosen the best one? Every gallery model by every method that fits it.

A method that was not chosen may take ten times the time of the chosen one. Where the energy is proven convex
or the chosen method exact, its answer must not lie above any other; elsewhere lines say where it does, from
the same start. Among methods that come as low, the chosen one may take twice the time of the fastest.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from statistics import median
from typing import Any

import networkx as nx
import numpy as np
from sklearn import datasets

import ebmlang
from benchmarks.measure import ROOT, Row, shown
from ebmlang.api import Model
from ebmlang.compiler.methods import ALL_METHODS
from ebmlang.errors import DataError, ModelError
from ebmlang.runtime.result import Result

GALLERY = ROOT / "models" / "gallery"
LEVEL = 1e-6
"""Energies this close, relative to the total, count as the same."""

MORE_TIME = 10.0
SLOWER = 2.0
LONGEST = 20.0
"""Seconds after which a method is given up whatever the time of the chosen one: it counts as slower."""

Data = dict[str, Any]


def rows() -> list[Row]:
    """One line for each pair of a chosen method and another one that fits."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return [row for path in sorted(GALLERY.glob("*.ebm")) for row in _of(path.stem)]


def _of(name: str) -> list[Row]:
    make = DATA.get(name)
    if make is None:
        return [Row(f"{name}", "", "", "", "data in benchmarks/choices.py", None)]
    hypers, data = make()
    model = ebmlang.load(GALLERY / f"{name}.ebm", **hypers)
    try:
        found = model.infer(data)
        seconds = median(_timed(model, data)[0] for _ in range(3))
    except (DataError, ModelError) as error:
        return [Row(name, "", str(error).splitlines()[0][:60], "", "", None)]
    chosen = model.plan(given=_given(model, data)).method
    print(f"  {name}: {found.method}", flush=True)
    proven = _proven(model, data, found)
    others = [row.name for row in ALL_METHODS if row != chosen and _fits(model, data, row.name)]
    tried = [(other, *_within(model, data, other, MORE_TIME * seconds)) for other in others]
    alone = Row(f"{name}: {found.method}, alone", shown(seconds), "", "", "", None)
    return [_line(name, found, seconds, proven, *each) for each in tried] or [alone]


def _given(model: Model, data: Data) -> tuple[str, ...]:
    """What is given whole."""
    return tuple(
        n for n, v in data.items() if np.asarray(v).dtype.kind != "f" or not np.isnan(np.asarray(v)).any()
    )


def _proven(model: Model, data: Data, found: Result) -> bool:
    structure = model.plan(given=_given(model, data)).structure
    return structure.find("convex") is not None or found.certificate.startswith("exact")


def _fits(model: Model, data: Data, name: str) -> bool:
    try:
        plan = model.plan(given=_given(model, data), using=name)
    except (DataError, ModelError):
        return False
    row = plan.method
    return row is not None and row.name == name and all(plan.structure.find(n) is not None for n in row.needs)


def _within(model: Model, data: Data, name: str, seconds: float) -> tuple[float, Result] | tuple[float, None]:
    """The answer in at most about so many seconds: the step limit is found from shorter runs."""
    steps = 16
    while True:
        try:
            spent, found = _timed(model, data, using=name, steps=steps)
        except (DataError, ModelError):
            return 0.0, None
        if int(found.iterations.max()) < steps or spent > min(seconds, LONGEST) / 2:
            return spent, found
        steps *= 2


def _timed(model: Model, data: Data, **options: Any) -> tuple[float, Result]:
    begin = time.process_time()
    found = model.infer(data, **options)
    return time.process_time() - begin, found


def _line(
    name: str, found: Result, seconds: float, proven: bool, other: str, spent: float, theirs: Result | None
) -> Row:
    what = f"{name}: {found.method} against {other}"
    if theirs is None or theirs.method != other:
        return Row(what, shown(seconds), "does not apply to the values", "", "", None)
    ours, others = float(found.energy.double().sum()), float(theirs.energy.double().sum())
    broken = any("feasible" in s or "constraints" in s for s in theirs.status)
    scale = LEVEL * max(abs(ours), abs(others), 1e-300)
    higher = ours > others + scale and not broken
    level = abs(ours - others) <= scale
    slow = level and seconds > SLOWER * spent and seconds > 2e-3
    verdict = ("higher" if higher else "") + (", slower" if slow else "")
    return Row(
        what,
        f"{shown(seconds)}, {ours:.8g}",
        f"{shown(spent)}, {others:.8g}" + (" (infeasible)" if broken else ""),
        f"{seconds / max(spent, 1e-9):.2g}",
        ("not above" if proven else "same start")
        + (", <= 2" if level else "")
        + (f": {verdict}" if verdict else ""),
        not (higher and proven) and not slow if proven or not higher else None,
    )


# --- data -----------------------------------------------------------------------------------------


def _digits() -> Any:
    return datasets.load_digits().data


def _codes() -> tuple[Data, Data]:
    columns = np.random.default_rng(0).normal(size=(64, 128))
    return {"lam": 1.0}, {"y": _digits()[:200], "D": columns / np.linalg.norm(columns, axis=0)}


def _pca() -> tuple[Data, Data]:
    W = np.linalg.qr(np.random.default_rng(0).normal(size=(64, 16)))[0]
    return {}, {"y": _digits()[:200], "W": W, "centre": _digits().mean(0)}


def _regression() -> tuple[Data, Data]:
    X, y = datasets.load_diabetes(return_X_y=True)
    return {}, {"X": X, "y": y}


def _classes() -> tuple[Data, Data]:
    X, y = datasets.load_breast_cancer(return_X_y=True)
    return {}, {"X": X, "y": y}


def _karate() -> tuple[Data, Data]:
    y = np.zeros(34)
    y[0], y[33] = 1.0, -1.0
    return {}, {"edges": np.array(nx.karate_club_graph().edges), "y": y, "known": y != 0}


def _halves() -> tuple[Data, Data]:
    memory = _digits()[:100]
    x = memory.copy()
    x[:, 32:] = np.nan
    return {}, {"memory": memory, "x": x}


def _series() -> tuple[Data, Data]:
    made = np.random.default_rng(0)
    y = 2 * np.sin(np.arange(2000) / 50) + 0.3 * made.normal(size=(4, 2000))
    return {}, {"y": y + 10.0 * (made.random(y.shape) < 0.05)}


def _cart() -> tuple[Data, Data]:
    data = {"A": [[1, 0.1], [0, 1]], "B": [[0.005], [0.1]], "Q": np.eye(2), "R": [[0.1]]}
    return {"T": 50}, {
        **{n: np.array(v, dtype=float) for n, v in data.items()},
        "s0": np.array([[1.0, 0], [0, -2]]),
    }


def _returns() -> tuple[Data, Data]:
    return {"least": 3.0}, {"R": datasets.load_iris().data}


def _field() -> tuple[Data, Data]:
    return {}, {"h": np.random.default_rng(0).normal(size=(2, 4, 4))}


DATA: dict[str, Callable[[], tuple[Data, Data]]] = {
    "alarm": lambda: ({}, {"john": np.array([True, True]), "mary": np.array([True, False])}),
    "graph_smoothing": _karate,
    "hopfield": _halves,
    "ising": _field,
    "lasso": _regression,
    "logistic": _classes,
    "lqr": _cart,
    "nnls": _regression,
    "pca_codes": _pca,
    "portfolio": _returns,
    "ridge": _regression,
    "smoothing_chain": _series,
    "sparse_coding": _codes,
}
