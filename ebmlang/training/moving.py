"""The parameters that a line moves, each in its domain before the first step."""

from __future__ import annotations

import torch
from torch import nn

from ebmlang.errors import DataError
from ebmlang.runtime.bind import Bound, domain_of
from ebmlang.runtime.domain_base import Domain, Kind
from ebmlang.runtime.simplexes import OpenSimplex, Simplex
from ebmlang.runtime.training.moved import Moved, moved
from ebmlang.training.lines import Posed


def trained(posed: Posed, bound: Bound) -> tuple[Moved, ...]:
    """The parameters that a run moves, by name, with the domains they are kept in.

    A name with dots belongs to what is named before the first dot that is a target: a net or a part.
    """
    declared = {id(p): name for name, p in posed.model.declared_parameters().items()}
    within = {id(p): name for name, p in posed.model.nets.parameters()}
    found = []
    for path, parameter in posed.model.named_parameters():
        name = declared.get(id(parameter)) or within.get(id(parameter), path)
        frozen = id(parameter) in within and not parameter.requires_grad  # a part of a net from outside
        if _belongs(name, posed.loss.targets) and not frozen:
            spec = bound.specs.get(name)
            domain = None if spec is None or spec.domain == "reals" else domain_of(bound, spec)
            if isinstance(domain, Simplex) and name in posed.loss.interior:
                domain = OpenSimplex(domain.where)
            found.append(moved(name, _inside(name, _leaf(name, parameter), domain), domain))
    for name in posed.loss.targets:
        if not any(_belongs(one.name, (name,)) for one in found):
            raise DataError(
                f"there is nothing to move in the net `{name}`: no parameter of it asks for a gradient",
                f"{name}.requires_grad_(True), or train the others by name",
            )
    return tuple(found)


def _belongs(name: str, targets: tuple[str, ...]) -> bool:
    return any(name == t or name.startswith(f"{t}.") for t in targets)


def _leaf(name: str, parameter: nn.Parameter) -> nn.Parameter:
    if not parameter.requires_grad:
        raise DataError(
            f"the parameter `{name}` is frozen: requires_grad is False", "train the others by name"
        )
    return parameter


@torch.no_grad()
def _inside(name: str, parameter: nn.Parameter, domain: Domain | None) -> nn.Parameter:
    """The parameter, brought into its domain where somebody has moved it out. Raises DataError for NaN, and
    outside of an open set, which has no nearest point."""
    if not bool(torch.isfinite(parameter).all()):
        raise DataError(f"the parameter `{name}` is not finite", "load the model anew")
    if domain is None:
        return parameter
    slack = 1e-9 if parameter.dtype == torch.float64 else 1e-5
    if bool(domain.inside(parameter[None], slack).all()):
        return parameter
    if domain.kind is Kind.OPEN:
        raise DataError(f"the parameter `{name}` is not {domain.describe()}", "set it to a value that is")
    parameter.copy_(domain.nearest(parameter[None])[0])
    return parameter
