"""What is minimised where rows are one problem, against its closed form."""

from __future__ import annotations

import torch

import ebmlang

F64 = torch.float64


def test_terms_that_no_row_enters_count_once() -> None:
    text = """
model whole(n: int) {
  observed y : real[n]
  latent   z : real[n]
  latent   b : real[n] per batch
  energy near = ||y - z - b||^2
  energy own = ||z||^2
  energy size = 3 * ||b||^2
  batch energy centre = 2 * ||mean(z, over = batch)||^2
  infer z, b
}
"""
    y = torch.randn(5, 2, dtype=F64, generator=torch.Generator().manual_seed(0))
    r = ebmlang.loads(text).infer(y=y)
    z, b = r["z"].detach().requires_grad_(), r["b"].detach().requires_grad_()
    total = (y - z - b).square().sum() + z.square().sum() + 3 * b.square().sum()
    total = total + 2 * z.mean(0).square().sum()
    for slope in torch.autograd.grad(total, (z, b)):
        assert slope.abs().max() < 1e-8
    row = (y - z - b).square().sum(-1) + z.square().sum(-1) + 3 * b.square().sum()
    torch.testing.assert_close(r.energy, row + 2 * z.mean(0).square().sum())
