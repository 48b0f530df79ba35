"""std.vae, std.vq, std.flow and std.lista: values, gradients and steps of the same in plain torch."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy.integrate import dblquad
from torch import Tensor, nn
from torch.distributions import Normal, kl_divergence

import ebmlang
from tests.library.parts import normal, std

Parameters = dict[str, Tensor]


def double(*shape: int, seed: int = 0) -> Tensor:
    return torch.from_numpy(normal(*shape, seed=seed))


def mlp(p: Parameters, net: str, x: Tensor, act: Callable[[Tensor], Tensor]) -> Tensor:
    """A multilayer perceptron from its weights, [rows, inputs] -> [rows, outputs]."""
    layers = sorted({name.rsplit(".", 1)[0] for name in p if name.startswith(f"{net}.")})
    for layer in layers:
        x = nn.functional.linear(x, p[f"{layer}.weight"], p[f"{layer}.bias"])
        x = x if layer == layers[-1] else act(x)
    return x


def moved_a_little(m: ebmlang.Model, size: float = 0.3) -> Parameters:
    """Parameters away from their start, by name."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in m.parameters():
            parameter.add_(size * torch.randn(parameter.shape, generator=generator).to(parameter.dtype))
    return dict(m.named_parameters())


def same_slopes(ours: Tensor, theirs: Tensor, leaves: list[Tensor]) -> None:
    weights = torch.arange(1, len(ours) + 1, dtype=ours.dtype) if ours.dim() else torch.ones(())
    torch.testing.assert_close(ours, theirs)
    a = torch.autograd.grad((weights * ours).sum(), leaves, allow_unused=True, materialize_grads=True)
    b = torch.autograd.grad((weights * theirs).sum(), leaves, allow_unused=True, materialize_grads=True)
    assert sum(float(g.abs().sum()) for g in b) > 0
    for mine, other in zip(a, b, strict=True):
        torch.testing.assert_close(mine, other, atol=1e-9, rtol=1e-7)


# --- std.vae --------------------------------------------------------------------------------------


def posterior(p: Parameters, x: Tensor, k: int) -> Normal:
    h = mlp(p, "enc", x, nn.functional.gelu)
    return Normal(h[:, :k], h[:, k:].exp())


def standard(told_by: Normal) -> Tensor:
    """Nats of every entry, [rows, k]."""
    return kl_divergence(told_by, Normal(torch.zeros(()).double(), torch.ones(()).double()))


def test_evidence_bound() -> None:
    x, draw = double(5, 6), double(5, 3, seed=1)
    m = std("vae", k=3).bind(x=x)
    p = moved_a_little(m)
    sigma = m.value("sigma")
    told_by = posterior(p, x, 3)
    out = mlp(p, "dec", told_by.mean + told_by.stddev * draw, nn.functional.gelu)
    theirs = -Normal(out, sigma).log_prob(x).sum(1) + standard(told_by).sum(1)
    same_slopes(m.energy(x=x, draw=draw), theirs, list(p.values()))
    torch.testing.assert_close(m.infer(x=x)["told"], standard(told_by).detach())


@pytest.mark.parametrize("free", [0.0, 1.5, 50.0])
def test_free_bits_belong_to_entries_of_the_code_and_to_the_batch(free: float) -> None:
    x, draw = double(7, 4), double(7, 3, seed=1)
    m = std("vae", model="free_bits", k=3, free=free).bind(x=x)
    p = moved_a_little(m)
    told_by = posterior(p, x, 3)
    out = mlp(p, "dec", told_by.mean + told_by.stddev * draw, nn.functional.gelu)
    surprise = -Normal(out, m.value("sigma")).log_prob(x).sum(1).mean()
    told = standard(told_by).mean(0)
    if free == 1.5:
        assert bool((told > free).any())
        assert bool((told < free).any())
    same_slopes(m(x=x, draw=draw), surprise + told.clamp(min=free).sum(), list(p.values()))


def test_codes_that_are_left_out() -> None:
    x, y, draw = double(6, 3), double(6, 4, seed=1), double(6, 2, seed=2)
    off = torch.tensor([True, False, True, False, False, True])
    m = std("vae", model="conditional", weight=0.7).bind(x=x, y=y)
    p = moved_a_little(m)
    told_by = posterior(p, torch.cat([x, y], 1), 2)
    z = torch.where(off[:, None], 0.0, told_by.mean + told_by.stddev * draw)
    out = mlp(p, "dec", torch.cat([x, z], 1), nn.functional.gelu)
    told = torch.where(off, 0.0, standard(told_by).sum(1))
    theirs = (y - out).square().sum(1) / 2 + 0.7 * told
    same_slopes(m.energy(x=x, y=y, draw=draw, off=off), theirs, list(p.values()))
    found = m.infer(x=x, y=y, draw=draw, off=off)
    torch.testing.assert_close(found["predicted"][off], found["typical"][off])


def test_half_of_the_codes_are_left_out_and_others_at_every_step() -> None:
    x = torch.zeros(4000, 1, dtype=torch.float64)
    m = std("vae", model="conditional", k=1).bind(x=x, y=x)
    first, second = (m.infer(x=x, y=x, seed=seed)["on"] for seed in (1, 2))
    assert abs(float(first.double().mean()) - 0.5) < 4 * 0.5 / math.sqrt(4000)
    assert 0.4 < float((first != second).double().mean()) < 0.6


# --- std.vq ---------------------------------------------------------------------------------------

THROUGH = """import std.vq

model through(n: int) {
  observed x : real[n]
  net enc : real[n] -> real[3] = linear()
  net dec : real[3] -> real[n] = linear()
  let h = enc(x)
  use vq(k = 5, beta = 0.4) as book with h = h
  energy fit = ||x - dec(book.quantised)||^2
}
"""


def test_gradients_pass_through_the_nearest_code() -> None:
    x = double(9, 4)
    m = ebmlang.loads(THROUGH).bind(x=x)
    p = moved_a_little(m)
    h = nn.functional.linear(x, p["enc.weight"], p["enc.bias"])
    book = p["book.book"]
    nearest = book[torch.cdist(h, book).argmin(1)]
    assert len(torch.cdist(h, book).argmin(1).unique()) > 1
    straight = h + (nearest - h).detach()
    out = nn.functional.linear(straight, p["dec.weight"], p["dec.bias"])
    theirs = (
        (x - out).square().sum(1)
        + (h.detach() - nearest).square().sum(1)
        + 0.4 * (h - nearest.detach()).square().sum(1)
    )
    same_slopes(m.energy(x=x), theirs, list(p.values()))


RUNNING = """import std.vq

model running(n: int, decay: real = 0.9, rare: real = 0) {
  observed x : real[n]
  param shift : real[n] = 0
  use vq.averaged(k = 4, decay = decay, rare = rare) as book with h = x
  energy still = ||shift||^2
  train shift using sgd(lr = 1)
}
"""


def test_books_of_running_means() -> None:
    """Against the paper's form: shares N and sums m of vectors are averaged, the book is m / N."""
    x = double(40, 3)
    m = ebmlang.loads(RUNNING).bind(x=x)
    book = m.value("book.book").detach().clone()
    share = torch.full((4,), 0.25, dtype=torch.float64)
    sums = share[:, None] * book
    for step in range(1, 6):
        m.fit(x=x, steps=1)
        chosen = nn.functional.one_hot(torch.cdist(x, book).argmin(1), 4).double()
        share = 0.9 * share + 0.1 * chosen.mean(0)
        sums = 0.9 * sums + 0.1 * chosen.T @ x / 40
        book = sums / share[:, None]
        torch.testing.assert_close(m.value("book.book"), book, msg=f"step {step}")
        torch.testing.assert_close(m.value("book.used"), share)


def test_a_code_that_nothing_is_near_to_is_put_where_a_vector_is() -> None:
    x = double(40, 3)
    for rare in (0.0, 0.01):
        m = ebmlang.loads(RUNNING, rare=rare).bind(x=x)
        m.preset({"book.book": torch.tensor([[0.0] * 3, [1.0] * 3, [90.0] * 3, [-90.0] * 3])})
        m.fit(x=x, steps=60)
        assert (float(m.value("book.book").abs().max()) > 80) is (rare == 0)
        assert len(m.infer(x=x)["book.code"].unique()) == (2 if rare == 0 else 4)


# --- std.flow -------------------------------------------------------------------------------------


def flow_by_hand(p: Parameters, row: Tensor, layers: int) -> Tensor:
    """z of one example, for its Jacobian."""
    h = row
    for layer in range(layers):
        moved = torch.tensor([(layer + i) % 2 for i in range(len(row))], dtype=torch.bool)
        seen = torch.where(moved, 0.0, h)[None]
        stretch = 2 * torch.tanh(mlp(p, f"scale.{layer}", seen, nn.functional.silu)[0] / 2)
        shift = mlp(p, f"shift.{layer}", seen, nn.functional.silu)[0]
        h = torch.where(moved, h * stretch.exp() + shift, h)
    return h


@pytest.mark.parametrize(("n", "layers"), [(1, 2), (2, 3), (5, 4), (3, 0)])
def test_the_volume_is_that_of_the_jacobian(n: int, layers: int) -> None:
    x = double(4, n).requires_grad_()
    m = std("flow", layers=layers, width=8).bind(x=x)
    p = moved_a_little(m)
    rows = []
    for row in x:
        jacobian = torch.autograd.functional.jacobian(
            lambda r: flow_by_hand(p, r, layers), row, create_graph=True
        )
        z = flow_by_hand(p, row, layers)
        rows.append(-Normal(0.0, 1.0).log_prob(z).sum() - torch.linalg.slogdet(jacobian)[1])
    same_slopes(m.energy(x=x), torch.stack(rows), [x, *p.values()])


def test_the_way_back() -> None:
    x = double(6, 3)
    m = std("flow", layers=5, width=8).bind(x=x)
    moved_a_little(m)
    z = m.infer(x=x)["z"]
    assert float((z - x).abs().max()) > 0.1
    torch.testing.assert_close(m.infer(x=x, noise=z)["drawn"], x)


def test_the_density_has_mass_one() -> None:
    m = std("flow", layers=3, width=4).bind(x=torch.zeros(1, 2).double())
    moved_a_little(m)

    def density(a: float, b: float) -> float:
        return math.exp(-float(m.energy(x=torch.tensor([[a, b]], dtype=torch.float64)).detach()))

    grid = np.linspace(-12, 12, 241)
    points = torch.from_numpy(np.stack(np.meshgrid(grid, grid), -1).reshape(-1, 2))
    on_grid = torch.exp(-m.energy(x=points).detach()).reshape(241, 241).numpy()
    assert np.trapezoid(np.trapezoid(on_grid, grid), grid) == pytest.approx(1, abs=2e-3)
    mass, _ = dblquad(density, -0.5, 0.5, -0.5, 0.5, epsabs=1e-3)
    inside = points.abs().amax(1) <= 0.5
    assert mass == pytest.approx(float(on_grid.reshape(-1)[inside].sum()) * 0.01, rel=0.25)


# --- std.lista ------------------------------------------------------------------------------------


def shrunk(u: Tensor, by: Tensor) -> Tensor:
    return u.sign() * (u.abs() - by).clamp(min=0)


def lista_by_hand(p: Parameters, y: Tensor, layers: int) -> Tensor:
    u = y.new_zeros(len(y), p["D"].shape[1])
    for layer in range(layers):
        u = shrunk(y @ p["W"][layer].T + u @ p["S"][layer].T, p["theta"][layer])
    return u


def energy_by_hand(p: Parameters, y: Tensor, z: Tensor, lam: float) -> Tensor:
    return (y - z @ p["D"].T).square().sum(1) / 2 + lam * z.abs().sum(1)


def test_layers_begin_as_steps_of_the_search() -> None:
    y = double(5, 6)
    m = std("lista", k=8, layers=4, lam=0.2).bind(y=y)
    D = m.value("D").detach()
    steepest = (D.T @ D).abs().sum(1).max()
    assert steepest >= torch.linalg.eigvalsh(D.T @ D).max()
    z = torch.zeros(5, 8, dtype=torch.float64)
    for _ in range(4):
        z = shrunk(z - (z @ D.T - y) @ D / steepest, 0.2 / steepest)
    torch.testing.assert_close(m.infer(y=y)["code"], z)


def test_steps_of_learning_lower_the_energy_of_the_prediction() -> None:
    y = double(30, 6)
    m = std("lista", k=8, layers=3, lam=0.2).bind(y=y)
    own = {n: p.detach().clone().requires_grad_() for n, p in m.named_parameters()}
    moved = [own[name] for name in ("W", "S", "theta")]
    optimiser = torch.optim.Adam(moved, lr=1e-3)
    losses = []
    for _ in range(6):
        optimiser.zero_grad()
        loss = energy_by_hand(own, y, lista_by_hand(own, y, 3), 0.2).mean()
        loss.backward()
        optimiser.step()
        with torch.no_grad():
            own["theta"].clamp_(min=0)
        losses.append(float(loss.detach()))
    line: dict[str, Any] = {"objective": "fast"}
    history = m.fit(y=y, steps=6, **line)
    np.testing.assert_allclose(history.loss, losses, rtol=1e-9)
    assert losses[-1] < losses[0]
    torch.testing.assert_close(m.value("D").detach(), own["D"].detach())
