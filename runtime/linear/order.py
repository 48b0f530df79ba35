"""Putting the coordinates of vectors in the order of a pattern, and back."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Order = npt.NDArray[np.int64] | None


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
