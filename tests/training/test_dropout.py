"""`dropout` as a function: what it draws, when, and for whom."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

import ebmlang
from tests.draws import normal

TEXT = """
model thinned(n: int, k: int = 4, p: real in [0, 0.9] = 0.25) {
  observed x : real[n]
  observed t : real
  param W : real[k, n] = normal()
  param v : real[k] = normal()
  let h = dropout(tanh(W @ x), p)
  energy e = (t - dot(v, h))^2
  train using sgd(lr = 1e-12)
}"""


def values(model: ebmlang.Model, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The units before they are thinned [rows, k], and the weights [k]."""
    with torch.no_grad():
        return torch.tanh(x @ model.value("W").T), model.value("v").detach()


def test_outside_of_training_it_changes_nothing() -> None:
    x, t = normal(5, 3), normal(5, seed=1)
    plain = ebmlang.loads(TEXT.replace("dropout(tanh(W @ x), p)", "tanh(W @ x) + 0 * p"), seed=0)
    model = ebmlang.loads(TEXT, seed=0)
    assert torch.equal(model.energy(x=x, t=t), plain.energy(x=x, t=t))


@pytest.mark.parametrize("p", [0.25, 0.6])
def test_in_training_units_are_dropped_with_probability_p(p: float) -> None:
    """Rows that are all alike: every loss is that of some mask, and masks come as often as they should."""
    rows = 4096
    x, t = normal(1, 3).expand(rows, 3), torch.zeros(rows, dtype=torch.float64)
    model = ebmlang.loads(TEXT, seed=0, p=p).bind(x=x, t=t)
    h, v = values(model, x[:1])
    masks = torch.tensor(list(itertools.product((0.0, 1.0), repeat=4)), dtype=torch.float64)
    found = (masks * h * v / (1 - p)).sum(-1).square()
    chances = torch.where(masks > 0, 1 - p, p).prod(-1)
    mean, spread = (found * chances).sum(), ((found**2 * chances).sum() - (found * chances).sum() ** 2).sqrt()
    loss = model.fit(x=x, t=t, steps=1, seed=3).loss[0]
    assert abs(loss - float(mean)) < 4 * float(spread) / rows**0.5
    single = [
        ebmlang.loads(TEXT, seed=0, p=p).fit(x=x[:1], t=t[:1], steps=1, seed=s).loss[0] for s in range(12)
    ]
    assert all(float((found - one).abs().min()) < 1e-9 for one in single)
    assert len({round(float(one), 9) for one in single}) > 2


def test_a_row_has_its_mask_in_whatever_order_and_batch() -> None:
    x, t = normal(12, 3), normal(12, seed=1)
    model = ebmlang.loads(TEXT, seed=0).bind(x=x, t=t)
    whole = model.fit(x=x, t=t, steps=3, seed=5).loss
    again = ebmlang.loads(TEXT, seed=0).fit(x=x, t=t, steps=3, seed=5).loss
    assert list(whole) == list(again)
    assert len(set(whole)) == 3  # a step draws anew
    parts = ebmlang.loads(TEXT.replace("lr = 1e-12", "lr = 1e-12, accumulate = 3"), seed=0)
    np.testing.assert_allclose(parts.fit(x=x, t=t, steps=3, seed=5).loss, whole, rtol=1e-9)


def test_in_a_loop_of_ones_own() -> None:
    x, t = normal(6, 3), normal(6, seed=1)
    model = ebmlang.loads(TEXT, seed=0).bind(x=x, t=t)
    assert model(x=x, t=t) != model(x=x, t=t)
    assert model(x=x, t=t, seed=1) == model(x=x, t=t, seed=1)


def test_gradients_are_those_of_the_thinned_net() -> None:
    """Against finite differences of the loss with its draws held."""
    x, t = normal(6, 3), normal(6, seed=1)
    model = ebmlang.loads(TEXT, seed=0).bind(x=x, t=t)
    model(x=x, t=t, seed=2).backward()
    W = model.value("W")
    slope = W.grad
    assert slope is not None
    for at in ((0, 0), (3, 2)):
        ends = []
        for step in (1e-5, -1e-5):
            with torch.no_grad():
                W[at] += step
                ends.append(float(model(x=x, t=t, seed=2)))
                W[at] -= step
        assert float(slope[at]) == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-6, abs=1e-9)


PARTS = """
model block(d: int) {
  observed x : real[d]
  net f : real[d] -> real[d] = linear()
  fn thin(a: real[k]) -> real[k] = dropout(a, 0.3)
  let y = x + thin(f(x))
}
model stack(d: int, L: int = 3) {
  observed x : real[d]
  observed t : real[d]
  latent   z : real[d]
  for l in 0..L { part layer[l] = block(d = d) }
  let h : real[L+1, d]
  let h[0] = x
  for l in 0..L {
    use layer[l] as out[l] with x = h[l]
    let h[l+1] = out[l].y
  }
  energy near = ||h[L] - z||^2 + ||z - dropout(t, 0.5)||^2
  infer z
  train using sgd(lr = 1e-12)
}"""


def test_in_parts_functions_and_recurrences_and_held_while_searching() -> None:
    x, t = normal(400, 2), normal(400, 2, seed=1)
    model = ebmlang.loads(PARTS, seed=0).bind(x=x, t=t)
    plain = ebmlang.loads(PARTS.replace("dropout(a, 0.3)", "a").replace("dropout(t, 0.5)", "t"), seed=0)
    torch.testing.assert_close(model.infer(x=x, t=t)["z"], plain.infer(x=x, t=t)["z"])
    assert model.choice().method == plain.choice().method
    record = model.fit(x=x, t=t, steps=1)
    assert record["unconverged"][0] == 0
    # At the minimum over z the energy is |h - t'|^2 / 2; without noise in h this is its mean over masks.
    still = ebmlang.loads(PARTS.replace("dropout(a, 0.3)", "a"), seed=0).bind(x=x, t=t)
    layers = still.net("layer.f")
    assert isinstance(layers, torch.nn.ModuleList)
    with torch.no_grad():
        h = x
        for layer in layers:
            h = h + layer(h)
    per_row = 0.5 * ((h - t).square().sum(-1) + t.square().sum(-1))
    spread = float(per_row.std()) + float((2 * t.square()).std())
    assert abs(still.fit(x=x, t=t, steps=1).loss[0] - float(per_row.mean())) < 4 * spread / 20


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("dropout(x)", "E0302"),
        ("dropout(x, 1)", "E0313"),
        ("dropout(x, -0.1)", "E0313"),
        ("dropout(x, t)", "E0313"),
        ("dropout(x, rate = 0.1)", "E0209"),
        ("dropout(c, 0.1)", "E0301"),
    ],
)
def test_mistakes(call: str, message: str) -> None:
    observed = "observed x : real[n]; observed t : real; observed c : class[3]"
    text = f"model m(n: int) {{ {observed}; energy e = sum({call}) }}"
    with pytest.raises(ebmlang.ModelError, match=message):
        ebmlang.loads(text)
