"""Parameters as an optimiser moves them: each one kept in its domain.

A parameter is its value. Within bounds on its entries a step is followed by the projection. On another closed
convex set the optimiser sees the gradient mapping (x - P(x - t g)) / t with the step size t (Nesterov 2018,
section 2.2.4), which is 0 exactly where x is stationary: an optimiser that scales entries each in its own way
would otherwise come to rest elsewhere. On a manifold it sees the part of the gradient along the manifold
(Absil, Mahony & Sepulchre 2008, section 3.6.1), and its step is brought back by the retraction. In an open
set, which has no border to stop at, the optimiser moves unconstrained coordinates and the gradient is taken
through the map from them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ebmlang.runtime.domain_base import Domain, Kind


@dataclass(frozen=True, slots=True, eq=False)
class Moved:
    """One parameter. `leaf` is what the optimiser moves: the parameter itself, or its coordinates. `domain`
    is None where every value is allowed; it sees [1, *shape]."""

    name: str
    parameter: nn.Parameter
    leaf: nn.Parameter
    domain: Domain | None


def moved(name: str, parameter: nn.Parameter, domain: Domain | None) -> Moved:
    """A parameter ready to be moved."""
    if domain is None or domain.kind is not Kind.OPEN:
        return Moved(name, parameter, parameter, domain)
    with torch.no_grad():
        leaf = nn.Parameter(domain.coordinates(parameter.detach()[None])[0].clone())
    return Moved(name, parameter, leaf, domain)


def take_gradient(one: Moved, pace: float) -> None:
    """The gradient of the parameter, as the optimiser is to see it, in `leaf.grad`, contiguous. `pace` is the
    step size of the optimiser."""
    if one.parameter.grad is not None:
        if one.domain is not None:
            _along(one, one.domain, pace)
        if one.leaf.grad is not None and not one.leaf.grad.is_contiguous():
            one.leaf.grad = one.leaf.grad.contiguous()


def _along(one: Moved, domain: Domain, pace: float) -> None:
    """Replace the gradient by what the domain leaves of it."""
    parameter = one.parameter
    assert parameter.grad is not None
    if domain.kind is Kind.MANIFOLD:
        with torch.no_grad():
            parameter.grad = domain.tangent(parameter[None], parameter.grad[None])[0]
    elif domain.kind is Kind.CONVEX:
        with torch.no_grad():
            ahead = domain.nearest((parameter - pace * parameter.grad)[None])[0]
            parameter.grad = (parameter - ahead) / pace
    elif domain.kind is Kind.OPEN:
        with torch.enable_grad():
            at = one.leaf.detach().requires_grad_()
            (found,) = torch.autograd.grad(domain.value(at[None]), at, parameter.grad[None])
        one.leaf.grad = found


@torch.no_grad()
def settle(one: Moved, before: Tensor) -> None:
    """Bring a parameter back into its domain after a step from the value `before`."""
    domain, parameter = one.domain, one.parameter
    if domain is None or domain.kind is Kind.LINEAR:
        return
    if domain.kind is Kind.MANIFOLD:
        parameter.copy_(domain.retract(before[None], (parameter - before)[None])[0])
    elif domain.kind is Kind.OPEN:
        parameter.copy_(domain.value(one.leaf[None])[0])
    else:
        parameter.copy_(domain.nearest(parameter[None])[0])


@torch.no_grad()
def gradient_squares(leaves: Sequence[Tensor]) -> Tensor:
    """Of the gradient of each leaf the sum of squares and the number of entries, float64 [n, 2]; NaN where
    there is no gradient."""
    found = torch.full((len(leaves), 2), torch.nan, dtype=torch.float64)
    there = [(k, leaf.grad) for k, leaf in enumerate(leaves) if leaf.grad is not None]
    if there:
        norms = torch.stack(torch._foreach_norm([grad for _, grad in there])).double().cpu()
        counts = torch.tensor([grad.numel() for _, grad in there], dtype=torch.float64)
        found[[k for k, _ in there]] = torch.stack((norms.square(), counts), 1)
    return found


def gradient_norm(all_of_them: Sequence[Moved]) -> Tensor:
    """The Euclidean norm of all gradients together, []."""
    grads = [m.leaf.grad for m in all_of_them if m.leaf.grad is not None]
    if not grads:
        return torch.zeros(())
    norms = torch._foreach_norm(grads)
    if len(norms) == 1:
        return norms[0]
    total: Tensor = torch.linalg.vector_norm(torch.stack(norms))
    return total
