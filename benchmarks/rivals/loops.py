"""Loops that people write around an energy: autograd with Adam or with torch's L-BFGS."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def adam(energy: Callable[[Tensor], Tensor], start: Tensor, steps: int, lr: float) -> Any:
    """Adam, with a step that falls to 0 over the run (cosine)."""
    x = start.clone().requires_grad_()
    optimizer = torch.optim.Adam([x], lr=lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        optimizer.zero_grad()
        energy(x).backward()
        optimizer.step()
        schedule.step()
    return x.detach().numpy()


def lbfgs(energy: Callable[[Tensor], Tensor], start: Tensor, steps: int) -> Any:
    """`steps` iterations of torch.optim.LBFGS with a strong-Wolfe line search."""
    x = start.clone().requires_grad_()
    optimizer = torch.optim.LBFGS(
        [x],
        max_iter=steps,
        max_eval=4 * steps,
        tolerance_grad=0.0,
        tolerance_change=0.0,
        line_search_fn="strong_wolfe",
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = energy(x)
        value.backward()
        return value

    optimizer.step(closure)
    return x.detach().numpy()
