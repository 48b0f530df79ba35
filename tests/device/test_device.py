"""Answers, draws, training and plans on a device are those of the processor, and stay on the device."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import ebmlang
from ebmlang.runtime.result import Result
from tests.device.pretended import Elsewhere, near, pretended
from tests.runtime.questions import QUESTIONS, Question, chosen, fits
from tests.samplers.test_contract import EVERY, IDS
from tests.training.processes import MECHANISMS
from tests.training.shared_losses import CASES, Case


def _methods() -> list[tuple[Question, str]]:
    """Every question by its own method, and every other method by the first question that it fits."""
    from ebmlang.compiler.methods import ALL_METHODS

    pairs = [(question, chosen(question)) for question in QUESTIONS]
    known = {method for _, method in pairs}
    for row in ALL_METHODS:
        fitting = (question for question in QUESTIONS if row.name not in known and fits(question, row.name))
        pairs += [(question, row.name) for question in list(fitting)[:1]]
    return pairs


METHODS = _methods()


def _same(there: Tensor, here: Tensor, within: float = 1e-7) -> None:
    assert isinstance(there, Elsewhere)
    torch.testing.assert_close(near(there), here, rtol=within, atol=within, equal_nan=True)


@pytest.mark.parametrize(("question", "method"), METHODS, ids=[f"{q.name} by {m}" for q, m in METHODS])
def test_answers(question: Question, method: str) -> None:
    # Another order of the same sums moves what is drawn around; what is found in few steps is compared.
    options: dict[str, Any] = {"using": method, "steps": 30}
    here = ebmlang.loads(question.text).infer(question.data, **options)
    with pretended():
        there = ebmlang.loads(question.text).infer(question.data, device="cuda", **options)
        assert there.method == method
        _same(there.energy, here.energy, 1e-6)
        assert all(isinstance(value, Elsewhere) for value in there.values.values())


@pytest.mark.parametrize(("using", "text", "data"), EVERY, ids=IDS)
def test_draws(using: str, text: str, data: dict[str, Tensor]) -> None:
    options: dict[str, Any] = {"using": using, "draws": 6, "warmup": 6, "seed": 1, "dtype": "float64"}
    here = ebmlang.loads(text).sample(data, **options)
    with pretended():
        there = ebmlang.loads(text).sample(data, device="cuda", **options)
        for name, value in here.values.items():
            _same(there[name], value)


TRAINED = {**CASES, **MECHANISMS}


@pytest.mark.parametrize("case", TRAINED.values(), ids=TRAINED)
def test_training(case: Case) -> None:
    course = {**case.course, "dtype": "float64", "steps": 3}
    course.pop("epochs", None)
    here = ebmlang.loads(case.text, seed=3)
    losses = here.fit(case.data, **course).loss
    with pretended():
        there = ebmlang.loads(case.text, seed=3)
        found = there.fit(case.data, device="cuda", **course).loss
        torch.testing.assert_close(torch.from_numpy(found), torch.from_numpy(losses), rtol=1e-7, atol=1e-9)
        for name, value in here.state_dict().items():
            _same(there.state_dict()[name], value.detach())


PENDULUM = """model pendulum(T: int = 12) {
  observed obs : real[2]
  latent a : real[T] in [-2, 2] = 0
  let s : real[T+1, 2]
  let s[0] = obs
  for t in 0..T {
    let s[t+1] = [s[t, 0] + 0.1 * s[t, 1], s[t, 1] + 0.1 * (sin(s[t, 0]) + a[t])]
    cost c[t] = 1 - cos(s[t+1, 0]) + 0.1 * s[t+1, 1]^2 + 0.01 * a[t]^2
  }
  plan a
}"""


@pytest.mark.parametrize("using", ["ilqr", "cem", "mppi", "projected_lbfgs"])
def test_plans(using: str) -> None:
    options: dict[str, Any] = {"obs": [2.0, 0.0], "using": using, "dtype": "float64", "iterations": 5}
    here = ebmlang.loads(PENDULUM).plan(**options)
    with pretended():
        there = ebmlang.loads(PENDULUM).plan(device="cuda", **options)
        assert isinstance(here, Result)
        assert isinstance(there, Result)
        _same(there["a"], here["a"], 1e-6)


MARGINALS = {
    "countable": "model m(n: int) { observed h : real[n]; latent s : bool[n]; energy f = -sum(h * s)\n"
    "for i in 0..n-1 { energy t[i] = 0.7 * (s[i] - s[i+1])^2 }\n marginalize s }",
    "normal": "model m(n: int) { observed h : real[n]; latent s : real[n]; energy f = sum((h - s)^2)\n"
    "for i in 0..n-1 { energy t[i] = 0.7 * (s[i] - s[i+1])^2 }\n marginalize s }",
}


@pytest.mark.parametrize("text", MARGINALS.values(), ids=MARGINALS)
def test_marginals(text: str) -> None:
    h = torch.linspace(-1, 1, 12, dtype=torch.float64).reshape(2, 6)
    here = ebmlang.loads(text).marginal(h=h)
    with pretended():
        there = ebmlang.loads(text).marginal(h=h, device="cuda")
        _same(there.energy, here.energy)
        _same(there["s"], here["s"])
