"""Orders of coordinates: putting vectors in one and back, and finding one in which a pattern is narrow."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import scipy
import torch
from torch import Tensor

Indices = npt.NDArray[np.int64]
Order = Indices | None


def by_position(vectors: Tensor, order: Order) -> Tensor:
    """Vectors [..., N] by coordinate as vectors by position."""
    if order is None:
        return vectors
    return vectors.index_select(-1, torch.from_numpy(order).to(vectors.device))


def by_coordinate(vectors: Tensor, order: Order) -> Tensor:
    """Vectors [..., N] by position as vectors by coordinate."""
    if order is None:
        return vectors
    result = torch.empty_like(vectors)
    return result.index_copy_(-1, torch.from_numpy(order).to(vectors.device), vectors)


def narrow(size: int, rows: Indices, columns: Indices) -> tuple[int, Order]:
    """The smaller bandwidth of the given order (None) and of Cuthill and McKee's, reversed; and the order."""
    given = int(np.abs(rows - columns).max(initial=0))
    if given <= 2:
        return given, None
    ones = np.ones(2 * len(rows), dtype=np.int8)
    entries = (np.concatenate([rows, columns]), np.concatenate([columns, rows]))
    graph = scipy.sparse.csr_matrix((ones, entries), shape=(size, size))
    order = scipy.sparse.csgraph.reverse_cuthill_mckee(graph, symmetric_mode=True).astype(np.int64)
    position = np.empty(size, dtype=np.int64)
    position[order] = np.arange(size)
    reached = int(np.abs(position[rows] - position[columns]).max(initial=0))
    return (reached, order) if reached < given else (given, None)
