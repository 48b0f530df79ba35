"""Derivatives of nets inside of energies, by automatic differentiation."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ebmlang.runtime.leads import joined
from ebmlang.runtime.nets import Net, NetAt
from ebmlang.runtime.pullbacks import plain_stack, pulled_back


def of_net(
    net: Net | NetAt,
    inputs: Sequence[Tensor],
    arguments: Sequence[Tensor],
    along: Sequence[int],
    free: int,
    output: int = 0,
) -> Tensor:
    """A derivative of a net f: the gradient, in one argument, of s(x, v, w1, ..., wk), which is the
    derivative of <v, f(x)> along the directions w1, ..., wk.

    inputs: x, each [*lead, *declared shape]; leading dimensions broadcast. arguments: v, shaped like the
    result number `output` of the net, and the directions, shaped like the inputs that `along` counts; the
    one that `free` counts is left out. `free` counts x, v, w1, ..., wk from 0.

    Positions of the leading dimensions do not meet: each has a gradient of its own, [*lead, *shape of the
    free argument]. Where gradients are recorded it can be differentiated, in the parameters of the net too.
    """
    recording = torch.is_grad_enabled()
    if not (recording or along or free):
        found = _by_layers(net, inputs[0], arguments[0])
        if found is not None:
            return found
    own = net.net if isinstance(net, NetAt) else net
    shapes = [*own.inputs, own.outputs[output], *(own.inputs[i] for i in along)]
    count, missing = len(own.inputs), free >= len(own.inputs)
    owners = [n for n in range(len(shapes)) if not (missing and n == free)]
    pairs = [(value, shapes[n]) for value, n in zip((*inputs, *arguments), owners, strict=True)]
    at = net.index.shape if isinstance(net, NetAt) and isinstance(net.index, Tensor) else torch.Size()
    lead = joined(at, *(v.shape[: v.ndim - len(s)] for v, s in pairs))
    values = [v.expand(*lead, *s) for v, s in pairs]
    with torch.enable_grad():
        xs = [_followed(x) for x in values[:count]]
        rest = values[count:]
        if missing:
            rest.insert(free - count, xs[0].new_zeros((*lead, *shapes[free])).requires_grad_())
        found = net(*xs)
        total = (rest[0] * (found if len(own.outputs) == 1 else found[output])).sum()
        for i, direction in zip(along, rest[1:], strict=True):
            total = (_gradient(total, xs[i], True) * direction).sum()
        return _gradient(total, rest[free - count] if missing else xs[free], recording)


def _by_layers(net: Net | NetAt, x: Tensor, weights: Tensor) -> Tensor | None:
    """The gradient in the only input of a plain stack of layers, where the net takes it as it is."""
    if isinstance(net, NetAt) or net.tap is not None or not net.takes(x):
        return None
    layers = plain_stack(net.module)
    if layers is None:
        return None
    weights = weights if net.outputs[0] else weights[..., None]
    return pulled_back(layers, x, weights).expand(x.shape)


def _followed(x: Tensor) -> Tensor:
    """The same values as a node of its own, so that a gradient in them counts this use alone."""
    if not x.is_floating_point():
        return x
    return x.view_as(x) if x.requires_grad else x.detach().requires_grad_()


def _gradient(total: Tensor, x: Tensor, recorded: bool) -> Tensor:
    if not total.requires_grad:
        return torch.zeros_like(x)
    found: Tensor = torch.autograd.grad(
        total, x, create_graph=recorded, retain_graph=True, materialize_grads=True, allow_unused=True
    )[0]
    return found
