"""`jacobian(e, x)` against automatic differentiation, and derivatives of it against finite differences."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

import ebmlang
from ebmlang import ModelError, testing

Function = Callable[[Tensor, dict[str, Tensor]], Tensor]

VALUES = {
    "A": np.random.default_rng(0).normal(size=(3, 4)),
    "S": np.random.default_rng(1).normal(size=(4, 4)),
    "x": np.random.default_rng(2).normal(size=(5, 4)),
    "M": np.random.default_rng(3).normal(size=(5, 4, 2)),
    "t": np.random.default_rng(4).normal(size=5),
}
DECLARED = """
  shared observed A : real[3, 4]
  shared observed S : real[4, 4]
  observed x : real[4]
  observed M : real[4, 2]
  observed t : real
"""
CASES: dict[str, tuple[str, str, Function]] = {
    "layer": ("sigmoid(A @ x)", "x", lambda x, v: torch.sigmoid(v["A"] @ x)),
    "scalar": ("x @ S @ x", "x", lambda x, v: x @ v["S"] @ x),
    "length": ("||x|| + sum(log1p(x^2))", "x", lambda x, v: x.norm() + torch.log1p(x**2).sum()),
    "softmax": ("softmax(2 * x)", "x", lambda x, v: torch.softmax(2 * x, 0)),
    "logsumexp": ("logsumexp(A @ x)", "x", lambda x, v: torch.logsumexp(v["A"] @ x, 0)),
    "matrix": ("tanh(A @ M)", "M", lambda m, v: torch.tanh(v["A"] @ m)),
    "outer": ("outer(x, t * x)", "x", lambda x, v: torch.outer(x, v["t"] * x)),
    "along a scalar": ("sin(t * x)", "t", lambda t, v: torch.sin(t * v["x"])),
    "scalars": ("exp(t) * x[1]", "t", lambda t, v: torch.exp(t) * v["x"][1]),
    "kinks": (
        "where(x > 0, x^2, -x) + relu(x)",
        "x",
        lambda x, v: torch.where(x > 0, x**2, -x) + torch.relu(x),
    ),
    "entries": ("[x[2] * x[0], x[-1]]", "x", lambda x, v: torch.stack([x[2] * x[0], x[-1]])),
    "concat": ("concat(x, A @ x)", "x", lambda x, v: torch.cat([x, v["A"] @ x])),
    "constant": ("A @ M", "x", lambda x, v: v["A"] @ v["M"] + 0 * x.sum()),
    "index": ("sum(x[i]^2 * S[i], over = i in 0..4)", "x", lambda x, v: (x[:, None] ** 2 * v["S"]).sum(0)),
    "again": ("sum(jacobian(x @ S @ (x^2), x)^2)", "x", lambda x, v: _slope(x, v["S"]).square().sum()),
}


def _of(function: Function, values: dict[str, Tensor]) -> Callable[[Tensor], Tensor]:
    return lambda z: function(z, values)


def _slope(x: Tensor, S: Tensor) -> Tensor:
    return S @ x**2 + 2 * x * (S.T @ x)


@pytest.mark.parametrize("name", CASES)
def test_equals_automatic_differentiation(name: str) -> None:
    expression, along, function = CASES[name]
    body = f"  latent q : real\n  let J = jacobian({expression}, {along})\n  energy e = q^2\n"
    text = f"model m {{{DECLARED}{body}}}"
    found = ebmlang.loads(text).infer(VALUES, dtype="float64")["J"]
    values = {n: torch.from_numpy(v) for n, v in VALUES.items()}
    want = []
    for row in range(5):
        own = {n: v if n in "AS" else v[row] for n, v in values.items()}
        want.append(torch.func.jacrev(_of(function, own))(own[along]))
    torch.testing.assert_close(
        found.broadcast_to(want[0][None].expand(5, *want[0].shape).shape), torch.stack(want)
    )


@pytest.mark.parametrize("name", ["scalar", "length", "logsumexp", "scalars", "again"])
def test_gradients_are_jacobians_of_numbers(name: str) -> None:
    expression, along, function = CASES[name]
    body = f"  latent q : real\n  let g = grad({expression}, {along})\n  energy e = q^2\n"
    found = ebmlang.loads(f"model m {{{DECLARED}{body}}}").infer(VALUES, dtype="float64")["g"]
    values = {n: torch.from_numpy(v) for n, v in VALUES.items()}
    for row in range(5):
        own = {n: v if n in "AS" else v[row] for n, v in values.items()}
        torch.testing.assert_close(found[row], torch.func.grad(_of(function, own))(own[along]))


SCORES = """
model scores(n: int, k: int) {
  observed x : real[n]
  observed noise : real[n]
  param W : real[k, n] = normal()
  param m : real[k] = normal()
  let potential = sum(softplus(W @ x))
  energy match = 1/2 * ||grad(potential, x) + noise||^2
  energy own   = ||grad(dot(m, W @ x)^2, m)||^2          # along a parameter, for each example by itself
  for i in 0..k { energy each[i] = ||grad(tanh(dot(W[i], x)) * m[i], x)||^2 }
}
"""


def test_terms_of_gradients() -> None:
    """Denoising score matching (Vincent 2011), with parameters, plates and second derivatives."""
    x, noise = (torch.from_numpy(np.random.default_rng(i).normal(size=(4, 3))) for i in (0, 1))
    model = ebmlang.loads(SCORES, k=5).bind(x=x, noise=noise)
    W, m = model.value("W"), model.value("m")
    terms = model.terms(x=x, noise=noise)
    u = x @ W.T
    match = (torch.sigmoid(u) @ W + noise).square().sum(1) / 2
    own = (2 * (u @ m)[:, None] * u).square().sum(1)
    each = (((1 - torch.tanh(u) ** 2) * m)[..., None] * W).square().sum((1, 2))
    for name, want in (("match", match), ("own", own), ("each", each)):
        torch.testing.assert_close(terms[name], want)
    ours = torch.autograd.grad(model(x=x, noise=noise), (W, m))
    theirs = torch.autograd.grad((match + own + each).mean(), (W, m))
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, atol=1e-10, rtol=1e-10)


LAYERS = """
model layers(n: int, k: int) {
  observed x : real[n]
  param W : real[k, n] = normal()
  param V : real[n, k] = normal()
  param b : real[k] = normal()
  let h = tanh(W @ x + b)
  let y = V @ h
  energy stretch = sum(jacobian(y, x)^2)          # through two layers and the lets between
  energy upper   = ||jacobian(y, h) - V||^2         # along a let: it moves, and x does not
  energy volume  = logabsdet(jacobian(x + 0.1 * y, x))
}
"""


def test_terms_of_jacobians_and_their_gradients() -> None:
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(4, 3)))
    m = ebmlang.loads(LAYERS, k=5).bind(x=x)
    W, V, b = (m.value(name) for name in "WVb")
    terms = m.terms(x=x)
    h = torch.tanh(x @ W.T + b)
    slopes = torch.einsum("ik,bk,kj->bij", V, 1 - h**2, W)
    torch.testing.assert_close(terms["stretch"], slopes.square().sum((1, 2)))
    torch.testing.assert_close(terms["upper"], torch.zeros(4, dtype=torch.float64))
    both = torch.eye(3, dtype=torch.float64) + 0.1 * slopes
    torch.testing.assert_close(terms["volume"], torch.linalg.slogdet(both).logabsdet)
    want = slopes.square().sum((1, 2)) + torch.linalg.slogdet(both).logabsdet
    ours = torch.autograd.grad(m(x=x), (W, V, b))
    theirs = torch.autograd.grad(want.mean(), (W, V, b))
    for a, c in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, c, atol=1e-10, rtol=1e-10)
    testing.check_gradient(m, {"x": x, "W": W.detach(), "V": V.detach(), "b": b.detach()})


FLAT = """
model flat(n: int, k: int) {
  observed y : real[n]
  latent   x : real[n] = y
  param W : real[k, n] = normal()
  let h = sigmoid(W @ x)
  energy near = 1/2 * ||x - y||^2
  energy flat = 3 * sum(jacobian(h, x)^2)
  infer x
}
"""


def test_a_search_along_what_a_jacobian_is_taken() -> None:
    y = torch.from_numpy(np.random.default_rng(1).normal(size=(3, 4)))
    m = ebmlang.loads(FLAT, k=6)
    found = m.infer(y=y, dtype="float64")
    assert bool(found.converged.all())
    x = found["x"].clone().requires_grad_()
    h = torch.sigmoid(x @ m.value("W").detach().T)
    energy = (x - y).square().sum() / 2 + 3 * (
        (h * (1 - h))[..., None] * m.value("W").detach()
    ).square().sum()
    (slope,) = torch.autograd.grad(energy, x)
    assert float(slope.abs().max()) < 1e-6
    assert float(found.energy.sum()) == pytest.approx(float(energy.detach()), rel=1e-10)


ROLLOUT = """
model rollout(T: int) {
  observed s0 : real[2]
  latent q : real
  let s : real[T+1, 2]
  let s[0] = s0
  for t in 0..T { let s[t+1] = [s[t, 0] + 0.1 * s[t, 1], s[t, 1] - 0.1 * sin(s[t, 0])] }
  let J = jacobian(s[T], s0)
  for t in 0..T { let d[t] = sum(jacobian(s[t]^2, s0)^2) }
  energy e = q^2 + sum(d)
}
"""


def test_through_a_recurrence_and_in_a_plate() -> None:
    s0 = torch.tensor([[0.5, 1.0], [2.0, -1.0]], dtype=torch.float64)
    found = ebmlang.loads(ROLLOUT, T=6).infer(s0=s0)

    def states(s: Tensor) -> Tensor:
        out = [s]
        for _ in range(6):
            a, b = out[-1]
            out.append(torch.stack([a + 0.1 * b, b - 0.1 * torch.sin(a)]))
        return torch.stack(out)

    want = torch.stack([torch.func.jacrev(states)(row) for row in s0])
    torch.testing.assert_close(found["J"], want[:, -1])
    path = torch.stack([states(row) for row in s0])
    torch.testing.assert_close(found["d"], (2 * path[..., None] * want).square().sum((2, 3))[:, :6])


REFUSED = {
    "jacobian(x, 2 * x)": "E0313",
    "jacobian(x, x[0])": "E0313",
    "jacobian(x)": "E0302",
    "grad(x, x)": "E0313",
    "grad(sum(x), 2 * x)": "E0313",
    "grad(mean(x[0], over = batch), x)": "E0901",
    "jacobian(x, x, over = 1)": "E0209",
    "jacobian(x - mean(x, over = batch), x)": "E0901",
    "jacobian(sort(x), x)": "E0901",
    "jacobian(x, y)": "E0201",
}


@pytest.mark.parametrize("call", REFUSED)
def test_refused_with_a_reason(call: str) -> None:
    declared = "observed x : real[3]\n  net f : real[3] -> real[2] = linear()"
    text = f"model m {{\n  {declared}\n  batch energy e = sum({call}) + sum(f(x))\n}}"
    with pytest.raises(ModelError) as caught:
        ebmlang.loads(text)
    assert {d.diagnostic.code for d in caught.value.diagnostics} >= {REFUSED[call]}
