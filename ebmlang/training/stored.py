"""What a checkpoint has of a run, and a run put where a checkpoint left it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ebmlang.runtime.training.pieces import Divided
from ebmlang.runtime.training.stored import Checkpoint, random_states, restore_random_states
from ebmlang.training.fitting import Fitting


def checkpoint_of(fitting: Fitting, identity: Mapping[str, Any]) -> Checkpoint:
    """The run as it is now, `identity` telling which one it is."""
    run, held = fitting.run, fitting.held()
    validation = fitting.validation.state() if fitting.validation is not None else None
    if validation is not None:
        validation["kept"] = _divided(fitting, validation["kept"])
    stored = _divided(fitting, held)
    trainer = {
        "players": [p.state() for p in run.players],
        "validation": validation,
        "random": random_states(fitting.bound.settings.device),
        "divided": {n: v for n, v in stored.items() if isinstance(v, Divided)},
    }
    whole = {n: v for n, v in stored.items() if not isinstance(v, Divided)}
    return Checkpoint(run.done, {"identity": identity, "seconds": run.elapsed()}, whole, trainer)


@torch.no_grad()
def restore(fitting: Fitting, found: Checkpoint) -> None:
    """Put a run where a checkpoint left it, whatever the number of processes was. Raises OSError."""
    run, shards = fitting.run, fitting.shards
    found = found.filled(shards.mesh if shards is not None else None)
    values = {**found.parameters, **found.trainer["divided"]}
    for name, value in fitting.held().items():
        value.copy_(_own(fitting, name, values[name]))
    for player, state in zip(run.players, found.trainer["players"], strict=True):
        player.restore(state)
    if fitting.validation is not None:
        state = found.trainer["validation"]
        kept = {n: _own(fitting, n, v) for n, v in state["kept"].items()}
        fitting.validation.restore({**state, "kept": kept})
        fitting.stop_if_enough(found.step)
    restore_random_states(found.trainer["random"], fitting.bound.settings.device)
    run.done, run.seconds = found.step, found.facts["seconds"]


def _divided(fitting: Fitting, tensors: Mapping[str, Tensor]) -> dict[str, Tensor | Divided]:
    """Values of tensors of the model as a checkpoint is to hold them."""
    shards, held = fitting.shards, fitting.held()
    if shards is None:
        return dict(tensors)
    return {n: shards.divided(held[n], v) if shards.has(held[n]) else v for n, v in tensors.items()}


def _own(fitting: Fitting, name: str, value: Tensor) -> Tensor:
    """What this process holds of a value of a tensor of the model."""
    shards = fitting.shards
    if shards is None:
        return value
    leaf = fitting.held()[name]
    return shards.piece(leaf, value) if shards.has(leaf) else value
