"""What `python -m benchmarks choices` asks: models of the gallery and classic problems, with values."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
from sklearn import datasets

import ebmlang
from benchmarks.measure import ROOT
from ebmlang.api import Model
from ebmlang.compiler.choose import Plan
from ebmlang.runtime.result import Result
from tests.numeric.classics import PROBLEMS, source

GALLERY = ROOT / "models" / "gallery"
MODELS = ROOT / "benchmarks" / "models"

Data = dict[str, Any]


@dataclass(frozen=True)
class Question:
    """What is asked of a model, which is a file or a text: hyperparameters, values, and what is sought where
    it is not the model's own question. `holes` are variables with missing entries."""

    model: Path | str
    hypers: Data
    data: Data
    find: tuple[str, ...] = ()
    holes: tuple[str, ...] = ()
    note: str = ""
    dtype: str = "float32"

    @property
    def name(self) -> str:
        about = ", ".join(filter(None, (f"find {', '.join(self.find)}" if self.find else "", self.note)))
        name = self.model.stem if isinstance(self.model, Path) else "classic"
        return f"{name} ({about})" if about else name

    @property
    def given(self) -> tuple[str, ...]:
        return tuple(name for name in self.data if name not in self.holes)

    def load(self) -> Model:
        if isinstance(self.model, str):
            return ebmlang.loads(self.model, **self.hypers)
        return ebmlang.load(self.model, **self.hypers)

    def plan(self, model: Model, using: str | None = None) -> Plan:
        find = [*self.find, *self.holes] or None
        if self.holes and not self.find:
            find = [*self.holes, *(v.name for v in model.checked.variables if v.role == "latent")]
        return model.choice(given=self.given, find=find, using=using)

    def ask(self, model: Model, **options: Any) -> Result:
        return model.infer(self.data, find=list(self.find) or None, dtype=self.dtype, **options)


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


def _scene() -> tuple[Data, Data]:
    made = np.random.default_rng(11)
    shape = (20, 12)
    return {"kinds": 4}, {
        "there": made.random(shape) < 0.7,
        "label": made.integers(0, 4, shape),
        "box": made.random((*shape, 4)),
        "prob": made.dirichlet(np.ones(4), shape),
        "guess": made.random((*shape, 4)),
    }


def _pupils() -> tuple[Data, Data]:
    made = np.random.default_rng(12)
    return {}, {"y": 1 + made.normal(size=(2, 8, 1)) + 0.5 * made.normal(size=(2, 8, 5))}


def _let_go() -> tuple[Data, Data]:
    made = np.random.default_rng(13)
    angle, speed = made.uniform(-np.pi, np.pi, 8), made.uniform(-1, 1, 8)
    return {}, {"obs": np.stack([np.cos(angle), np.sin(angle), speed], 1)}


def _traffic() -> tuple[Data, Data]:
    """Cars ahead on both lanes, all of them slower."""
    made = np.random.default_rng(14)
    ahead = np.sort(made.uniform(10, 80, (4, 6)))
    others = np.stack([ahead, 3.5 * made.integers(0, 2, (4, 6)), made.uniform(8, 15, (4, 6))], -1)
    return {}, {"car": np.array([[0.0, 0.0, 15.0, 0.0]] * 4), "others": others}


def _classics() -> Iterator[Callable[[], Question]]:
    """The classic problems of least squares from their standard starts, in float64."""
    for name, problem in PROBLEMS.items():
        data = {n: np.asarray(v, dtype=float) for n, v in problem.given.items()}
        yield partial(Question, source(problem), {}, data, note=name, dtype="float64")


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
    _gallery("assignment", _scene),
    _gallery("random_effects", _pupils),
    _gallery("planning/swing_up", _let_go),
    _gallery("planning/acrobot", lambda: ({}, {}), dtype="float64"),
    _gallery("planning/driving", _traffic),
    *_classics(),
)
