"""std.predictive_coding and the autoencoders: values, gradients and steps of the same in plain torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from torch import Tensor, nn

import ebmlang
from tests.library.parts import normal, std

Parameters = dict[str, Tensor]

# --- the same by hand: energies [rows] ----------------------------------------------------------


def denoising(x: Tensor, p: Parameters, noise: Tensor) -> Tensor:
    h = torch.sigmoid((x + 0.3 * noise) @ p["enc.weight"].T + p["enc.bias"])
    return (x - h @ p["dec.weight"].T - p["dec.bias"]).square().sum(1) / 2


def masked(x: Tensor, p: Parameters, hidden: Tensor) -> Tensor:
    seen = (~hidden).to(x.dtype)
    first, last = (sorted(n for n in p if n.startswith(net)) for net in ("enc", "dec"))
    out = torch.cat([seen * x, seen], 1)
    for names in (first, last):
        bias, weight, bias_2, weight_2 = (p[n] for n in names)
        out = nn.functional.gelu(out @ weight.T + bias) @ weight_2.T + bias_2
    return torch.stack(
        [
            (x[r] - out[r])[hidden[r]].square().mean() if hidden[r].any() else 0 * out[r].sum()
            for r in range(len(x))
        ]
    )


def contracting(x: Tensor, p: Parameters) -> Tensor:
    def encode(row: Tensor) -> Tensor:
        h: Tensor = torch.sigmoid(p["W"] @ row + p["b"])
        return h

    h = torch.func.vmap(encode)(x)
    jacobian = torch.func.vmap(torch.func.jacrev(encode))(x)
    own: Tensor = (x - h @ p["W"] - p["c"]).square().sum(1) / 2 + 0.7 * jacobian.square().sum((1, 2))
    return own


def saturating(x: Tensor, p: Parameters) -> Tensor:
    u = x @ p["W"].T + p["b"]
    reconstructed = nn.functional.hardtanh(u) @ p["V"].T + p["c"]
    inside = torch.minimum(1 - u, u + 1).clamp(min=0)
    return (x - reconstructed).square().sum(1) / 2 + 0.7 * inside.sum(1)


def shrink(x: Tensor, p: Parameters) -> Tensor:
    h = nn.functional.softshrink(x @ p["W"].T + p["b"], 1.0)
    return (x - h @ p["V"].T - p["c"]).square().sum(1) / 2 + 0.7 * h.abs().sum(1)


def rectified(x: Tensor, p: Parameters) -> Tensor:
    h = torch.relu(x @ p["W"].T + p["b"])
    return (x - h @ p["V"].T - p["c"]).square().sum(1) / 2 + 0.7 * h.sum(1)


BY_HAND: tuple[tuple[str, str | None, Callable[..., Tensor], dict[str, float], str | None], ...] = (
    ("denoising", None, denoising, {"sigma": 0.3}, "noise"),
    ("masked", None, masked, {}, "hidden"),
    ("contracting", None, contracting, {"lam": 0.7}, None),
    ("saturating", None, saturating, {"alpha": 0.7}, None),
    ("saturating", "shrink", shrink, {"alpha": 0.7}, None),
    ("saturating", "rectified", rectified, {"alpha": 0.7}, None),
)
"""Name, model of the file, energy by hand, settings, and what is drawn."""


def drawn(name: str | None, x: Tensor) -> dict[str, Any]:
    noise = torch.from_numpy(normal(*x.shape, seed=5)).to(x.dtype)
    return {} if name is None else {name: noise > -0.5 if name == "hidden" else noise}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["double", "single"])
@pytest.mark.parametrize("case", BY_HAND, ids=[case[1] or case[0] for case in BY_HAND])
@pytest.mark.parametrize(("n", "k", "rows"), [(6, 4, 5), (3, 8, 1)])
def test_energies_and_gradients(
    case: tuple[str, str | None, Callable[..., Tensor], dict[str, float], str | None],
    n: int,
    k: int,
    rows: int,
    dtype: torch.dtype,
) -> None:
    name, model, by_hand, settings, random = case
    x = torch.from_numpy(2 * normal(rows, n)).to(dtype).requires_grad_()
    m = std(name, model=model, k=k, **settings).bind(x=x)
    with torch.no_grad():
        for (
            parameter
        ) in m.parameters():  # biases away from 0, and weights large enough for both sides of kinks
            parameter.mul_(1.5).add_(0.2 * torch.randn(parameter.shape, dtype=dtype))
    other = drawn(random, x)
    ours = m.energy(x=x, **other)
    own = dict(m.named_parameters())
    theirs = by_hand(x, own, *other.values())
    near = 1e-10 if dtype == torch.float64 else 2e-6
    close: dict[str, Any] = {"atol": near, "rtol": near}
    torch.testing.assert_close(ours, theirs, **close)
    weights = torch.arange(1, rows + 1, dtype=dtype)
    leaves = [x, *own.values()]
    a = torch.autograd.grad((weights * ours).sum(), leaves)
    b = torch.autograd.grad((weights * theirs).sum(), leaves)
    scale = max(float(g.abs().max()) for g in b)
    for mine, reference in zip(a, b, strict=True):
        torch.testing.assert_close(mine / scale, reference / scale, **close)


@pytest.mark.parametrize("case", BY_HAND[2:], ids=[case[1] or case[0] for case in BY_HAND[2:]])
def test_steps_of_training(
    case: tuple[str, str | None, Callable[..., Tensor], dict[str, float], str | None],
) -> None:
    name, model, by_hand, settings, _ = case
    x = torch.from_numpy(normal(12, 5))
    m = std(name, model=model, k=4, **settings).bind(x=x)
    own = {n: p.detach().clone().requires_grad_() for n, p in m.named_parameters()}
    optimiser = torch.optim.Adam(own.values(), lr=1e-3)
    losses = []
    for _ in range(8):
        optimiser.zero_grad()
        loss = by_hand(x, own).mean()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    history = m.fit(x=x, steps=8)
    np.testing.assert_allclose(history.loss, losses, rtol=1e-10)
    assert losses[-1] < losses[0]


def test_noise_is_drawn_anew_in_training() -> None:
    x = torch.from_numpy(normal(6, 4))
    m = std("denoising", k=3, sigma=1.0).bind(x=x)
    assert float(m(x=x).detach()) != float(m(x=x).detach())
    assert float(m(x=x, seed=1).detach()) == float(m(x=x, seed=1).detach())
    plain = std("denoising", k=3, sigma=0.0).bind(x=x)
    assert float(plain(x=x).detach()) == float(plain(x=x).detach())


def test_only_what_is_hidden_counts_and_it_is_not_seen() -> None:
    x = torch.from_numpy(normal(4, 6)).requires_grad_()
    hidden = torch.zeros(4, 6, dtype=torch.bool)
    m = std("masked", k=3).bind(x=x)
    assert bool((m.energy(x=x, hidden=hidden) == 0).all())
    hidden[:, 2] = True
    before = m.energy(x=x, hidden=hidden)
    (slope,) = torch.autograd.grad(before.sum(), x)
    moved = x.detach() + hidden.double()
    # The reconstruction y stays: (x + 1 - y)^2 = (x - y)^2 + 2 (x - y) + 1.
    torch.testing.assert_close(m.energy(x=moved, hidden=hidden), before + slope[:, 2] + 1)


BOUND = """import std.denoising

model deep(n: int) {
  observed x : real[n]
  net f : real[n] -> real[4] = mlp([7], act = tanh)
  use denoising(k = 4, sigma = 0) as auto with x = x, enc = f
}
"""


def test_another_encoder() -> None:
    x = torch.from_numpy(normal(5, 3))
    m = ebmlang.loads(BOUND).bind(x=x)
    own = dict(m.named_parameters())
    a, b, c, d = (p for n, p in own.items() if n.startswith("f."))
    h = torch.sigmoid(nn.functional.linear(torch.tanh(nn.functional.linear(x, a, b)), c, d))
    y = nn.functional.linear(h, own["auto.dec.weight"], own["auto.dec.bias"])
    torch.testing.assert_close(m.energy(x=x), (x - y).square().sum(1) / 2)


# --- predictive coding --------------------------------------------------------------------------


def levels(x: Tensor, r: Tensor, above: Tensor, U: Tensor, U_above: Tensor) -> Tensor:
    """Rao and Ballard's energy, halved, for one example."""
    low = (x - torch.tanh(U @ r)).square().sum() / (2 * 0.5)
    high = (r - torch.tanh(U_above @ above)).square().sum() / (2 * 2.0)
    return low + high + 0.1 * (torch.log(1 + r**2).sum() + torch.log(1 + above**2).sum())


def test_causes_of_two_levels() -> None:
    x = normal(3, 6)
    U, U_above = 0.5 * normal(6, 4, seed=1), normal(4, 2, seed=2)
    m = std("predictive_coding", k=4, k_above=2, v=0.5, v_above=2.0, alpha=0.1)
    m.preset({"U": U, "U_above": U_above})
    found = m.infer(x=x, dtype="float64")
    assert bool(found.converged.all())
    weights = (torch.from_numpy(U), torch.from_numpy(U_above))
    for row in range(3):
        one = torch.from_numpy(x[row])
        at = levels(one, found["r"][row], found["r_above"][row], *weights)
        assert float(found.energy[row]) == pytest.approx(float(at), rel=1e-12)

        def value(flat: np.ndarray, one: Tensor = one) -> tuple[float, np.ndarray]:
            z = torch.from_numpy(flat).requires_grad_()
            e = levels(one, z[:4], z[4:], *weights)
            (g,) = torch.autograd.grad(e, z)
            return float(e.detach()), g.numpy()

        # From the same start; the energy is not convex, and both end at a stationary point.
        theirs = minimize(value, np.zeros(6), jac=True, method="BFGS", options={"gtol": 1e-9})
        near = minimize(
            value, np.concatenate([found["r"][row], found["r_above"][row]]), jac=True, method="BFGS"
        )
        assert float(found.energy[row]) <= theirs.fun + 1e-6
        assert float(found.energy[row]) == pytest.approx(near.fun, abs=1e-8)


def test_learning_of_both_levels_is_local() -> None:
    """The gradient in the weights, with the causes at rest: errors times slopes times causes."""
    x = torch.from_numpy(normal(5, 6))
    m = std("predictive_coding", k=4, k_above=2).bind(x=x)
    m(x=x).backward()
    found = m.infer(x=x, dtype="float64")
    r, above = found["r"], found["r_above"]
    U, U_above = m.value("U").detach(), m.value("U_above").detach()
    for name, target, weight, cause in (("U", x, U, r), ("U_above", r, U_above, above)):
        y = torch.tanh(cause @ weight.T)
        want = -((target - y) * (1 - y**2)).T @ cause / len(x)
        torch.testing.assert_close(m.value(name).grad, want, atol=1e-7, rtol=0)
    history = m.fit(x=x, steps=30)
    assert history.loss[-1] < history.loss[0]
