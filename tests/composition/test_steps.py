"""Joined parts inside the steps of a recurrence, against the same loop written in torch."""

from __future__ import annotations

import pytest
import torch

import ebmlang
from tests.draws import normal

F64 = torch.float64

PARTS = """
model drift(d: int, k: int in positive = 4) {
  observed s : real[d]
  net f : real[d] -> real[d] = mlp([k], act = tanh)
  let next = f(s)
  cost far = ||next||^2
}
model half(d: int, share: real = 0.5) {
  observed x : real[d]
  latent   z : real[d]
  param    w : real[d] = normal()
  let y = share * x + w * z
  regularizer small = ||z||^2
}
"""


@pytest.mark.parametrize("shared", [False, True])
def test_a_step_made_of_parts(shared: bool) -> None:
    """Two parts in a row, under a guard; parameters of their own for each step, or those of `part`."""
    text = (
        PARTS
        + """
    model path(d: int, T: int) {
      observed s0 : real[d]
      observed on : bool[T]
      latent   a  : real[T, d]
      OWNER
      let s : real[T+1, d]
      let s[0] = s0
      for t in 0..T if on[t] {
        use drift as one[t] with s = s[t]
        use HALF as two[t] with x = one[t].next + a[t]
        let s[t+1] = two[t].y
        use drift(k = 3) as after[t] with s = s[t+1]
        cost work[t] = ||a[t]||^2 + sum(one[t].next)
      }
      cost end = sum(one.next[T-1])
      infer a, two.z
    }
    """
    )
    owner = ("part world = half(d = d, share = 0.25)", "world") if shared else ("", "half(share = 0.25)")
    model = ebmlang.loads(text.replace("OWNER", owner[0]).replace("HALF", owner[1]), T=4)
    on = torch.tensor([True, False, True, True])
    s0, a, z = (
        normal(3, 2),
        normal(3, 4, 2, seed=1).requires_grad_(),
        normal(3, 4, 2, seed=2).requires_grad_(),
    )
    model.bind(s0=s0, on=on)
    w = model.double().value("world.w" if shared else "two.w")
    f, g = (list(model.net(name).children()) for name in ("one.f", "after.f"))
    expected = {name: torch.zeros(3, dtype=F64) for name in ("one.far", "two.small", "after.far", "work")}
    s = s0
    for t in range(4):
        following = f[t](s)
        if on[t]:
            s = 0.25 * (following + a[:, t]) + (w if shared else w[t]) * z[:, t]
            expected["one.far"] = expected["one.far"] + following.square().sum(1)
            expected["two.small"] = expected["two.small"] + z[:, t].square().sum(1)
            expected["after.far"] = expected["after.far"] + g[t](s).square().sum(1)
            expected["work"] = expected["work"] + a[:, t].square().sum(1) + following.sum(1)
    expected["end"] = following.sum(1)
    found = model.terms(data={"s0": s0, "on": on, "a": a, "two.z": z})
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value)
    sums = [torch.stack(list(terms.values())).sum() for terms in (found, expected)]
    inputs = [a, z, w, *f[0].parameters()]
    for ours, theirs in zip(*(torch.autograd.grad(total, inputs) for total in sums), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_control_of_a_part_is_a_riccati_recursion() -> None:
    text = """
    model world(d: int, m: int) {
      observed s : real[d]
      observed a : real[m]
      shared observed A : real[d, d] = identity(d)
      shared observed B : real[d, m]
      let next = A @ s + B @ a
      cost price = ||next||^2 + 0.5 * ||a||^2
    }
    model plan_ahead(d: int, m: int, T: int) {
      observed s0 : real[d]
      shared observed B : real[d, m]
      latent a : real[T, m] = 0
      let s : real[T+1, d]
      let s[0] = s0
      for t in 0..T {
        use world as w[t] with s = s[t], a = a[t], B = B
        let s[t+1] = w[t].next
      }
      infer a
    }
    """
    model = ebmlang.loads(text, T=5)
    assert "method   riccati" in model.explain()
    s0, B = normal(2, 3), normal(3, 2, seed=1)
    r = model.infer(s0=s0, B=B)
    a = r["a"].clone().requires_grad_()
    s = s0[:, None] + (a @ B.T).cumsum(1)
    cost = s.square().sum((1, 2)) + 0.5 * a.square().sum((1, 2))
    torch.testing.assert_close(r.energy, cost.detach())
    (slope,) = torch.autograd.grad(cost.sum(), a)
    assert float(slope.abs().max()) < 1e-9


@pytest.mark.parametrize(
    ("body", "code", "words"),
    [
        ("let s[t+1] = p[t].next; use drift as p[t] with s = s[t]", "E0607", "below the line"),
        ("use drift as p[t] with s = s[t]; let s[t+1] = p[t].other", "E0607", "has no `other`"),
        ("use drift as p[t] with s = nothing[t]; let s[t+1] = p[t].next", "E0201", "nothing"),
        ("use drift as p[t]; let s[t+1] = p[t].next", "E0605", "observes `s`"),
    ],
)
def test_mistakes(body: str, code: str, words: str) -> None:
    """One mistake, one message."""
    text = (
        PARTS
        + """
    model path(d: int, T: int) {
      observed s0 : real[d]
      let s : real[T+1, d]
      let s[0] = s0
      for t in 0..T { BODY }
      energy e = ||s||^2
    }
    """
    )
    with pytest.raises(ebmlang.ModelError) as caught:
        ebmlang.loads(text.replace("BODY", body))
    assert [d.diagnostic.code for d in caught.value.diagnostics] == [code]
    assert words in str(caught.value)
