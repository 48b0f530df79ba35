"""Values that remember which of them were read: what a function was computed from, without being told."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Watched(Mapping[str, Tensor]):
    """A mapping that notes the names that are asked for; numbers come in float64 where it is `wide`."""

    held: Mapping[str, Tensor]
    wide: bool = False
    reads: set[str] = field(default_factory=set)

    def __getitem__(self, name: str) -> Tensor:
        self.reads.add(name)
        value = self.held[name]
        return value.double() if self.wide and value.is_floating_point() else value

    def __contains__(self, name: object) -> bool:
        if name not in self.held:
            return False  # what is not there is not read
        self.reads.add(str(name))
        return True

    def __iter__(self) -> Iterator[str]:
        # Whoever goes through all of them may read any.
        self.reads.update(self.held)
        return iter(self.held)

    def __len__(self) -> int:
        return len(self.held)
