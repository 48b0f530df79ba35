"""`solve` of unknowns without a closed form: values against numpy, scipy and scikit-learn, derivatives
against finite differences in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import nnls
from torch import Tensor

import ebmlang
from tests.composition.parts import RIDGE, SMOOTH, ridge
from tests.composition.slopes import right_slopes
from tests.draws import normal

F64 = torch.float64


def test_ridge_inside() -> None:
    text = (
        RIDGE
        + """
    model outer(n: int, k: int) {
      observed A : real[n, k];  observed y : real[n];  observed t : real[k]
      latent l : real = 0
      solve ridge as p with A = A, y = y, lam = exp(l)
      energy e = ||p.z - t||^2 + p.guess[0]
      infer l
    }
    """
    )
    model = ebmlang.loads(text)
    a, y, t, log = normal(4, 6, 3), normal(4, 6, seed=1), normal(4, 3, seed=2), normal(4, seed=3)

    def expected(a: Tensor, y: Tensor, log: Tensor) -> Tensor:
        z = ridge(a, y, log.exp())
        return ((z - t) ** 2).sum(-1) + (a[:, 0] * z).sum(-1)

    leaves = [x.requires_grad_() for x in (a, y, log)]
    found = model.energy(A=a, y=y, l=log, t=t)
    torch.testing.assert_close(found, expected(a, y, log))
    torch.testing.assert_close(
        torch.autograd.grad(found.sum(), leaves), torch.autograd.grad(expected(a, y, log).sum(), leaves)
    )


def test_second_derivatives() -> None:
    text = (
        RIDGE
        + """
    model outer(n: int, k: int) {
      shared observed A : real[n, k];  observed y : real[n];  observed t : real[k]
      latent l : real = 0
      solve ridge as p with A = A, y = y, lam = exp(l)
      energy e = ||p.z - t||^2
      infer l
    }
    """
    )
    model = ebmlang.loads(text)
    a, y, t, log = normal(6, 3), normal(2, 6, seed=1), normal(2, 3, seed=2), normal(2, seed=3)

    def energy(a: Tensor, y: Tensor, log: Tensor) -> Tensor:
        return model.energy(A=a, y=y, l=log, t=t)

    leaves = tuple(x.requires_grad_() for x in (a, y, log))
    assert torch.autograd.gradgradcheck(energy, leaves, eps=1e-5, atol=1e-5, rtol=1e-4)


def test_nonnegative_least_squares_inside() -> None:
    text = """
    model inner(n: int, k: int) {
      observed A : real[n, k];  observed y : real[n]
      latent z : real[k] in nonnegative
      energy fit = 1/2 * ||A @ z - y||^2
    }
    model outer(n: int, k: int) {
      shared observed A : real[n, k];  observed y : real[n]
      latent w : real[k]
      solve inner as p with A = A, y = y
      energy e = dot(p.z, w) + ||p.z||^2
      infer w
    }
    """
    model = ebmlang.loads(text)
    a, y, w = normal(8, 5), normal(3, 8, seed=1), normal(3, 5, seed=2)
    z = torch.from_numpy(np.stack([nnls(a.numpy(), row.numpy())[0] for row in y]))
    assert bool((z == 0).any())
    torch.testing.assert_close(model.energy(A=a, y=y, w=w), (z * w).sum(-1) + (z**2).sum(-1))
    right_slopes(lambda a, y: model.energy(A=a, y=y, w=w), a, y)


def test_lasso_inside() -> None:
    linear_model = pytest.importorskip("sklearn.linear_model")
    text = """
    model inner(n: int, k: int) {
      observed A : real[n, k];  observed y : real[n];  observed lam : real in nonnegative
      latent z : real[k] = 0
      energy fit = 1/2 * ||A @ z - y||^2
      regularizer sparse = lam * ||z||_1
    }
    model outer(n: int, k: int) {
      shared observed A : real[n, k];  observed y : real[n];  observed t : real[k]
      latent lam : real in nonnegative = 1
      solve inner as p with A = A, y = y, lam = lam
      energy e = ||p.z - t||^2
      infer lam
    }
    """
    model = ebmlang.loads(text)
    a, y, t, lam = (
        normal(6, 4),
        2 * normal(3, 6, seed=1),
        normal(3, 4, seed=2),
        torch.tensor([1.0, 2.0, 3.0]),
    )
    rows = []
    for row, weight in zip(y, lam, strict=True):
        lasso = linear_model.Lasso(alpha=float(weight) / 6, fit_intercept=False, tol=1e-14, max_iter=100_000)
        rows.append(lasso.fit(a.numpy(), row.numpy()).coef_)
    z = torch.from_numpy(np.stack(rows))
    assert bool((z == 0).any())
    assert bool((z != 0).any())
    lam = lam.double()
    torch.testing.assert_close(model.energy(A=a, y=y, t=t, lam=lam), ((z - t) ** 2).sum(-1))
    right_slopes(lambda a, y, lam: model.energy(A=a, y=y, t=t, lam=lam), a, y, lam)


def test_bounds_that_move() -> None:
    text = """
    model inner(k: int) {
      observed q : real[k];  observed top : real in positive
      latent z : real[k] in [-1, top]
      energy near = 1/2 * ||z - q||^2 + 1/2 * (sum(z))^2
    }
    model outer(k: int) {
      observed q : real[k]
      latent top : real in positive = 1
      solve inner as p with q = q, top = top
      energy e = sum(p.z ^ 3) + dot(p.z, q)
      infer top
    }
    """
    model = ebmlang.loads(text)
    q, top = 3 * normal(4, 5), torch.tensor([0.4, 0.5, 0.6, 0.7], dtype=F64)
    z = model.infer(q=q, top=top)["p.z"]
    assert bool((z == top[:, None]).any())
    assert bool((z == -1).any())
    right_slopes(lambda q, top: model.energy(q=q, top=top), q, top)


def test_projection_onto_the_simplex() -> None:
    text = """
    model inner(k: int) {
      observed q : real[k]
      latent z : real[k] in simplex
      energy near = 1/2 * ||z - q||^2
    }
    model outer(k: int) {
      observed q : real[k]
      latent t : real[k]
      solve inner as p with q = q
      energy e = ||p.z - t||^2
      infer t
    }
    """
    model = ebmlang.loads(text)
    q, t = normal(4, 5), normal(4, 5, seed=1)
    z = model.infer(q=q, t=t)["p.z"]
    torch.testing.assert_close(z.sum(-1), torch.ones(4, dtype=F64))
    assert bool((z == 0).any())
    right_slopes(lambda q: model.energy(q=q, t=t), q)


def test_an_open_domain() -> None:
    text = """
    model inner(k: int) {
      observed q : real[k] in positive
      latent z : real[k] in positive = 1
      energy e = sum(q * z - log(z)) + 1/2 * (sum(z))^2
    }
    model outer(k: int) {
      observed q : real[k] in positive
      latent t : real[k]
      solve inner as p with q = q
      energy e = ||p.z - t||^2
      infer t
    }
    """
    model = ebmlang.loads(text)
    q, t = normal(3, 4).exp(), normal(3, 4, seed=1)
    z = model.infer(q=q, t=t)["p.z"]
    torch.testing.assert_close(
        q - 1 / z + z.sum(-1, keepdim=True), torch.zeros(3, 4, dtype=F64), atol=1e-7, rtol=0
    )
    right_slopes(lambda q: model.energy(q=q, t=t), q)


def test_constraints_inside() -> None:
    """An equation, an inequality that presses and one that does not."""
    text = """
    model inner(k: int) {
      observed q : real[k];  observed amount : real;  observed cap : real
      latent z : real[k]
      energy near = 1/2 * ||z - q||^2 + 1/4 * sum(z ^ 4)
      subject to budget : sum(z) == amount
      subject to first : z[0] <= cap
      subject to far : z[1] <= 100
    }
    model outer(k: int) {
      observed q : real[k]
      latent amount : real;  latent cap : real
      solve inner as p with q = q, amount = amount, cap = cap
      energy e = sum(p.z ^ 3) + dot(p.z, q)
      infer amount, cap
    }
    """
    model = ebmlang.loads(text)
    q, amount, cap = normal(1, 3), normal(1, seed=1), torch.full((1,), -0.5, dtype=F64)
    z = model.infer(q=q, amount=amount, cap=cap)["p.z"]
    torch.testing.assert_close(z.sum(-1), amount)
    torch.testing.assert_close(z[:, 0], cap)
    right_slopes(lambda q, amount, cap: model.energy(q=q, amount=amount, cap=cap), q, amount, cap)


def test_in_a_plate() -> None:
    text = (
        SMOOTH
        + """
    model outer(n: int, C: int) {
      observed U : real[C, n];  shared observed ref : real[n]
      latent l : real[C]
      for c in 0..C {
        solve smooth as p[c] with u = U[c], w = exp(l[c])
        energy e[c] = ||p[c].s - ref||^2
      }
      solve smooth as once with u = ref, w = 0.5
      energy o = ||once.s||^2
      infer l
    }
    """
    )
    model = ebmlang.loads(text)
    u, ref, log = normal(2, 3, 3), normal(3, seed=1), normal(2, 3, seed=2) - 1
    found = model.infer(U=u, ref=ref, l=log)
    assert found["p.s"].shape == (2, 3, 3)
    assert found["once.s"].shape == (3,)
    alone = ebmlang.loads(SMOOTH)
    for c in range(3):
        expected = alone.infer(u=u[:, c], w=log[:, c].exp(), tol=1e-12)
        torch.testing.assert_close(found["p.s"][:, c], expected["s"])
    right_slopes(lambda u, ref, log: model.energy(U=u, ref=ref, l=log), u, ref, log)


def test_in_a_recurrence() -> None:
    """A layer that is a minimum, again and again; its parameters get gradients."""
    text = """
    model layer(d: int) {
      observed x : real[d]
      param W : real[d, d] = 0.3 * normal()
      latent z : real[d] in nonnegative
      energy fit = 1/2 * ||z - W @ x||^2 + 1/4 * sum(z ^ 4)
    }
    model deep(d: int, L: int = 3) {
      observed x : real[d];  observed t : real[d]
      latent s : real = 1
      for l in 0..L { part blk[l] = layer(d = d) }
      let h : real[L+1, d]
      let h[0] = x
      for l in 0..L {
        solve blk[l] as out[l] with x = h[l]
        let h[l+1] = h[l] + out[l].z
      }
      energy e = ||s * h[L] - t||^2
      infer s
    }
    """
    model = ebmlang.loads(text)
    x, t, s = normal(2, 4), normal(2, 4, seed=1), torch.ones(2, dtype=F64)
    found = model.infer(x=x, t=t)
    weights = model.value("blk.W")
    h = x
    for w in weights.detach():
        target = h @ w.T
        z = torch.zeros_like(h)
        for _ in range(100):
            z = (z - (z + z**3 - target) / (1 + 3 * z**2)).clamp(min=0)
        h = h + z
    torch.testing.assert_close(found["h"][:, -1], h)
    right_slopes(lambda x: model.energy(x=x, t=t, s=s), x)
    model.zero_grad()
    model.energy(x=x, t=t, s=s).sum().backward()
    assert weights.grad is not None
    step = 1e-6 * normal(*weights.shape, seed=5)
    ends = []
    for sign in (1, -1):
        with torch.no_grad():
            weights.copy_(weights + sign * step)
            ends.append(model.energy(x=x, t=t, s=s).sum())
            weights.copy_(weights - sign * step)
    torch.testing.assert_close((weights.grad * step).sum() * 2, ends[0] - ends[1], rtol=1e-5, atol=0)


def test_two_levels() -> None:
    """A minimum whose energy holds a minimum over what it seeks itself."""
    text = """
    model lowest(k: int) {
      observed a : real[k];  observed b : real
      latent z : real[k]
      energy e = 1/2 * ||z - a||^2 + 1/4 * b^2 * sum(z ^ 4)
    }
    model middle(k: int) {
      observed a : real[k];  observed c : real[k]
      latent b : real = 1
      solve lowest as low with a = a, b = b
      energy e = ||low.z - c||^2 + (b - 1)^2
    }
    model outer(k: int) {
      observed a : real[k];  observed c : real[k]
      latent g : real
      solve middle as mid with a = g * a, c = c
      energy e = (mid.b - 2)^2 + dot(mid.low.z, c)
      infer g
    }
    """
    model = ebmlang.loads(text)
    a, c, g = normal(2, 3), 0.5 * normal(2, 3, seed=1), torch.tensor([0.7, 1.2], dtype=F64)
    right_slopes(lambda a, c, g: model.energy(a=a, c=c, g=g), a, c, g)


def test_outer_unknown_against_a_grid() -> None:
    """The weight of a ridge regression that predicts other data best."""
    text = (
        RIDGE
        + """
    model tuned(n: int, m: int, k: int) {
      shared observed A : real[n, k];  shared observed y : real[n]
      shared observed B : real[m, k];  shared observed v : real[m]
      latent l : real = 0
      solve ridge as p with A = A, y = y, lam = exp(l)
      energy validation = 1/2 * ||B @ p.z - v||^2
      infer l
    }
    """
    )
    model = ebmlang.loads(text)
    truth = normal(6, seed=9)
    a, b = normal(10, 6), normal(30, 6, seed=1)
    y, v = a @ truth + 2 * normal(10, seed=2), b @ truth + 2 * normal(30, seed=3)
    found = model.infer(A=a, y=y, B=b, v=v)
    assert found.status[0].startswith("converged")
    grid = torch.linspace(-3, 5, 2001, dtype=F64)
    z = ridge(a.expand(2001, 10, 6), y.expand(2001, 10), grid.exp())
    losses = ((z @ b.T - v) ** 2).sum(-1) / 2
    best = int(losses.argmin())
    assert 0 < best < 2000
    assert abs(float(found["l"]) - float(grid[best])) < 0.005
    assert float(found.energy) <= float(losses[best]) + 1e-9


def test_countable_unknowns() -> None:
    """The nearest of some points: constant in the index, differentiable in the point."""
    text = """
    model nearest(m: int, k: int) {
      observed C : real[m, k];  observed x : real[k]
      latent c : class[m]
      energy e = ||C[c] - x||^2
      let centre = C[c]
    }
    model outer(m: int, k: int) {
      shared observed C : real[m, k];  observed x : real[k]
      latent s : real = 1
      solve nearest as p with C = C, x = x
      energy e = ||s * p.centre - x||^2
      infer s
    }
    """
    model = ebmlang.loads(text)
    centres, x = normal(4, 3), normal(6, 3, seed=1)
    found = model.infer(C=centres, x=x)
    index = torch.cdist(x, centres).argmin(-1)
    assert torch.equal(found["p.c"], index)
    torch.testing.assert_close(found["p.centre"], centres[index])
    right_slopes(lambda c, x: model.energy(C=c, x=x, s=torch.ones(6, dtype=F64)), centres, x)
