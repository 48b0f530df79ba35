"""Is the method that is chosen the best one? Every gallery model by every method that fits it.

A method that was not chosen may take ten times the time of the chosen one. Where the energy is proven convex
or the chosen method exact, its answer must not lie above any other; elsewhere lines say where it does, from
the same start. Among methods that come as low, the chosen one may take twice the time of the fastest.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import networkx as nx
import numpy as np
from sklearn import datasets

import ebmlang
from benchmarks.measure import ROOT, Row, shown
from ebmlang.api import Model
from ebmlang.compiler.choose import Plan
from ebmlang.compiler.methods import ALL_METHODS
from ebmlang.compiler.needs import has
from ebmlang.errors import DataError, ModelError
from ebmlang.runtime.result import Result

GALLERY = ROOT / "models" / "gallery"
MODELS = ROOT / "benchmarks" / "models"
LEVEL = 1e-6
"""Energies this close, relative to the total, count as the same."""

MORE_TIME = 10.0
SLOWER = 2.0
SHORTEST = 2e-3
"""Seconds below which the time is that of the call, not of the method."""

AGAIN = 0.5
"""Seconds up to which a method is timed again, and the least counts."""

MOST_HIGHER = 0.05
"""Share of the pairs in which another method may come lower, where nothing is proven."""
LONGEST = 5.0
"""Seconds after which a method is given up whatever the time of the chosen one: it counts as slower."""

Data = dict[str, Any]


@dataclass(frozen=True)
class Question:
    """What is asked of a model: hyperparameters, values, and what is sought where it is not the file's own
    question. `holes` are variables with missing entries."""

    model: Path
    hypers: Data
    data: Data
    find: tuple[str, ...] = ()
    holes: tuple[str, ...] = ()
    note: str = ""

    @property
    def name(self) -> str:
        about = ", ".join(filter(None, (f"find {', '.join(self.find)}" if self.find else "", self.note)))
        return f"{self.model.stem} ({about})" if about else self.model.stem

    @property
    def given(self) -> tuple[str, ...]:
        return tuple(name for name in self.data if name not in self.holes)

    def plan(self, model: Model, using: str | None = None) -> Plan:
        find = [*self.find, *self.holes] or None
        if self.holes and not self.find:
            find = [*self.holes, *(v.name for v in model.checked.variables if v.role == "latent")]
        return model.choice(given=self.given, find=find, using=using)

    def ask(self, model: Model, **options: Any) -> Result:
        return model.infer(self.data, find=list(self.find) or None, **options)


def rows() -> list[Row]:
    """One line for each pair of a chosen method and another one that fits, and one that counts."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = [row for make in QUESTIONS for row in _of(make())]
    return [*found, *_summary([row for row in found if row.bar])]


def _summary(judged: list[Row]) -> list[Row]:
    """How often another method comes lower: where a minimum is proven, and where nothing is."""
    lines = []
    for start, where, bar, most in (
        ("not above", "a minimum is proven", "none", 0.0),
        ("same start", "none is", "at most 5 %", MOST_HIGHER),
    ):
        pairs = [row for row in judged if row.bar.startswith(start)]
        higher = [row for row in pairs if "higher" in row.bar]
        share = f"{len(higher)} of {len(pairs)}"
        what = f"another method comes lower where {where}"
        lines.append(Row(what, share, "", "", bar, len(higher) <= most * len(pairs)))
    return lines


def _of(question: Question) -> list[Row]:
    name = question.name
    model = ebmlang.load(question.model, **question.hypers)
    found = question.ask(model)
    first = _timed(question, model)[0]
    seconds = first if first > AGAIN else median(_timed(question, model)[0] for _ in range(5))
    plan = question.plan(model)
    print(f"  {name}: {found.method}, {shown(seconds)}", flush=True)
    proven = plan.structure.find("convex") is not None or found.certificate.startswith("exact")
    others = [
        row.name for row in ALL_METHODS if row.name != found.method and _fits(question, model, row.name)
    ]
    limit = MORE_TIME * seconds
    tried = [(other, *_within(question, model, other, limit)) for other in others]
    alone = Row(f"{name}: {found.method}, alone", shown(seconds), "", "", "", None)
    return [_line(name, found, seconds, proven, *each) for each in tried] or [alone]


def _fits(question: Question, model: Model, name: str) -> bool:
    try:
        plan = question.plan(model, using=name)
    except (DataError, ModelError):
        return False
    row = plan.method
    return row is not None and row.name == name and all(has(plan.structure, n) for n in row.needs)


def _within(
    question: Question, model: Model, name: str, seconds: float
) -> tuple[float, Result] | tuple[float, None]:
    """The answer in at most about so many seconds: the step limit is found from shorter runs."""
    steps = 16
    try:
        spent, found = _timed(question, model, using=name, steps=1)  # what is compiled is compiled once
        if spent > LONGEST:
            return spent, found
        while True:
            spent, found = _timed(question, model, using=name, steps=steps)
            if int(found.iterations.max()) < steps:
                again = 0 if spent > AGAIN else 2
                more = [_timed(question, model, using=name, steps=steps)[0] for _ in range(again)]
                return min([spent, *more]), found
            if spent > min(seconds, LONGEST) / 2:
                return spent, found
            steps *= 2
    except (DataError, ModelError):
        return 0.0, None


def _timed(question: Question, model: Model, **options: Any) -> tuple[float, Result]:
    begin = time.process_time()
    found = question.ask(model, **options)
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
    slow = level and seconds > SLOWER * spent and seconds > SHORTEST
    verdict = ("higher" if higher else "") + ("slower" if slow else "")
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


def _gallery(name: str, make: Callable[[], tuple[Data, Data]], **more: Any) -> Callable[[], Question]:
    return lambda: Question(GALLERY / f"{name}.ebm", *make(), **more)


def _codes(rows: int = 200) -> tuple[Data, Data]:
    columns = np.random.default_rng(0).normal(size=(64, 128))
    return {"lam": 1.0}, {"y": _digits()[:rows], "D": columns / np.linalg.norm(columns, axis=0)}


def _dictionary() -> tuple[Data, Data]:
    made = np.random.default_rng(0)
    codes = made.normal(size=(200, 32)) * (made.random((200, 32)) < 0.2)
    return {"k": 32}, {"y": _digits()[:200], "z": codes}


def _pca() -> tuple[Data, Data]:
    W = np.linalg.qr(np.random.default_rng(0).normal(size=(64, 16)))[0]
    return {}, {"y": _digits()[:200], "W": W, "centre": _digits().mean(0)}


def _basis() -> tuple[Data, Data]:
    y = _digits()[:200] - _digits().mean(0)
    return {"k": 4}, {"y": y, "z": np.linalg.svd(y)[0][:, :4] * 50, "centre": np.zeros(64)}


def _regression() -> tuple[Data, Data]:
    X, y = datasets.load_diabetes(return_X_y=True)
    return {}, {"X": X, "y": y}


def _wide() -> tuple[Data, Data]:
    """More features than examples, correlated."""
    made = np.random.default_rng(1)
    X = made.normal(size=(200, 50)) @ made.normal(size=(50, 400)) / 7 + made.normal(size=(200, 400))
    return {}, {"X": X, "y": X[:, :10].sum(1) + made.normal(size=200)}


def _tall() -> tuple[Data, Data]:
    made = np.random.default_rng(6)
    X = made.normal(size=(500, 200)) * np.logspace(0, -1, 200)
    return {}, {"X": X, "y": X @ np.maximum(made.normal(size=200), 0) + made.normal(size=500)}


def _underdetermined() -> tuple[Data, Data]:
    """Fewer examples than features, which fit them exactly."""
    made = np.random.default_rng(7)
    X = made.normal(size=(200, 400))
    return {}, {"X": X, "y": X @ np.maximum(made.normal(size=400), 0)}


def _all_positive() -> tuple[Data, Data]:
    """Fewer examples than features that point into one quadrant, so that few of them are used."""
    made = np.random.default_rng(8)
    X = np.abs(made.normal(size=(200, 400)))
    return {}, {"X": X, "y": X @ np.maximum(made.normal(size=400), 0) + 3 * made.normal(size=200)}


def _classes() -> tuple[Data, Data]:
    X, y = datasets.load_breast_cancer(return_X_y=True)
    return {}, {"X": X, "y": y}


def _many_features() -> tuple[Data, Data]:
    made = np.random.default_rng(2)
    X = made.normal(size=(500, 300))
    return {}, {"X": X, "y": (X[:, :5].sum(1) + made.normal(size=500) > 0).astype(int)}


def _karate() -> tuple[Data, Data]:
    y = np.zeros(34)
    y[0], y[33] = 1.0, -1.0
    return {}, {"edges": np.array(nx.karate_club_graph().edges), "y": y, "known": y != 0}


def _mesh() -> tuple[Data, Data]:
    graph = nx.convert_node_labels_to_integers(nx.grid_2d_graph(50, 50))
    y = np.random.default_rng(3).normal(size=2500)
    return {}, {"edges": np.array(graph.edges), "y": y, "known": np.arange(2500) % 7 == 0}


def _halves() -> tuple[Data, Data]:
    memory = _digits()[:100]
    x = memory.copy()
    x[:, 32:] = np.nan
    return {}, {"memory": memory, "x": x}


def _queries() -> tuple[Data, Data]:
    made = np.random.default_rng(0)
    memory = made.normal(size=(256, 32)) / np.sqrt(32)
    return {}, {"memory": memory, "query": memory[:200] + 0.1 * made.normal(size=(200, 32))}


def _series(length: int = 2000) -> tuple[Data, Data]:
    made = np.random.default_rng(0)
    y = 2 * np.sin(np.arange(length) / 50) + 0.3 * made.normal(size=(4, length))
    return {}, {"y": y + 10.0 * (made.random(y.shape) < 0.05)}


def _cart() -> tuple[Data, Data]:
    data = {"A": [[1, 0.1], [0, 1]], "B": [[0.005], [0.1]], "Q": np.eye(2), "R": [[0.1]]}
    return {"T": 50}, {
        **{n: np.array(v, dtype=float) for n, v in data.items()},
        "s0": np.array([[1.0, 0], [0, -2]]),
    }


def _hanging() -> tuple[Data, Data]:
    return {"T": 50}, {"s0": np.array([[np.pi, 0.0], [3.0, 0.5]])}


def _returns() -> tuple[Data, Data]:
    return {"least": 3.0}, {"R": datasets.load_iris().data}


def _many_assets() -> tuple[Data, Data]:
    return {"least": 0.01, "most": 0.2}, {"R": np.random.default_rng(4).normal(0.02, 0.1, size=(300, 60))}


def _field(size: int = 4) -> tuple[Data, Data]:
    return {}, {"h": np.random.default_rng(0).normal(size=(2, size, size))}


def _factors() -> tuple[Data, Data]:
    return {"k": 10}, {"y": _digits()[:300]}


def _slots() -> tuple[Data, Data]:
    d = _digits() / 16
    return {}, {"K": d[:100], "V": d[:100], "q": d[100:200]}


def _calls() -> tuple[Data, Data]:
    return {}, {"john": np.array([True, True]), "mary": np.array([True, False])}


def _seen() -> tuple[Data, Data]:
    return {}, {"visit": np.array([True, True]), "xray": np.array([True, False])}


def _picture(rows: int) -> tuple[Data, Data]:
    y = datasets.load_sample_image("china.jpg")[:rows, :rows].mean(-1) / 255
    return {"w": 0.1}, {"y": y[None] + 0.1 * np.random.default_rng(5).normal(size=(1, rows, rows))}


def _heaps() -> tuple[Data, Data]:
    """Two heaps of sand on a line; the price of moving a grain is the way squared."""
    made, place = np.random.default_rng(9), np.arange(12.0)
    have, want = made.random(12), made.random(12)
    price = (place[:, None] - place) ** 2
    return {}, {"price": price, "have": have[None] / have.sum(), "want": want[None] / want.sum()}


def _index() -> tuple[Data, Data]:
    made = np.random.default_rng(10)
    r = made.normal(0.01, 0.1, size=(1, 300, 20))
    index = r[0] @ made.dirichlet(np.ones(20)) + 0.005 * made.normal(size=300)
    index[::20] += made.normal(size=15)
    return {}, {"r": r, "index": index[None]}


QUESTIONS: tuple[Callable[[], Question], ...] = (
    _gallery("alarm", _calls),
    _gallery("asia", _seen),
    _gallery("attention", _slots),
    _gallery("graph_smoothing", _karate),
    _gallery("graph_smoothing", _mesh, note="2,500 nodes"),
    _gallery("hopfield", _halves, holes=("x",)),
    _gallery("ising", _field),
    _gallery("ising", lambda: _field(10), note="10 x 10"),
    _gallery("lasso", _regression),
    _gallery("lasso", _wide, note="400 features"),
    _gallery("logistic", _classes),
    _gallery("logistic", _many_features, note="300 features"),
    _gallery("lqr", _cart),
    _gallery("nmf", _factors, find=("W", "h")),
    _gallery("nnls", _regression),
    _gallery("nnls", _tall, note="200 features"),
    _gallery("nnls", _underdetermined, note="400 features, 200 examples"),
    _gallery("nnls", _all_positive, note="400 positive features, 200 examples"),
    _gallery("pca_codes", _pca),
    _gallery("pca_codes", _basis, find=("W",)),
    _gallery("pendulum", _hanging),
    _gallery("portfolio", _returns),
    _gallery("portfolio", _many_assets, note="60 assets"),
    _gallery("ridge", _regression),
    _gallery("ridge", _wide, note="400 features"),
    _gallery("smoothing_chain", _series),
    _gallery("smoothing_chain", lambda: _series(20_000), note="20,000 nodes"),
    _gallery("sparse_coding", _codes),
    _gallery("sparse_coding", lambda: _codes(1), note="one row"),
    _gallery("sparse_coding", _dictionary, find=("D",)),
    lambda: Question(MODELS / "recall.ebm", *_queries()),
    lambda: Question(MODELS / "tracking.ebm", *_index()),
    lambda: Question(MODELS / "transport.ebm", *_heaps()),
    lambda: Question(MODELS / "total_variation.ebm", *_picture(64), note="64 x 64"),
    lambda: Question(MODELS / "total_variation.ebm", *_picture(200), note="200 x 200"),
)
