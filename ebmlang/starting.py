"""Starts of a search that a caller gives in place of those of the file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ebmlang.compiler import typed
from ebmlang.compiler.diagnostics import did_you_mean, listing
from ebmlang.errors import DataError
from ebmlang.runtime.bind import Bound

if TYPE_CHECKING:
    from ebmlang.questions import Asked


def checked(model: typed.Model, asked: Asked, starts: Mapping[str, Any]) -> dict[str, Tensor]:
    """The starts as tensors. Raises DataError for names that are not sought, or are countable."""
    if not starts:
        return {}
    sought = [v for v in model.variables if v.name in asked.sought and v.name not in asked.summed]
    known = [v.name for v in sought if v.type.kind == "real"]
    found = {}
    for name, value in starts.items():
        if name not in known:
            hint = did_you_mean(name, known) or (f"sought are {listing(known, 'and')}" if known else "")
            raise DataError(f"starts= names `{name}`, which is no real unknown of the question", hint)
        try:
            found[name] = (
                value if isinstance(value, Tensor) else torch.from_numpy(np.array(value, dtype=float))
            )
        except (TypeError, ValueError) as error:
            raise DataError(
                f"the start of `{name}` is no array of numbers: {error}", "rows of one length"
            ) from None
    return found


def rows_of(bound: Bound, starts: Mapping[str, Tensor], first: int, stop: int) -> dict[str, Tensor]:
    """The starts of some rows, in the precision of the question. Raises DataError for a wrong shape."""
    found = {}
    for name, value in starts.items():
        shape, per_example = bound.shapes[name], bound.specs[name].per_example
        own = per_example and value.ndim == len(shape) + 1
        part = value[first:stop] if own and value.shape[0] != 1 else value
        if tuple(part.shape[1:] if own else part.shape) != shape or (
            own and part.shape[0] not in (1, bound.batch)
        ):
            raise DataError(
                f"the start of `{name}` has the shape {list(value.shape)}, and `{name}` has {list(shape)}",
                "one start, or one per example in a first dimension",
            )
        found[name] = part.detach().to(bound.settings.device, bound.settings.dtype)
    return found
