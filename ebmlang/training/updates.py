"""What `update` lines make of states after every minibatch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from ebmlang.compiler.typed import Model as CheckedModel
from ebmlang.compiler.typed import Update
from ebmlang.computed import computing
from ebmlang.inference import Inference
from ebmlang.questions import Asked
from ebmlang.runtime.bind import Bound, Settings
from ebmlang.runtime.gathering import shared
from ebmlang.runtime.search import Search
from ebmlang.runtime.training.batches import Batch, Examples, at_rows, seed_of_step
from ebmlang.runtime.training.peers import Peers
from ebmlang.training.source import Source

if TYPE_CHECKING:
    from ebmlang.api import Model


@dataclass(slots=True)
class Updates:
    """The updates of a model over its data. All of them see the values from before."""

    bound: Bound
    examples: Examples
    states: Mapping[str, nn.Parameter]
    seed: int

    @staticmethod
    def of(model: Model, source: Source, settings: Settings) -> Updates | None:
        """None where the model has none."""
        moved = [u.state for u in _running(model.checked)]
        if not moved:
            return None
        given = source.given
        wanted = {_let(u.state): u.value for u in _running(model.checked)}
        asked = Asked(computing(model.checked, wanted, given.names()), (), None, None, (), "updates")
        settings = replace(settings, first_row=0)
        run = Inference.settled(model, given, {}, settings, Search(), asked, frozenset())
        bound, examples = source.bound(run)
        return Updates(bound, examples, {name: model.value(name) for name in moved}, settings.seed)

    @torch.no_grad()
    def after(self, batch: Batch, own: Mapping[str, nn.Parameter], peers: Peers) -> None:
        """Every state becomes what its update says, computed from the rows of a minibatch."""
        rows = np.asarray(peers.share(batch).rows)
        values, seed = self.examples.values(rows), seed_of_step(self.seed, batch.step)
        bound = at_rows(self.bound, values, own, rows, seed, batch.step - 1)
        with shared(peers.sharing):
            held = {**bound.values, **bound.instance.prepare(bound.values)}
            found = bound.instance.lets({}, held)
        for name, state in self.states.items():
            state.copy_(found[_let(name)])


def _let(state: str) -> str:
    """The name of what a state becomes. A declared name cannot be this one: `update` is reserved."""
    return f"update.{state}"


def _running(model: CheckedModel) -> tuple[Update, ...]:
    return tuple(u for u in model.programme.updates if u.state not in model.programme.episodic)
