"""Pieces of tensors on disk: torch's distributed checkpoints, as safetensors.

Every process writes what it holds, and any number of processes reads it: each takes the part that is its own.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, distributed

PIECES = "pieces"
"""The folder in a checkpoint."""


@dataclass(frozen=True, slots=True, eq=False)
class Divided:
    """A tensor on its way into a checkpoint, of which every process holds a piece: a DTensor of torch."""

    tensor: Any


@dataclass(frozen=True, slots=True)
class Piece:
    """What stands in a checkpoint for a tensor that is in pieces: its name there, its whole shape."""

    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype


def write_pieces(place: Path, tensors: Mapping[str, Any]) -> dict[str, str]:
    """Every process writes its pieces of DTensors into a folder; the digests of all files by their names.
    Raises OSError in all of them, where one of them cannot write."""
    # These take a tenth of a second, and most runs are whole.
    from torch.distributed.checkpoint.api import CheckpointException
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageWriter
    from torch.distributed.checkpoint.state_dict_saver import save

    writer = HuggingFaceStorageWriter(str(place), save_distributed=True)
    try:
        save(dict(tensors), storage_writer=writer, no_dist=False)
    except CheckpointException as error:
        first = next(iter(error.failures.values()))[0]
        raise OSError(getattr(first, "errno", None), getattr(first, "strerror", None) or str(first)) from None
    files = sorted(place.iterdir())
    own = {path.name: digest(path) for path in files[distributed.get_rank() :: distributed.get_world_size()]}
    found: list[Any] = [None] * distributed.get_world_size()
    distributed.all_gather_object(found, own)
    return {name: value for some in found for name, value in some.items()}


def filled(place: Path, tree: Any, mesh: Any) -> Any:
    """A nested value with tensors in the places of pieces: the parts of this process, or whole ones without a
    `mesh`. All processes of the mesh call this together. Raises OSError."""
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader
    from torch.distributed.checkpoint.state_dict_loader import load

    wanted: dict[str, Any] = {}
    _changed(tree, lambda piece: wanted.setdefault(piece.name, _room(piece, mesh)))
    if wanted:
        reader = HuggingFaceStorageReader(str(place))
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "torch.distributed is disabled")  # one process reads it all
            load(wanted, storage_reader=reader, no_dist=mesh is None)
    read = {name: value if mesh is None else value.to_local() for name, value in wanted.items()}
    return _changed(tree, lambda piece: read[piece.name])


def _room(piece: Piece, mesh: Any) -> Any:
    if mesh is None:
        return torch.empty(piece.shape, dtype=piece.dtype)
    from torch.distributed.tensor import Shard, zeros

    return zeros(*piece.shape, dtype=piece.dtype, device_mesh=mesh, placements=[Shard(0)])


def _changed(tree: Any, change: Callable[[Piece], Tensor]) -> Any:
    match tree:
        case Piece():
            return change(tree)
        case Mapping():
            return {key: _changed(value, change) for key, value in tree.items()}
        case list() | tuple():
            return type(tree)(_changed(value, change) for value in tree)
    return tree


def digest(path: Path) -> str:
    """Of a file, however large."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
