"""Nested values as tensors and plain JSON, and checkpoints of them on disk: whole, or not there at all.

    FOLDER/00000120/params.safetensors    parameters, states and tensors of nets by name
    FOLDER/00000120/trainer.safetensors   what optimisers and averages hold
    FOLDER/00000120/state.json            everything else, and the digests of the other two

A checkpoint is written beside its place, made safe on the disk, and renamed.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from ebmlang.runtime.durable import sync_folder, write_safely

PARAMETERS, TRAINER, STATE = "params.safetensors", "trainer.safetensors", "state.json"

UNREADABLE = (OSError, ValueError, KeyError, TypeError, SafetensorError)
"""What reading a damaged checkpoint may raise."""


# --- nested values ------------------------------------------------------------------------------


def packed(value: Any, tensors: dict[str, Tensor]) -> Any:
    """A nested value as JSON, with its tensors moved to `tensors` under numbers."""
    match value:
        case Tensor():
            name = str(len(tensors))
            tensors[name] = value.detach().cpu().contiguous()
            return {"tensor": name}
        case Mapping():
            return {"pairs": [[key, packed(v, tensors)] for key, v in value.items()]}
        case list() | tuple():
            kind = "tuple" if isinstance(value, tuple) else "list"
            return {kind: [packed(v, tensors) for v in value]}
        case None | bool() | int() | float() | str():
            return value
    raise TypeError(f"a {type(value).__name__} cannot be stored")


def unpacked(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    """What `packed` took apart."""
    match value:
        case {"tensor": str() as name}:
            return tensors[name]
        case {"pairs": list() as pairs}:
            return {key: unpacked(v, tensors) for key, v in pairs}
        case {"list": list() as items}:
            return [unpacked(v, tensors) for v in items]
        case {"tuple": list() as items}:
            return tuple(unpacked(v, tensors) for v in items)
    return value


# --- checkpoints --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a run was like after `step` minibatches. `facts` is plain JSON, `trainer` any nested value."""

    step: int
    facts: Mapping[str, Any]
    parameters: Mapping[str, Tensor]
    trainer: Any


def write_checkpoint(folder: Path, checkpoint: Checkpoint) -> None:
    """Add a checkpoint to a folder. Raises OSError, and then leaves nothing behind."""
    tensors: dict[str, Tensor] = {}
    tree = packed(checkpoint.trainer, tensors)
    parameters = {n: v.detach().cpu().contiguous() for n, v in checkpoint.parameters.items()}
    files = {PARAMETERS: save_tensors(_apart(parameters)), TRAINER: save_tensors(_apart(tensors))}
    state = {
        "step": checkpoint.step,
        "facts": checkpoint.facts,
        "trainer": tree,
        "digests": {name: _digest(content) for name, content in files.items()},
    }
    files[STATE] = json.dumps(state).encode()
    made = Path(tempfile.mkdtemp(prefix=".checkpoint.", suffix=".tmp", dir=folder))
    try:
        for name, content in files.items():
            write_safely(made / name, content)
        sync_folder(made)
        place = folder / f"{checkpoint.step:08d}"
        if place.exists():
            shutil.rmtree(place)
        made.rename(place)
        sync_folder(folder)
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _apart(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors that share no memory, as the format wants it."""
    seen: set[int] = set()
    found = {}
    for name, value in tensors.items():
        own = value.data_ptr() not in seen or not value.numel()
        seen.add(value.data_ptr())
        found[name] = value if own else value.clone()
    return found


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoints of a folder, the newest first."""
    if not folder.is_dir():
        return []
    return sorted((p for p in folder.iterdir() if p.name.isdigit()), key=lambda p: -int(p.name))


def read_checkpoint(place: Path) -> Checkpoint:
    """Raises one of UNREADABLE where it is damaged."""
    state = json.loads((place / STATE).read_bytes())
    contents = {name: (place / name).read_bytes() for name in (PARAMETERS, TRAINER)}
    for name, content in contents.items():
        if _digest(content) != state["digests"][name]:
            raise ValueError(f"{name} is damaged")
    tensors = load_tensors(contents[TRAINER])
    return Checkpoint(
        state["step"], state["facts"], load_tensors(contents[PARAMETERS]), unpacked(state["trainer"], tensors)
    )


def newest_checkpoint(folder: Path, say: Callable[[str], None]) -> Checkpoint | None:
    """The newest checkpoint that can be read; what cannot be is told."""
    for place in checkpoints(folder):
        try:
            return read_checkpoint(place)
        except UNREADABLE as error:
            why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            say(f"the checkpoint {place} cannot be read ({why}); going back to the one before it")
    return None


def forget_newer(folder: Path, step: int) -> None:
    """Remove checkpoints of later steps: those that could not be read. The run comes by again."""
    for place in checkpoints(folder):
        if int(place.name) > step:
            shutil.rmtree(place, ignore_errors=True)


def forget_older(folder: Path, keep: int) -> None:
    """Leave the newest `keep` checkpoints."""
    for place in checkpoints(folder)[keep:]:
        shutil.rmtree(place, ignore_errors=True)


def _digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def random_states(device: torch.device) -> dict[str, Tensor]:
    """The generators of torch, which nets from outside may draw from."""
    found = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        found["cuda"] = torch.cuda.get_rng_state(device)
    return found


def restore_random_states(states: Mapping[str, Tensor], device: torch.device) -> None:
    torch.set_rng_state(states["cpu"])
    if device.type == "cuda" and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"], device)
