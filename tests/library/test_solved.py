"""Components behind `solve`: their minimum as a value, and its gradients."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

import ebmlang
from tests.library.parts import normal

CODES = """import std.sparse_coding

model task(n: int, k: int) {
  observed x : real[n]
  observed t : real
  param A : real[n, n] = identity(n)
  param D : real[n, k] in unit_columns = normal()
  param w : real[k] = normal()
  solve sparse_coding(lam = 0.2) as code with y = A @ x, D = D
  energy fit = (t - dot(w, code.z))^2
}
"""


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["double", "single"])
def test_task_driven_dictionary(dtype: torch.dtype) -> None:
    """Codes of a task (Mairal, Bach and Ponce 2012): on its support a code is linear in the signal."""
    x, t = torch.from_numpy(normal(4, 5)).to(dtype), torch.from_numpy(normal(4, seed=1)).to(dtype)
    m = ebmlang.loads(CODES, k=8).bind(x=x, t=t)
    loss = m(x=x, t=t)
    A, D, w = (m.value(name) for name in "ADw")
    ours = torch.autograd.grad(loss, (A, D, w))
    with torch.no_grad():
        codes = _codes((x @ A.T).double(), D.double())
    wide = [p.detach().double().requires_grad_() for p in (A, D, w)]
    errors = []
    for row, code in enumerate(codes):
        on = code != 0
        own = wide[1][:, on]
        z = torch.linalg.solve(own.T @ own, own.T @ (wide[0] @ x[row].double()) - 0.2 * code[on].sign())
        torch.testing.assert_close(z.detach(), code[on], atol=1e-7, rtol=0)
        errors.append((t[row].double() - wide[2][on] @ z) ** 2)
    want = torch.stack(errors).mean()
    close = 1e-8 if dtype == torch.float64 else 1e-5
    assert float(loss.detach()) == pytest.approx(float(want.detach()), rel=close)
    for a, b in zip(ours, torch.autograd.grad(want, wide), strict=True):
        torch.testing.assert_close(a.double(), b, atol=close * 10, rtol=close * 10)


def _codes(y: Tensor, D: Tensor) -> Tensor:
    """Plain iterative soft thresholding, to the last digits."""
    step = 1 / torch.linalg.matrix_norm(D, 2) ** 2
    z = torch.zeros(len(y), D.shape[1], dtype=D.dtype)
    for _ in range(20_000):
        z = torch.nn.functional.softshrink(z + step * (y - z @ D.T) @ D, float(0.2 * step))
    return z


SUBSPACE = """import std.pca

model nearest(n: int, k: int) {
  observed x : real[n]
  param A : real[n, n] = normal()
  param W : real[n, k] in stiefel
  param c : real[n] = normal()
  solve pca as flat with y = A @ x, W = W, centre = c
  energy apart = ||A @ x - flat.reconstructed||^2
}
"""


def test_distance_from_a_subspace() -> None:
    x = torch.from_numpy(normal(3, 4))
    m = ebmlang.loads(SUBSPACE, k=2).bind(x=x)
    A, W, c = (m.value(name) for name in "AWc")
    gap = x @ A.T - c
    want = (gap - gap @ W @ W.T).square().sum(1).mean()
    loss = m(x=x)
    assert float(loss.detach()) == pytest.approx(float(want.detach()), rel=1e-10)
    for a, b in zip(torch.autograd.grad(loss, (A, c)), torch.autograd.grad(want, (A, c)), strict=True):
        torch.testing.assert_close(a, b, atol=1e-9, rtol=1e-9)


CAUSES = """import std.predictive_coding

model belief(n: int) {
  observed x : real[n]
  param A : real[n, n] = identity(n)
  solve predictive_coding(k = 3, k_above = 2, alpha = 0.2) as mind with x = A @ x
  energy size = ||mind.r||^2 + sum(mind.r_above)
}
"""


def test_causes_move_with_the_stimulus() -> None:
    """The gradient through a minimum of no closed form, against finite differences."""
    x = torch.from_numpy(normal(2, 4))
    m = ebmlang.loads(CAUSES).bind(x=x)
    with torch.no_grad():
        m.value("mind.U").mul_(8)
        m.value("mind.U_above").mul_(8)
    A = m.value("A")
    (ours,) = torch.autograd.grad(m(x=x), A)
    direction = torch.from_numpy(normal(4, 4, seed=3))
    values = []
    for step in (1e-5, -1e-5):
        with torch.no_grad():
            A.add_(step * direction)
            values.append(float(m(x=x)))
            A.sub_(step * direction)
    slope = (values[0] - values[1]) / 2e-5
    assert abs(slope) > 1e-3
    np.testing.assert_allclose(float((ours * direction).sum()), slope, rtol=1e-5)
