"""Dropout in nets that a search evaluates: every row keeps its mask, whatever rows are searched beside it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import ebmlang
from ebmlang.runtime import ask
from ebmlang.runtime.bind import Bound
from ebmlang.runtime.problem import Values
from ebmlang.runtime.result import Result
from ebmlang.runtime.search import Search
from ebmlang.runtime.training.batches import at_rows
from tests.draws import normal

DECODER = """
model decoder(n: int, k: int = 2) {
  observed y : real[n]
  latent z : real[k] = 0
  net f : real[k] -> real[n] = mlp([12], act = tanh, dropout = 0.4)
  energy e = ||y - f(z)||^2 + 0.05 * ||z||^2
  infer z
  train f using sgd(lr = 1e-12)
}"""

SPARSE = DECODER.replace("0.05 * ||z||^2", "0.05 * ||z||_1")

LIMITED = DECODER.replace("infer z", "subject to flat : sum(z) == 0.1\n  infer z")

SHARED = """
model prototypes(n: int = 3, K: int = 4) {
  observed y : real[n]
  latent z : real[K] = 0
  param P : real[K, 2] = normal()
  net f : real[2] -> real[n] = mlp([12], act = tanh, dropout = 0.4)
  energy e = ||y - sum(z[i] * f(P[i]), over = i in 0..K)||^2 + 0.05 * ||z||_1
  infer z
  train f using sgd(lr = 1e-12)
}"""
"""As many prototypes as there are examples: their rows are no examples."""

PLANNED = """
model planned(d: int = 2, T: int = 4) {
  observed y : real[d]
  latent a : real[T, d] = 0
  net f : (real[d], real[d]) -> real[d] = mlp([6], act = tanh, dropout = 0.4)
  let s : real[T + 1, d]
  let s[0] = y
  for t in 0..T { let s[t+1] = s[t] + f(s[t], a[t]) }
  for t in 0..T { energy e[t] = ||s[t+1]||^2 + 0.1 * ||a[t]||^2 }
  infer a
  train f using sgd(lr = 1e-12)
}"""

CODED = """
model coded(n: int = 3, K: int = 4) {
  observed y : real[n]
  latent c : class[K]
  latent z : real[n] = 0
  param M : real[K, n] = normal()
  net f : real[n] -> real[n] = mlp([8], act = tanh, dropout = 0.4)
  energy e = ||f(z) - M[c]||^2 + ||y - z||^2
  infer c, z
  train f using sgd(lr = 1e-12)
}"""


SUMMED = CODED.replace("infer c, z", "marginalize c\n  infer z")


def asked_in_training(
    monkeypatch: pytest.MonkeyPatch, model: ebmlang.Model, y: Tensor
) -> tuple[Bound, Search, Result]:
    """The question that a step of training asks of all rows, and its answer."""
    asked: list[tuple[Bound, Search, Result]] = []
    infer = ask.infer

    def listening(bound: Bound, search: Search, observed: Values, brief: bool = False) -> Result:
        found = infer(bound, search, observed, brief=brief)
        asked.append((bound, search, found))
        return found

    monkeypatch.setattr(ask, "infer", listening)
    model.fit(y=y, steps=1, seed=3)
    monkeypatch.undo()
    return asked[-1]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (DECODER, "z"),
        (DECODER.replace("infer z", "infer z using lbfgs"), "z"),
        (SPARSE, "z"),
        (SHARED, "z"),
        (LIMITED, "z"),
        (PLANNED, "a"),
        (CODED, "z"),
        (SUMMED, "z"),
    ],
)
def test_rows_together_are_rows_one_by_one(text: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that converge at different times: the mask of a row is a function of its number."""
    y = normal(4, 2 if name == "a" else 3) * torch.tensor([0.0, 3.0, 0.1, 1.0])[:, None]
    model = ebmlang.loads(text, seed=0)
    bound, search, together = asked_in_training(monkeypatch, model, y)
    assert len(set(together.iterations.tolist())) > 1
    assert bound.settings.rows is not None
    parameters = {n: v for n, v in bound.values.items() if bound.specs[n].role == "param"}
    for k in range(len(y)):
        numbers = bound.settings.rows[k : k + 1]
        one = at_rows(bound, {"y": y[k : k + 1]}, parameters, numbers, bound.settings.seed)
        alone = ask.infer(one, search, {}, brief=True)
        torch.testing.assert_close(together.values[name][k], alone.values[name][0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("text", [DECODER, SHARED])
def test_gradients_are_those_of_the_thinned_net(text: str) -> None:
    """Against finite differences of the least energy, with the masks held."""
    y = normal(4, 3) * torch.tensor([0.0, 3.0, 0.1, 1.0])[:, None]
    model = ebmlang.loads(text, seed=0).bind(y=y)
    model(y=y, seed=2).backward()
    weight = next(p for n, p in model.named_parameters() if n.endswith("3.weight"))
    assert weight.grad is not None
    for at in ((0, 0), (2, 5)):
        ends = []
        for step in (1e-4, -1e-4):
            with torch.no_grad():
                weight[at] += step
                ends.append(float(model(y=y, seed=2)))
                weight[at] -= step
        assert float(weight.grad[at]) == pytest.approx((ends[0] - ends[1]) / 2e-4, rel=1e-5, abs=1e-8)
