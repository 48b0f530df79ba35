"""Which parameters of a run are divided among its processes, and why others are whole in each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from torch import nn

from ebmlang.compiler.optimisers import OptimiserRow
from ebmlang.errors import DataError
from ebmlang.runtime.training.moved import Moved
from ebmlang.runtime.training.shards import Shards

_MOVES_ENTRIES = ("adam", "adamw", "sgd", "rmsprop", "adagrad")
"""Optimisers that move every entry by what happened to it alone, so that a piece moves as it would in the
whole."""


@dataclass(frozen=True, slots=True)
class Division:
    """`parts` are the parameters that can be divided; `whole` says of the others why not, by their names."""

    parts: tuple[nn.Parameter, ...]
    whole: Mapping[str, str]

    @staticmethod
    def of(lines: Sequence[tuple[tuple[Moved, ...], OptimiserRow]]) -> Division:
        """The division for lines, each with what it moves. Raises DataError where nothing can be divided."""
        whole: dict[str, str] = {}
        moving = {one.name: one for moved, _ in lines for one in moved}
        for moved, row in lines:
            for one in moved:
                why = _why_whole(one, row)
                if why:
                    whole[one.name] = why
        parts = [one.parameter for name, one in moving.items() if name not in whole]
        if not parts:
            shown = "; ".join(f"`{name}` {why}" for name, why in whole.items())
            raise DataError(f"nothing of what is trained can be divided: {shown}", "leave out --shard")
        for name, one in moving.items():
            if name not in whole and one.parameter.dtype != parts[0].dtype:
                whole[name] = "has another precision"
        kept = tuple(one.parameter for name, one in moving.items() if name not in whole)
        return Division(kept, whole)

    def sentence(self, processes: int) -> str:
        """What is divided, and what is not."""
        count = sum(p.numel() for p in self.parts)
        shown = "".join(f"; `{name}` {why}" for name, why in self.whole.items())
        whole = f", the others are whole in each{shown}" if self.whole else ""
        return f"{count:,} numbers of parameters are divided among {processes} processes{whole}"


def _why_whole(one: Moved, row: OptimiserRow) -> str:
    """Empty where a parameter can be divided."""
    if one.domain is not None:
        return f"is kept {one.domain.describe()}"
    if row.name not in _MOVES_ENTRIES:
        return f"is moved by {row.name}, which looks at all of it"
    if not one.parameter.ndim:
        return "is one number"
    return "" if one.parameter.is_contiguous() else "lies in another order in memory"


def in_pieces(moving: tuple[Moved, ...], shards: Shards) -> tuple[Moved, ...]:
    """What a line moves, with the pieces of this process in the places of what is divided."""
    found = [(one, shards.leaf(one.parameter)) for one in moving]
    return tuple(one if leaf is None else replace(one, parameter=leaf, leaf=leaf) for one, leaf in found)
