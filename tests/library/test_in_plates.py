"""Components as parts in a plate: each copy answers as the component alone does."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import ebmlang
from tests.library.parts import normal, std

COPIES = 3


@dataclass(frozen=True)
class Case:
    """`bound`: what each copy is bound to, name -> (declaration without the plate, value of it for rows and
    copies). `question`: the lowest energy, the free energy, or the energy itself. `drawn`: random values."""

    name: str
    settings: dict[str, int]
    bound: dict[str, tuple[str, Any]]
    question: str = "infer"
    drawn: tuple[str, ...] = ()


X = normal(2, COPIES, 5)
CASES = (
    Case("kmeans", {"k": 4}, {"x": ("real[n]", X)}),
    Case("gmm", {"k": 2}, {"x": ("real[n]", X)}, "marginal"),
    Case("sparse_coding", {"k": 7}, {"y": ("real[n]", X)}),
    Case("pca", {"k": 2}, {"y": ("real[n]", X)}),
    Case("ica", {}, {"x": ("real[n]", X)}, "energy"),
    Case("rbm", {"m": 3}, {"v": ("bool[n]", X > 0)}, "marginal"),
    Case("rbm", {"m": 3}, {"v": ("bool[n]", X > 0)}),
    Case("crf_chain", {}, {"emission": ("real[n, 3]", normal(2, COPIES, 5, 3))}, "marginal"),
    Case("crf_chain", {}, {"emission": ("real[n, 3]", normal(2, COPIES, 5, 3))}),
    Case(
        "potts",
        {},
        {"h": ("real[n, 3]", normal(2, COPIES, 5, 3)), "J": ("real[2]", normal(2, COPIES, 2))},
        "marginal",
    ),
    Case("ising", {}, {"h": ("real[n]", X), "J": ("real[2]", normal(2, COPIES, 2))}, "marginal"),
    Case("ising", {}, {"h": ("real[n]", X), "J": ("real[2]", normal(2, COPIES, 2))}),
    Case("predictive_coding", {"k": 3, "k_above": 2}, {"x": ("real[n]", X)}),
    Case("denoising", {"k": 3}, {"x": ("real[n]", X)}, "energy", ("noise",)),
    Case("masked", {"k": 3}, {"x": ("real[n]", X)}, "energy", ("hidden",)),
    Case("contracting", {"k": 3}, {"x": ("real[n]", X)}, "energy"),
    Case("saturating", {"k": 3}, {"x": ("real[n]", X)}, "energy"),
)
EDGES = [[0, 3], [1, 2]]


def outer(case: Case) -> str:
    graph = case.name in ("ising", "potts")
    declared = "\n".join(
        f"  observed {name}_ : {kind.replace('[', '[C, ', 1)}" for name, (kind, _) in case.bound.items()
    )
    settings = ", ".join(f"{name} = {value}" for name, value in case.settings.items())
    bound = ", ".join([f"{name} = {name}_[c]" for name in case.bound] + ["edges = edges"] * graph)
    shared = "\n  shared observed edges : class[n][2, 2]" if graph else ""
    return f"""import std.{case.name}
model plate(C: int, n: int) {{{shared}
{declared}
  for c in 0..C {{ use {case.name}({settings}) as p[c] with {bound} }}
}}"""


def asked(m: ebmlang.Model, question: str, values: dict[str, Any]) -> Tensor:
    """Energies [rows] in double."""
    if question == "marginal":
        return m.marginal(values, dtype="float64").energy.detach()
    if question == "infer":
        return m.infer(values, dtype="float64").energy.detach()
    return m.energy(values).detach()


def copied(m: ebmlang.Model, own: ebmlang.Model, c: int) -> None:
    """The parameters of copy `c` in a model of the component alone."""
    theirs = {n: p.detach() for n, p in m.named_parameters()}
    with torch.no_grad():
        for name, parameter in own.named_parameters():
            net = re.fullmatch(r"(enc|dec)\.(.*)", name)
            value = theirs[f"p.{net[1]}.{c}.{net[2]}"] if net else theirs[f"p.{name}"][c]
            parameter.copy_(value)


@pytest.mark.parametrize("case", CASES, ids=[f"{case.name}-{case.question}" for case in CASES])
def test_every_copy_is_the_component_alone(case: Case) -> None:
    m = ebmlang.loads(outer(case), seed=3)
    graph = {"edges": EDGES} if case.name in ("ising", "potts") else {}
    values = {f"{name}_": torch.from_numpy(np.asarray(value)) for name, (_, value) in case.bound.items()}
    random = {name: torch.from_numpy(normal(2, COPIES, 5, seed=9)) for name in case.drawn}
    random = {name: value > 0 if name == "hidden" else value for name, value in random.items()}
    m.bind({**values, **graph})
    if not any(v.dtype == torch.float64 for v in values.values()):
        m.double()
    found = asked(m, case.question, {**values, **graph, **{f"p.{n}": v for n, v in random.items()}})
    want = torch.zeros(2, dtype=torch.float64)
    for c in range(COPIES):
        own = std(case.name, **case.settings)
        mine = {name: values[f"{name}_"][:, c] for name in case.bound}
        own.bind({**mine, **graph})
        own.double()
        copied(m, own, c)
        want += asked(own, case.question, {**mine, **graph, **{n: v[:, c] for n, v in random.items()}})
    torch.testing.assert_close(found.double(), want, atol=1e-7, rtol=1e-7)


def test_draws_of_copies_differ_and_have_rows() -> None:
    m = ebmlang.loads(outer(CASES[-4]))
    x = torch.ones(2, COPIES, 4, dtype=torch.float64)
    loss = float(m.eval()(x_=x, seed=1).detach())
    assert loss == float(m(x_=x, seed=1).detach())
    assert loss != float(m(x_=x, seed=2).detach())
