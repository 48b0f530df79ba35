"""The nets of a loaded model: modules registered in it, made once sizes are known."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from ebmlang.compiler import typed
from ebmlang.compiler.diagnostics import did_you_mean
from ebmlang.errors import DataError
from ebmlang.runtime.layers import Function
from ebmlang.runtime.nets import MakeModules, NetSpec, average_step, make_module, make_modules


@dataclass(slots=True, eq=False)
class OwnNets:
    """The modules of one model by net name.

    `register` makes a module part of the model under a name; `sizes` are those that each was made for;
    `preset` holds parameters from a file, by net and name, which modules take when they are made.
    """

    model: typed.Model
    seed: int
    register: Callable[[str, nn.Module], None]
    modules: dict[str, nn.Module] = field(default_factory=dict)
    sizes: dict[str, dict[str, int]] = field(default_factory=dict)
    preset: dict[str, dict[str, Any]] = field(default_factory=dict)

    def take(self, given: Mapping[str, Any]) -> None:
        """Register modules, or functions, for extern nets. Raises DataError."""
        for name, value in given.items():
            net = self.model.net(name)
            known = [n.name for n in self.model.nets]
            if net is None:
                hint = did_you_mean(name, known) or f"it has {', '.join(known) or 'none'}"
                raise DataError(f"the model declares no net `{name}`", hint)
            if not net.extern:
                raise DataError(
                    f"the net `{name}` has a constructor, and cannot be replaced",
                    f"declare it: extern net {name} : {net.signature}",
                )
            if not isinstance(value, nn.Module) and not callable(value):
                raise DataError(f"the net `{name}` is a {type(value).__name__}", "pass a torch.nn.Module")
            if net.at and not isinstance(value, nn.ModuleList):
                raise DataError(
                    f"the net `{name}` is declared in a plate, and is a {type(value).__name__}",
                    "pass a torch.nn.ModuleList, with a module for every position of the plate",
                )
            self._keep(name, value if isinstance(value, nn.Module) else Function(value))

    def _keep(self, name: str, module: nn.Module) -> None:
        self.modules[name] = module
        self.register(name, module)

    @property
    def ready(self) -> bool:
        """Whether every net is there."""
        return all(net.name in self.modules for net in self.model.nets)

    def maker(self, dtype: torch.dtype, device: torch.device) -> MakeModules:
        """Gives a question the modules; those that are not there yet are made in this precision."""

        def made(specs: tuple[NetSpec, ...], sizes: Mapping[str, int]) -> Mapping[str, nn.Module]:
            for spec in specs:
                if spec.name not in self.modules:
                    module = make_module(spec, sizes, self.seed, self.modules)
                    module = module.to(device, dtype)
                    self._filled(spec.name, module)
                    self._keep(spec.name, module)
                    plates = (name for size in spec.at for name in size.names())
                    self.sizes[spec.name] = {n: sizes[n] for n in (*spec.sizes, *plates)}
                self._same_sizes(spec, sizes)
            return self.modules

        return made

    def _same_sizes(self, spec: NetSpec, sizes: Mapping[str, int]) -> None:
        """A net belongs to the sizes that it was made for."""
        for name, made_for in self.sizes.get(spec.name, {}).items():
            if sizes[name] != made_for:
                raise DataError(
                    f"the net `{spec.name}` is made for {name} = {made_for}, and here {name} = {sizes[name]}",
                    "load the model again for other sizes",
                )

    def module(self, name: str) -> nn.Module:
        """A net by its declared name. Raises DataError."""
        if name in self.modules:
            return self.modules[name]
        known = [n.name for n in self.model.nets]
        if name in known:
            raise DataError(
                f"the net `{name}` does not exist yet: its sizes are not known",
                "load(..., n=64), model.bind(y=Y), or ask a question first",
            )
        hint = did_you_mean(name, known) or f"it has {', '.join(known) or 'none'}"
        raise DataError(f"the model has no net `{name}`", hint)

    def fresh(self) -> MakeModules:
        """Gives a question modules of its own, for sizes of its own; extern ones are those of the model."""
        extern = {net.name for net in self.model.nets if net.extern}
        return make_modules(self.seed, {n: m for n, m in self.modules.items() if n in extern})

    # --- parameters and files ---

    def parameters(self) -> list[tuple[str, nn.Parameter]]:
        """The parameters of the nets that are there, by net and name in it: `f.0.weight`."""
        return [(f"{n}.{k}", p) for n, m in self.modules.items() for k, p in m.named_parameters()]

    def state(self) -> dict[str, torch.Tensor]:
        """Parameters and buffers of the nets that are there, by the same names: what a file holds."""
        return {f"{n}.{k}": v for n, m in self.modules.items() for k, v in m.state_dict().items()}

    def split(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Keep what belongs to nets (`f.0.weight`), for now or for when they are made; return the rest."""
        rest: dict[str, Any] = {}
        found: dict[str, dict[str, Any]] = {}
        for key, value in values.items():
            name = next((n.name for n in self.model.nets if key.startswith(f"{n.name}.")), None)
            if name is not None:
                found.setdefault(name, {})[key[len(name) + 1 :]] = value
            else:
                rest[key] = value
        self.preset.update(found)
        for name in found:
            if name in self.modules:
                self._filled(name, self.modules[name])
        return rest

    def _filled(self, name: str, module: nn.Module) -> None:
        """Give a module the parameters of a file. Raises DataError where names or shapes differ."""
        values = self.preset.get(name)
        if values is None:
            return
        own = module.state_dict()
        for key in sorted(own.keys() | values.keys()):
            if key not in own or key not in values:
                lacks = "the net has none" if key not in own else "they lack it"
                raise DataError(
                    f"the parameters for the net `{name}` do not fit: `{name}.{key}`, and {lacks}",
                    f"the net has {', '.join(own)}",
                )
        for key in own:
            found, declared = tuple(torch.as_tensor(values[key]).shape), tuple(own[key].shape)
            if found != declared:
                raise DataError(
                    f"`{name}.{key}` has the shape {list(found)}, and the net needs {list(declared)}",
                    "check the sizes that were set",
                )
        module.load_state_dict({k: torch.as_tensor(v) for k, v in values.items()})

    # --- training ---

    @property
    def averages(self) -> bool:
        """Whether any net is the average of another one."""
        return any(net.source for net in self.model.nets)

    @property
    def computed_decays(self) -> tuple[str, ...]:
        """The variables that compute decays of averages."""
        return tuple(net.decay for net in self.model.nets if net.source and isinstance(net.decay, str))

    def after_step(self, decays: Mapping[str, float]) -> None:
        """Move every average a step towards its net. Raises DataError for a decay that is not there, or that
        is none."""
        for net in self.model.nets:
            if not net.source or net.name not in self.modules:
                continue
            decay = decays.get(net.decay) if isinstance(net.decay, str) else net.decay
            if decay is None:
                raise DataError(
                    f"the decay of the net `{net.name}` is computed, and its value is not known here",
                    f'model.after_step({{"{net.decay}": 0.99}})',
                )
            if not 0 <= decay <= 1:
                raise DataError(
                    f"the decay of the net `{net.name}` is {decay:g}", "it has to lie between 0 and 1"
                )
            average_step(self.modules[net.name], self.modules[net.source], decay)
