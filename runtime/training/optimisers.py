"""Optimisers of torch by name, for the leaves of one line."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from inspect import unwrap
from typing import Any

import torch
from torch import Tensor

from ebmlang.errors import DataError

_FUSED = ("Adam", "AdamW", "SGD", "Adagrad")
"""Optimisers that torch has in one pass over each parameter, the same up to rounding."""

_WRAPPED = ("add_param_group", "state_dict", "load_state_dict")
"""Methods of optimisers that torch keeps from being compiled."""

_OF_THE_REST = ("lr", "weight_decay")
"""Options of muon that also those parameters follow that are no matrices."""


@dataclass(slots=True)
class Together:
    """Several optimisers that take one step together, each over leaves of its own."""

    members: Sequence[Any]

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        return [group for one in self.members for group in one.param_groups]

    def step(self, look: Callable[[], Tensor]) -> Tensor:
        """One look for all of them."""
        loss = look()
        for one in self.members:
            one.step()
        return loss

    def state_dict(self) -> dict[str, Any]:
        return {"members": [one.state_dict() for one in self.members]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        for one, own in zip(self.members, state["members"], strict=True):
            one.load_state_dict(own)


def make_optimiser(implementation: str, options: Mapping[str, Any], leaves: Sequence[Tensor]) -> Any:
    """An optimiser of `torch.optim` by the name of its class. Raises DataError where this torch has it
    not."""
    found = getattr(torch.optim, implementation, None)
    if found is None:
        raise DataError(f"torch {torch.__version__} has no {implementation}", "using adamw")
    kind = _eager(found)
    if implementation == "LBFGS":
        return kind(leaves, line_search_fn="strong_wolfe", **options)
    if implementation == "Muon":
        return _muon(kind, options, leaves)
    # The fused ones walk memory, so they need parameters and gradients that lie alike.
    plain = all(p.is_contiguous() and p.dtype in (torch.float32, torch.float64) for p in leaves)
    if implementation in _FUSED and plain and all(p.device.type in ("cpu", "cuda") for p in leaves):
        return kind(leaves, fused=True, **options)
    return kind(leaves, **options)


@lru_cache
def _eager(kind: type[torch.optim.Optimizer]) -> Any:
    """The optimiser without what torch wraps around its methods for `torch.compile` and profiles: the first
    call of such a method imports the compiler, which takes as long as torch itself."""
    bare_step = unwrap(kind.step)

    def step(self: torch.optim.Optimizer, look: Callable[[], Tensor] | None = None) -> Any:
        with torch.no_grad():
            return bare_step(self, look)

    # The constructor wraps every step that does not carry this mark.
    setattr(step, "hooked", True)  # noqa: B010
    bare = {name: unwrap(getattr(kind, name)) for name in _WRAPPED}
    return type(kind.__name__, (kind,), {**bare, "step": step})


def _muon(kind: Any, options: Mapping[str, Any], leaves: Sequence[Tensor]) -> Any:
    """Muon moves matrices; everything else goes by AdamW, whose steps have the size that Muon's are scaled
    to."""
    matrices = [p for p in leaves if p.ndim == 2]
    others = [p for p in leaves if p.ndim != 2]
    members = []
    if matrices:
        members.append(kind(matrices, adjust_lr_fn="match_rms_adamw", **options))
    if others:
        shared = {name: options[name] for name in _OF_THE_REST if name in options}
        members.append(make_optimiser("AdamW", shared, others))
    return Together(members)
