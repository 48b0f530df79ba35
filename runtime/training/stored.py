"""Nested values as tensors and plain JSON, and checkpoints of them on disk: whole, or not there at all.

    FOLDER/00000120/params.safetensors    parameters, states and tensors of nets by name
    FOLDER/00000120/trainer.safetensors   what optimisers and averages hold
    FOLDER/00000120/pieces/               what is in pieces, a file for each process
    FOLDER/00000120/rows/                 what is kept of every row and is not in memory
    FOLDER/00000120/state.json            everything else, and the digests of the others

A checkpoint is written beside its place, made safe on the disk, and renamed.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from ebmlang.runtime.durable import sync_folder, write_safely
from ebmlang.runtime.training.peers import ALONE, Peers
from ebmlang.runtime.training.pieces import PIECES, Divided, Piece, digest, filled, write_pieces
from ebmlang.runtime.training.visits import RowFile

PARAMETERS, TRAINER, STATE = "params.safetensors", "trainer.safetensors", "state.json"

ROWS = "rows"
"""The folder of files in a checkpoint."""

UNREADABLE = (OSError, ValueError, KeyError, TypeError, SafetensorError)
"""What reading a damaged checkpoint may raise."""


# --- nested values ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Parts:
    """What is taken out of a nested value, under numbers: tensors, tensors in pieces, files of rows."""

    tensors: dict[str, Tensor] = field(default_factory=dict)
    pieces: dict[str, Any] = field(default_factory=dict)
    files: dict[str, RowFile] = field(default_factory=dict)


def packed(value: Any, parts: Parts) -> Any:
    """A nested value as JSON, with what JSON does not hold moved to `parts`."""
    match value:
        case Divided(tensor=whole):
            name = str(len(parts.pieces))
            parts.pieces[name] = whole
            return {"piece": name, "shape": list(whole.shape), "dtype": _written(whole.dtype)}
        case Tensor():
            name = str(len(parts.tensors))
            parts.tensors[name] = value.detach().cpu().contiguous()
            return {"tensor": name}
        case RowFile(rows=rows, shape=shape, dtype=dtype):
            name = str(len(parts.files))
            parts.files[name] = value
            return {"rows": name, "shape": [rows, *shape], "dtype": _written(dtype)}
        case Mapping():
            return {"pairs": [[key, packed(v, parts)] for key, v in value.items()]}
        case list() | tuple():
            kind = "tuple" if isinstance(value, tuple) else "list"
            return {kind: [packed(v, parts) for v in value]}
        case None | bool() | int() | float() | str():
            return value
    raise TypeError(f"a {type(value).__name__} cannot be stored")


def _written(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def unpacked(value: Any, tensors: Mapping[str, Tensor], place: Path) -> Any:
    """What `packed` took apart, with files that are open in the checkpoint at `place`; `Piece`s are still to
    be filled."""
    match value:
        case {"rows": str() as name, "shape": [int() as rows, *shape], "dtype": str() as dtype}:
            file = (place / ROWS / name).open("rb")
            return RowFile(file, rows, tuple(shape), getattr(torch, dtype))
        case {"piece": str() as name, "shape": list() as shape, "dtype": str() as dtype}:
            return Piece(name, tuple(shape), getattr(torch, dtype))
        case {"tensor": str() as name}:
            return tensors[name]
        case {"pairs": list() as pairs}:
            return {key: unpacked(v, tensors, place) for key, v in pairs}
        case {"list": list() as items}:
            return [unpacked(v, tensors, place) for v in items]
        case {"tuple": list() as items}:
            return tuple(unpacked(v, tensors, place) for v in items)
    return value


# --- checkpoints --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a run was like after `step` minibatches. `facts` is plain JSON, `parameters` are those that are
    whole, `trainer` is any nested value. One that was read has `pieces`, the folder of what `Piece`s stand
    for."""

    step: int
    facts: Mapping[str, Any]
    parameters: Mapping[str, Tensor]
    trainer: Any
    pieces: Path | None = None

    def filled(self, mesh: Any) -> Checkpoint:
        """With tensors in the places of pieces, as `pieces.filled` finds them. Raises OSError."""
        if self.pieces is None:
            return self
        return replace(self, trainer=filled(self.pieces, self.trainer, mesh))


def write_checkpoint(folder: Path, checkpoint: Checkpoint, peers: Peers = ALONE) -> None:
    """Add a checkpoint to a folder. The first process writes what is whole; where something is in pieces, all
    call this together. Raises OSError, and then leaves nothing behind."""
    parts = Parts()
    tree = packed(checkpoint.trainer, parts)
    made = _made(folder, peers)
    try:
        digests = write_pieces(made / PIECES, parts.pieces) if parts.pieces else {}
        if peers.first:
            digests |= _copied(made / ROWS, parts.files)
            parameters = {n: v.detach().cpu().contiguous() for n, v in checkpoint.parameters.items()}
            files = {
                PARAMETERS: save_tensors(_apart(parameters)),
                TRAINER: save_tensors(_apart(parts.tensors)),
            }
            digests = {**{name: _digest(content) for name, content in files.items()}, **digests}
            state = {"step": checkpoint.step, "facts": checkpoint.facts, "trainer": tree, "digests": digests}
            files[STATE] = json.dumps(state).encode()
            _put(made, folder / f"{checkpoint.step:08d}", files)
    finally:
        if peers.first:
            shutil.rmtree(made, ignore_errors=True)


def _made(folder: Path, peers: Peers) -> Path:
    """A new place beside those of checkpoints, the same in all processes. Raises OSError in all of them."""
    made: Path | None = None
    trouble: OSError | None = None
    if peers.first:
        try:
            made = Path(tempfile.mkdtemp(prefix=".checkpoint.", suffix=".tmp", dir=folder))
        except OSError as error:
            trouble = error
    made, trouble = peers.told((made, trouble)) or (None, None)
    if made is None:
        raise trouble or OSError("no folder for a checkpoint")
    return made


def _copied(place: Path, files: Mapping[str, RowFile]) -> dict[str, str]:
    """Files of rows in a new folder, if there are any; their digests by their names in the checkpoint. Raises
    OSError."""
    if files:
        place.mkdir()
    digests = {f"{ROWS}/{name}": rows.copy_to(place / name) for name, rows in files.items()}
    if files:
        sync_folder(place)
    return digests


def _put(made: Path, place: Path, files: Mapping[str, bytes]) -> None:
    """The files, safe on the disk, and the whole under its name."""
    for name, content in files.items():
        write_safely(made / name, content)
    sync_folder(made)
    if place.exists():
        shutil.rmtree(place)
    made.rename(place)
    sync_folder(place.parent)


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
    for path in (place / PIECES).glob("*"):
        if digest(path) != state["digests"].get(path.name):
            raise ValueError(f"{PIECES}/{path.name} is damaged")
    for path in (place / ROWS).glob("*"):
        if digest(path) != state["digests"].get(f"{ROWS}/{path.name}"):
            raise ValueError(f"{ROWS}/{path.name} is damaged")
    trainer = unpacked(state["trainer"], load_tensors(contents[TRAINER]), place)
    parameters = load_tensors(contents[PARAMETERS])
    return Checkpoint(state["step"], state["facts"], parameters, trainer, place / PIECES)


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
