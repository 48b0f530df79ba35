"""Derivatives of plain stacks of layers along their input, layer by layer.

Automatic differentiation builds a graph and walks it; here the layers hand a slope down themselves, which
takes half of the time where a net is small. The layers behind the last one that bends are not even passed:
their slope does not depend on what comes in.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

Back = Callable[[Any, Tensor, Tensor], Tensor]
"""(layer, what it needs, slope along its result) to the slope along its input."""


@dataclass(frozen=True, slots=True)
class Pullback:
    """How a layer hands a slope down, and what it has to know for that: its input, its result, or nothing."""

    layer: type[nn.Module]
    needs: Literal["input", "result", "nothing"]
    back: Back


_BACKWARD = torch.ops.aten

PULLBACKS: tuple[Pullback, ...] = (
    Pullback(nn.Linear, "nothing", lambda own, _, slope: slope @ own.weight),
    Pullback(nn.Tanh, "result", lambda own, y, slope: _BACKWARD.tanh_backward(slope, y)),
    Pullback(nn.Sigmoid, "result", lambda own, y, slope: _BACKWARD.sigmoid_backward(slope, y)),
    Pullback(nn.ReLU, "result", lambda own, y, slope: _BACKWARD.threshold_backward(slope, y, 0)),
    Pullback(nn.SiLU, "input", lambda own, x, slope: _BACKWARD.silu_backward(slope, x)),
    Pullback(
        nn.GELU, "input",
        lambda own, x, slope: _BACKWARD.gelu_backward(slope, x, approximate=own.approximate),
    ),
    Pullback(
        nn.Softplus, "input",
        lambda own, x, slope: _BACKWARD.softplus_backward(slope, x, own.beta, own.threshold),
    ),
    Pullback(
        nn.LeakyReLU, "input",
        lambda own, x, slope: _BACKWARD.leaky_relu_backward(slope, x, own.negative_slope, False),
    ),
    Pullback(
        nn.ELU, "input",
        lambda own, x, slope: _BACKWARD.elu_backward(slope, own.alpha, 1.0, 1.0, False, x),
    ),
)  # fmt: skip
"""The layers of which this is known."""

_BY_LAYER = {row.layer: row for row in PULLBACKS}


def plain_stack(module: nn.Module) -> Sequence[nn.Module] | None:
    """The layers of a stack of which every one is known and nobody listens; None of anything else."""
    if type(module) is not nn.Sequential or _heard(module):
        return None
    layers = list(module)
    return None if any(type(own) not in _BY_LAYER or _heard(own) for own in layers) else layers


def _heard(module: nn.Module) -> bool:
    """Whether a hook hears of calls, or changes what they do."""
    return bool(
        module._forward_hooks
        or module._forward_pre_hooks
        or module._backward_hooks
        or module._backward_pre_hooks
    )


def pulled_back(layers: Sequence[nn.Module], x: Tensor, slope: Tensor) -> Tensor:
    """The gradient of sum(slope * f(x)) in x, for the stack f: x [..., n] -> [..., n]. It is not recorded.

    `slope` [..., m] broadcasts to the result of f, and may do so as long as it is the same for all rows; what
    is found broadcasts to x.
    """
    rows = [_BY_LAYER[type(layer)] for layer in layers]
    bends = [k for k, row in enumerate(rows) if row.needs != "nothing"]
    kept: list[Tensor] = []
    with torch.no_grad():
        for k in range(bends[-1] + 1 if bends else 0):
            if rows[k].needs == "input":
                kept.append(x)
                if k == bends[-1]:
                    break
            x = layers[k](x)
            if rows[k].needs == "result":
                kept.append(x)
        for layer, row in zip(reversed(layers), reversed(rows), strict=True):
            slope = row.back(layer, slope if row.needs == "nothing" else kept.pop(), slope)
    return slope
