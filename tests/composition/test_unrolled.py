"""`solve ... using unroll(...)`: steps that are differentiated, against steps by hand."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import ebmlang
from tests.composition.parts import RIDGE, ridge
from tests.composition.slopes import right_slopes
from tests.draws import normal

F64 = torch.float64


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_steps_that_are_differentiated(dtype: torch.dtype) -> None:
    text = """
    model inner(k: int) {
      observed q : real[k];  observed lam : real in nonnegative
      latent z : real[k] = 0
      energy near = 1/2 * ||z - q||^2 + sum(z ^ 4)
      regularizer sparse = lam * ||z||_1
    }
    model outer(k: int) {
      observed q : real[k]
      latent lam : real in nonnegative
      solve inner as p with q = q, lam = lam using unroll(steps = 5, step = 0.1, through = 3)
      energy e = ||p.z||^2 + dot(q, p.z)
      infer lam
    }
    """
    model = ebmlang.loads(text)
    q, lam = normal(3, 4).to(dtype), torch.tensor([0.1, 0.2, 0.3], dtype=dtype)

    def expected(q: Tensor, lam: Tensor) -> Tensor:
        z = torch.zeros_like(q)
        for k in range(5):
            z = z - 0.1 * (z - q + 4 * z**3)
            z = z.sign() * (z.abs() - 0.1 * lam[:, None]).clamp(min=0)
            z = z.detach() if k < 2 else z
        return (z**2).sum(-1) + (q * z).sum(-1)

    leaves = [q.requires_grad_(), lam.requires_grad_()]
    found = model.energy(q=q, lam=lam)
    assert found.dtype == dtype
    torch.testing.assert_close(found, expected(q, lam))
    torch.testing.assert_close(
        torch.autograd.grad(found.sum(), leaves), torch.autograd.grad(expected(q, lam).sum(), leaves)
    )


def test_many_steps_end_at_the_minimum() -> None:
    text = (
        RIDGE
        + """
    model outer(n: int, k: int) {
      shared observed A : real[n, k];  observed y : real[n]
      latent l : real
      solve ridge as p with A = A, y = y, lam = exp(l) using unroll(steps = 400)
      energy e = sum(p.z ^ 2)
      infer l
    }
    """
    )
    a, y, log = normal(8, 3), normal(2, 8, seed=1), torch.zeros(2, dtype=F64, requires_grad=True)
    found = ebmlang.loads(text).energy(A=a, y=y, l=log)
    expected = ridge(a.expand(2, 8, 3), y, log.exp()).square().sum(-1)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(
        torch.autograd.grad(found.sum(), log), torch.autograd.grad(expected.sum(), log)
    )


def test_the_length_of_steps_is_differentiated() -> None:
    text = (
        RIDGE.replace("latent z : real[k]", "latent z : real[k] = A.T @ y")
        + """
    model outer(n: int, k: int) {
      shared observed A : real[n, k];  observed y : real[n]
      latent l : real
      solve ridge as p with A = A, y = y, lam = exp(l) using unroll(steps = 3)
      energy e = sum(p.z ^ 2)
      infer l
    }
    """
    )
    model = ebmlang.loads(text)
    a, y, log = normal(3, 2), normal(1, 3, seed=1), normal(1, seed=2)
    right_slopes(lambda a, y, log: model.energy(A=a, y=y, l=log), a, y, log)
