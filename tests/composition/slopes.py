"""Gradients of energies with nested minima against finite differences."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def right_slopes(energy: Callable[..., Tensor], *inputs: Tensor) -> None:
    """The gradients of an energy equal finite differences."""
    leaves = tuple(x.clone().requires_grad_() for x in inputs)
    assert torch.autograd.gradcheck(energy, leaves, eps=1e-6, atol=1e-6, rtol=1e-5)
