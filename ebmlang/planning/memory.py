"""What is carried from step to step of an episode: states `per episode`, and the updates that move them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from torch import Tensor

from ebmlang.computed import Computed, updated
from ebmlang.runtime.bind import Settings

if TYPE_CHECKING:
    from ebmlang.api import Model


@dataclass(slots=True)
class Memory:
    """The `states` of an episode that updates move; those at their declared start are left out of `now`."""

    computed: Computed | None
    states: tuple[str, ...] = ()
    now: dict[str, Tensor] = field(default_factory=dict)

    @staticmethod
    def of(model: Model, settings: Settings) -> Memory:
        """That of a model; one that is always empty where no state is `per episode`."""
        programme = model.checked.programme
        moved = {u.state: u.value for u in programme.updates if u.state in programme.episodic}
        wanted = {updated(state): value for state, value in moved.items()}
        return Memory(Computed(model, wanted, settings, "memory") if moved else None, tuple(moved))

    @property
    def reads(self) -> frozenset[str]:
        """What its updates are computed from."""
        return self.computed.reads if self.computed is not None else frozenset()

    def begin(self) -> None:
        """A new episode."""
        self.now = {}
        if self.computed is not None:
            self.computed.begin()

    def step(self, given: Mapping[str, Any]) -> None:
        """Every state becomes what its update says of the values of this step, given as one example. All
        updates see the states from before. Raises DataError."""
        if self.computed is None:
            return
        found = self.computed.values({**given, **self.now})
        self.now = {state: found[updated(state)][0] for state in self.states}
