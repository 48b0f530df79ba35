"""What `update` lines make of states after every minibatch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from ebmlang.compiler.graph import FactorGraph
from ebmlang.compiler.typed import Let, Update
from ebmlang.compiler.typed import Model as CheckedModel
from ebmlang.computed import computing, updated
from ebmlang.inference import Inference, incomplete_names
from ebmlang.questions import Asked, ask_roles
from ebmlang.runtime import ask, posing
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
    """The updates of a model over its data. All of them see the values from before. Unknowns that one of them
    reads are found by `search`."""

    bound: Bound
    examples: Examples
    states: Mapping[str, nn.Parameter]
    search: Search

    @staticmethod
    def of(model: Model, source: Source, settings: Settings) -> Updates | None:
        """None where the model has none. Raises ModelError and DataError."""
        moved = [u.state for u in _running(model.checked)]
        if not moved:
            return None
        given, settings = source.given, replace(settings, first_row=0)
        incomplete = incomplete_names(model, given, source.masks, settings.chunk_bytes)
        asked = _asked(model.checked, given.names(), incomplete)
        search = Search(seed=settings.seed)
        masks, gaps = (source.masks, incomplete) if asked.sought else ({}, frozenset())
        run = Inference.settled(model, given, masks, settings, search, asked, gaps)
        bound, examples = source.bound(run)
        return Updates(bound, examples, {name: model.value(name) for name in moved}, search)

    @torch.no_grad()
    def after(self, batch: Batch, own: Mapping[str, nn.Parameter], peers: Peers) -> None:
        """Every state becomes what its update says, computed from the rows of a minibatch."""
        peers = replace(peers, whole=self.bound.module.JOINT)
        rows = np.asarray(peers.share(batch).rows)
        values, seed = self.examples.values(rows), seed_of_step(self.search.seed, batch.step)
        bound = at_rows(self.bound, values, own, rows, seed, batch.step - 1)
        unknown: Mapping[str, Tensor] = {}
        if bound.module.SOUGHT:
            with shared(1):  # each process searches its own rows, as long as that takes
                answer = ask.infer(bound, self.search, self.examples.masks(rows), brief=True)
            unknown = {name: answer.values[name] for name in bound.module.SOUGHT}
        with shared(peers.sharing):
            found = bound.instance.lets(unknown, posing.held_values(bound))
        for name, state in self.states.items():
            state.copy_(found[updated(name)])


def _asked(model: CheckedModel, given: frozenset[str], incomplete: frozenset[str]) -> Asked:
    """What has to be known for the updates: nothing that is unknown, or the answer of the model."""
    wanted = {updated(u.state): u.value for u in _running(model)}
    latents = frozenset(v.name for v in model.variables if v.role == "latent")
    graph, unknown = FactorGraph(model, ()), latents - given | incomplete
    if not any(graph.depends(value, unknown) for value in wanted.values()):
        return Asked(computing(model, wanted, given), (), None, None, (), "updates")
    lets = tuple(Let(name, value, "", value.span) for name, value in wanted.items())
    whole = replace(model, lets=(*model.lets, *lets))
    return replace(ask_roles(whole, None, given, None, None, incomplete), variant="updates")


def _running(model: CheckedModel) -> tuple[Update, ...]:
    return tuple(u for u in model.programme.updates if u.state not in model.programme.episodic)
