"""Four rooms by doors and moves, against shortest paths of networkx."""

from __future__ import annotations

import networkx as nx
import numpy as np

import ebmlang
from ebmlang.planning import Episode, Episodes
from ebmlang.planning.rooms import FourRooms
from tests.gallery.figures import Figure, System

_EPISODES = 30
_CELLS, _MOVES, _AHEAD = 625, 4, 5


def shortest(world: FourRooms, cell: int, goal: int) -> int:
    """The steps of a shortest path in the world as it is now, by networkx."""
    graph = nx.grid_2d_graph(world.side, world.side)
    graph.remove_nodes_from([tuple(place) for place in np.argwhere(~world.free)])
    return int(nx.shortest_path_length(graph, divmod(cell, world.side), divmod(goal, world.side)))


def longest(world: FourRooms) -> int:
    """The steps between the two free cells that are farthest apart."""
    graph = nx.grid_2d_graph(world.side, world.side)
    graph.remove_nodes_from([tuple(place) for place in np.argwhere(~world.free)])
    return int(nx.diameter(graph))


def measure() -> list[Figure]:
    m = ebmlang.load(SYSTEM.path)
    world = FourRooms(doors="random", limit=100)
    found = m.plan(world, episodes=_EPISODES, seed=0)
    slipped = m.plan(FourRooms(doors="random", slip=0.1, limit=100), episodes=_EPISODES, seed=100)
    assert isinstance(found, Episodes)
    assert isinstance(slipped, Episodes)
    best = [_best(world, episode) for episode in found]
    ways = [episode.steps / steps for episode, steps in zip(found, best, strict=True)]
    calls = sum(e.plans for e in found) * _MOVES**_AHEAD * _AHEAD
    # Min-sum over all cells and moves, with a horizon that reaches every goal, at the same times.
    flat = sum(e.plans for e in found) * _CELLS * _MOVES * longest(world)
    search = ("one breadth-first search an episode, kept", _EPISODES * int(world.free.sum()) * _MOVES / flat)
    return [
        Figure("steps over those of the shortest path", max(ways), at_most=1.05),
        Figure("share of goals reached", float(np.mean([e.ended for e in found])), at_least=1.0),
        Figure("model calls over those of a flat plan", calls / flat, at_most=0.2, floors=(search,)),
        Figure(
            "share of goals reached, 10 % slips", float(np.mean([e.ended for e in slipped])), at_least=0.95
        ),
    ]


def _best(world: FourRooms, episode: Episode) -> int:
    world.begin(episode.seed)
    return shortest(world, int(episode.observations["cell"][0]), int(episode.observations["goal"][0]))


SYSTEM = System("four rooms", "planning/four_rooms.ebm", "networkx", measure)
