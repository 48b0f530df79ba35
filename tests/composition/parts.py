"""Parts that the tests of nested searches share."""

from __future__ import annotations

import torch
from torch import Tensor

RIDGE = """
model ridge(n: int, k: int) {
  observed A : real[n, k]
  observed y : real[n]
  observed lam : real in positive
  latent z : real[k]
  energy fit = 1/2 * ||A @ z - y||^2
  regularizer small = lam / 2 * ||z||^2
  let guess = A @ z
}
"""


SMOOTH = """
model smooth(n: int) {
  observed u : real[n];  observed w : real in positive
  latent s : real[n]
  energy near = 1/2 * ||s - u||^2
  for i in 0..n-1 { regularizer bend[i] = w * (1 - exp(-(s[i+1] - s[i])^2)) }
}
"""


def ridge(a: Tensor, y: Tensor, lam: Tensor) -> Tensor:
    """The minimum by its normal equations, rows of a, y and lam together."""
    eye = torch.eye(a.shape[-1], dtype=torch.float64)
    z: Tensor = torch.linalg.solve(a.mT @ a + lam[..., None, None] * eye, (a.mT @ y[..., None]))[..., 0]
    return z
