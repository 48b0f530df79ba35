"""One energy with its gradient: generated code against PyTorch written by hand, same model, same numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import networkx as nx
import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from sklearn import datasets
from torch import Tensor

import ebmlang
from benchmarks.measure import ROOT, Row, in_turns, shown
from ebmlang.runtime.bind import Settings
from ebmlang.runtime.posing import make_problem
from ebmlang.runtime.problem import Problem

BAR = 1.1
Energy = Callable[..., Tensor]


@dataclass(frozen=True, slots=True)
class Case:
    """A model with data, and the same energy by hand as a function of its unknowns."""

    name: str
    size: str
    problem: Problem
    by_hand: Energy
    unknowns: tuple[Tensor, ...]


def rows() -> list[Row]:
    """One row per gallery model."""
    return [_measured(case) for case in cases()]


def _measured(case: Case) -> Row:
    space = case.problem.space
    x = _flat(case, case.unknowns)
    hand_energy, hand_gradients = by_hand(case)
    energy, gradient = case.problem.energy_and_gradient(x)
    torch.testing.assert_close(energy.sum(), hand_energy.sum(), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(gradient, space.sought(_flat(case, hand_gradients)), rtol=1e-3, atol=1e-3)
    pair = in_turns(lambda: case.problem.energy_and_gradient(x), lambda: by_hand(case))
    return Row(
        f"energy and gradient, {case.name} ({case.size})",
        shown(pair.ours),
        shown(pair.theirs),
        f"{pair.ratio:.2f}",
        f"<= {BAR}",
        pair.ratio <= BAR,
    )


def _flat(case: Case, values: tuple[Tensor, ...]) -> Tensor:
    """Values of the unknowns as the vectors that solvers see, [R, N]."""
    space = case.problem.space
    pairs = zip(values, space.row_shapes, strict=True)
    return space.join([value.reshape(space.rows, *shape) for value, shape in pairs])


def by_hand(case: Case) -> tuple[Tensor, tuple[Tensor, ...]]:
    """What a person writes around an energy: leaves, one backward pass."""
    leaves = tuple(u.detach().requires_grad_() for u in case.unknowns)
    energy = case.by_hand(*leaves)
    gradients = torch.autograd.grad(energy.sum(), leaves)
    return energy.detach(), gradients


def problem_of(name: str, data: dict[str, Any], find: str | None = None, **hypers: Any) -> Problem:
    """The problem that `infer` solves, with its data bound in float32."""
    model = ebmlang.load(ROOT / "models" / "gallery" / f"{name}.ebm", **hypers)
    incomplete = frozenset([find] if find is not None else [])
    asked = model.asked(None, frozenset(data), None, None, incomplete)
    module = model.compiled(asked, None)[1]
    settings = Settings(torch.float32, torch.device("cpu"))
    bound = model.bound(module, data, settings, incomplete)
    masks = {name: ~torch.isnan(bound.values[name]) for name in incomplete}
    return make_problem(bound, masks)


def cases() -> list[Case]:
    """All gallery models on the data of their tests."""
    torch.manual_seed(0)
    return [*_codes(), *_regressions(), *_graphs(), _hopfield()]


def _single(value: Any) -> Tensor:
    result: Tensor = torch.as_tensor(np.asarray(value), dtype=torch.float32)
    return result


def _codes() -> list[Case]:
    y = _single(datasets.load_digits().data)
    D = F.normalize(torch.randn(64, 128), dim=0)
    W = torch.linalg.qr(torch.randn(64, 16))[0]
    centre = y.mean(0)
    lam = 0.1

    def sparse(z: Tensor) -> Tensor:
        return 0.5 * (y - z @ D.T).square().sum(-1) + lam * z.abs().sum(-1)

    centred = y - centre

    def pca(z: Tensor) -> Tensor:
        residual: Tensor = centred - z @ W.T
        return 0.5 * residual.square().sum(-1)

    return [
        Case(
            "sparse coding",
            "1797 digits, 128 codes",
            problem_of("sparse_coding", {"y": y, "D": D}),
            sparse,
            (torch.randn(1797, 128),),
        ),
        Case(
            "PCA codes",
            "1797 digits, 16 codes",
            problem_of("pca_codes", {"y": y, "W": W, "centre": centre}),
            pca,
            (torch.randn(1797, 16),),
        ),
    ]


def _regressions() -> list[Case]:
    X, y = (_single(a) for a in datasets.load_diabetes(return_X_y=True))
    U, label = datasets.load_breast_cancer(return_X_y=True)
    features, classes = _single(U), torch.as_tensor(label)
    standard = (features - features.mean(0)) / features.std(0)
    sign = torch.where(classes == 1, -1.0, 1.0)

    m, lam = 442, 1.0

    def ridge(w: Tensor, b: Tensor) -> Tensor:
        return 0.5 * (y - w @ X.T - b[:, None]).square().sum(-1) + lam / 2 * w.square().sum(-1)

    def lasso(w: Tensor, b: Tensor) -> Tensor:
        return (y - w @ X.T - b[:, None]).square().sum(-1) / (2 * m) + lam * w.abs().sum(-1)

    def logistic(w: Tensor, b: Tensor) -> Tensor:
        return F.softplus(sign * (standard @ w + b)).sum() + lam / 2 * w.square().sum()

    def nnls(w: Tensor) -> Tensor:
        return 0.5 * (y - w @ X.T).square().sum(-1)

    w, b = torch.randn(1, 10), torch.randn(1)
    data = {"X": X, "y": y}
    return [
        Case("ridge", "442 x 10", problem_of("ridge", data), ridge, (w, b)),
        Case("lasso", "442 x 10", problem_of("lasso", data), lasso, (w, b)),
        Case(
            "logistic regression",
            "569 x 30",
            problem_of("logistic", {"X": features, "y": classes}),
            logistic,
            (torch.randn(30), torch.randn(())),
        ),
        Case("non-negative least squares", "442 x 10", problem_of("nnls", data), nnls, (w.abs(),)),
    ]


def _graphs() -> list[Case]:
    series = torch.randn(32, 10_000).cumsum(1)

    def chain(x: Tensor) -> Tensor:
        data = F.huber_loss(x, series, reduction="none").sum(-1)
        return data + 10.0 * F.huber_loss(x[:, 1:], x[:, :-1], reduction="none").sum(-1)

    edges = torch.as_tensor(np.array(nx.karate_club_graph().edges))
    source, target = edges.unbind(1)
    y, known = torch.zeros(34), torch.zeros(34, dtype=torch.bool)
    y[0], y[33] = 1.0, -1.0
    known[[0, 33]] = True

    def tied(x: Tensor) -> Tensor:
        data = 0.5 * torch.where(known, (y - x).square(), 0.0).sum(-1)
        return data + 0.5 * (x[:, source] - x[:, target]).square().sum(-1)

    return [
        Case(
            "smoothing chain",
            "32 of T = 10,000",
            problem_of("smoothing_chain", {"y": series}),
            chain,
            (series + torch.randn_like(series),),
        ),
        Case(
            "graph smoothing",
            "karate club",
            problem_of("graph_smoothing", {"edges": edges, "y": y, "known": known}),
            tied,
            (torch.randn(1, 34),),
        ),
    ]


def _hopfield() -> Case:
    memory = _single(datasets.load_digits().data[:100])
    seen = torch.rand(100, 64) < 0.5
    cue = torch.where(seen, memory, torch.nan)
    beta = 0.05

    def recall(x: Tensor) -> Tensor:
        return -torch.logsumexp(-beta / 2 * (memory - x[:, None]).square().sum(-1), -1) / beta

    problem = problem_of("hopfield", {"memory": memory, "x": cue}, find="x")
    return Case(
        "Hopfield network", "100 digits, 100 stored", problem, recall, (torch.where(seen, memory, 4.0),)
    )
