"""The parameters of a loaded model: registered in it by their declared names, made once sizes are known."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import nn

from ebmlang.compiler import typed
from ebmlang.compiler.diagnostics import did_you_mean
from ebmlang.errors import DataError
from ebmlang.runtime.bind import Bound, domain_of
from ebmlang.runtime.domain_base import Domain
from ebmlang.runtime.parameters import start_parameters


@dataclass(frozen=True, slots=True, eq=False)
class Places:
    """Where the parameters and nets of a model are registered in its module.

    `taken` tells the names that the module uses itself.
    """

    root: nn.Module
    taken: Callable[[str], bool]

    def path(self, name: str) -> tuple[str, ...]:
        """A declared name as names of submodules. Those of a part, `p.W`, are in a submodule of its name."""
        return tuple(f"param_{n}" if self.taken(n) else n for n in name.split("."))

    def make(self, name: str) -> tuple[nn.Module, str]:
        """The module that a parameter or a net of this name belongs to, and its name there."""
        *parts, last = self.path(name)
        owner = self.root
        for part in parts:
            if part not in owner._modules:
                owner.add_module(part, nn.Module())
            owner = owner.get_submodule(part)
        return owner, last


@dataclass(slots=True, eq=False)
class OwnParameters:
    """The parameters of one model by declared name.

    `preset` holds values that they take instead of their declared start; `ready` says whether they were made.
    """

    model: typed.Model
    seed: int
    places: Places
    preset: dict[str, Any] = field(default_factory=dict)
    domains: dict[str, Domain] = field(default_factory=dict)
    ready: bool = False
    _paths: tuple[tuple[str, tuple[str, ...]], ...] = field(init=False)

    def __post_init__(self) -> None:
        self._paths = tuple((name, self.places.path(name)) for name in self.names)

    @property
    def names(self) -> list[str]:
        """The declared ones, whether they are made or not."""
        return [v.name for v in self.model.variables if v.role == "param"]

    def all(self) -> list[tuple[str, nn.Parameter]]:
        """Those that exist, by declared name."""
        # Looked up by name: going through all modules would cost as much as a small net, at every step.
        found = [(name, self._at(path)) for name, path in self._paths]
        return [(name, p) for name, p in found if p is not None]

    def _at(self, path: tuple[str, ...]) -> nn.Parameter | None:
        owner: nn.Module | None = self.places.root
        for part in path[:-1]:
            owner = owner._modules.get(part) if owner is not None else None
        return owner._parameters.get(path[-1]) if owner is not None else None

    def beside(self, given: Mapping[str, Any], sought: frozenset[str]) -> dict[str, Any]:
        """What is given, and the parameters that are neither given nor sought."""
        preset = {} if self.ready else self.preset
        values = {**{n: v for n, v in preset.items() if n not in sought}, **given}
        for name, parameter in self.all():
            if name not in values and name not in sought:
                values[name] = parameter
        return values

    def made(self, bound: Bound, given: Mapping[str, Any], sought: frozenset[str]) -> Bound:
        """Make them for a question that is bound; the same question with them in it."""
        self.make(bound)
        held = dict(bound.values)
        for name, parameter in self.all():
            if name not in given and name not in sought:  # preset ones too: gradients reach them
                held[name] = parameter.to(bound.settings.device, bound.settings.dtype)
        return replace(bound, values=held)

    def make(self, bound: Bound) -> None:
        """Draw the start of every parameter once; sizes are known now."""
        for name, value in start_parameters(bound, self.seed).items():
            owner, last = self.places.make(name)
            moves = name not in self.model.programme.states  # a state is never differentiated
            owner.register_parameter(last, nn.Parameter(value, requires_grad=moves))
            self.domains[name] = domain_of(bound, bound.specs[name])
        self.ready = True

    def take(self, values: Mapping[str, Any]) -> None:
        """Values that they take, now or when they are made. Raises DataError for a name without parameter."""
        known = self.names
        for name in values:
            if name not in known:
                raise DataError(
                    f"the model has no parameter `{name}`",
                    did_you_mean(name, known) or f"it has {', '.join(known) or 'none'}",
                )
        self.preset = dict(values)
        if self.ready:
            for name, parameter in self.all():
                if name in self.preset:
                    parameter.data.copy_(torch.as_tensor(self.preset[name]))

    def value(self, name: str) -> nn.Parameter:
        """One of them. Raises DataError."""
        for own, parameter in self.all():
            if own == name:
                return parameter
        known = self.names
        if name in known:
            raise DataError(
                f"the parameter `{name}` does not exist yet: its size is not known",
                "load(..., n=64) or model.bind(y=Y)",
            )
        raise DataError(
            f"the model has no parameter `{name}`",
            did_you_mean(name, known) or f"it has {', '.join(known) or 'none'}",
        )

    @torch.no_grad()
    def project(self) -> None:
        """Bring every one back to the nearest point of its domain."""
        for name, parameter in self.all():
            domain = self.domains[name].to(parameter.dtype, parameter.device)
            parameter.copy_(domain.nearest(parameter[None])[0])
