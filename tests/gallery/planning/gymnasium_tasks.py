"""Tasks of gymnasium, planned through their own equations: mean returns against registered thresholds."""

from __future__ import annotations

from collections.abc import Sequence

import ebmlang
from ebmlang import planning
from ebmlang.planning import Episodes
from tests.gallery.figures import GALLERY, Figure, System

EPISODES = 10


def figures(file: str, world: str, bar: float) -> Sequence[Figure]:
    """The mean return of seeds 0 to 9, with that of actions by chance in the same episodes as its floor."""
    found = ebmlang.load(GALLERY / file).plan(world, episodes=EPISODES, seed=0)
    assert isinstance(found, Episodes)
    floors = (("by chance", chance(world)),)
    return [
        Figure("mean return of seeds 0 to 9", mean(found), at_least=bar, floors=floors),
        Figure("lowest return", float(found.returns.min())),
    ]


def mean(found: Episodes) -> float:
    return float(found.returns.mean())


def chance(world: str) -> float:
    known = planning.world_of(world)
    acting = planning.Acting(planning.RandomActions(known), known, {}, planning.Course(EPISODES))
    return mean(planning.episodes_in(acting))


def system(name: str, world: str, bar: float) -> System:
    file = f"planning/{name.replace(' ', '_').replace('-', '_')}.ebm"
    return System(name, file, "gymnasium", lambda: figures(file, world, bar), long=True)


CART_POLE = system("cart-pole", "gymnasium:CartPole-v1", 475)
MOUNTAIN_CAR = system("mountain car", "gymnasium:MountainCarContinuous-v0", 95)
ACROBOT = system("acrobot v1", "gymnasium:Acrobot-v1", -75)
LUNAR_LANDER = system("lunar lander", "gymnasium:LunarLander-v3,continuous=true", 200)
