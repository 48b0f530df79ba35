"""Planning and acting: a `plan` line asked again and again in a world."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ebmlang.planning.acting import Acting, Course, Heard
from ebmlang.planning.agents import Agent, Configurator
from ebmlang.planning.episodes import Episode, Episodes, UpperPlans
from ebmlang.planning.levels import Levels, planned
from ebmlang.planning.own import ModelWorld
from ebmlang.planning.planner import BY, Asking, Planner
from ebmlang.planning.policies import Policy
from ebmlang.planning.random import RandomActions
from ebmlang.planning.worlds import FunctionWorld, GymnasiumWorld, Step, World, world_of

if TYPE_CHECKING:
    from ebmlang.api import Model
    from ebmlang.runtime.bind import Settings

__all__ = [
    "BY",
    "Acting",
    "Agent",
    "Asking",
    "Configurator",
    "Course",
    "Episode",
    "Episodes",
    "FunctionWorld",
    "GymnasiumWorld",
    "Levels",
    "ModelWorld",
    "Planner",
    "Policy",
    "RandomActions",
    "Step",
    "UpperPlans",
    "World",
    "acting_in",
    "episodes_in",
    "planned",
    "world_in",
    "world_of",
]


def world_in(model: Model, world: Any, first: Any, given: Mapping[str, Any], pictures: bool) -> World:
    """The world that a caller means; "model" is the model itself, which begins at given values.

    Raises DataError.
    """
    return ModelWorld(model, given) if world == "model" else world_of(world, first, pictures)


def acting_in(
    model: Model,
    world: World,
    asking: Asking,
    course: Course,
    settings: Settings,
    mapping: Mapping[str, str],
    fixed: Mapping[str, Any],
    configurator: Configurator | None = None,
) -> Acting:
    """A model that acts in a world. Raises DataError where they do not fit."""
    if isinstance(world, ModelWorld):
        fixed = {name: value for name, value in fixed.items() if name not in world.takes}
    agent = Agent.of(model, asking, settings, fixed, configurator)
    if isinstance(world, ModelWorld):
        world.ask(agent)
        return Acting(agent, world, world.takes, course)
    return Acting(agent, world, agent.takes(mapping, world.entries), course)


def episodes_in(acting: Acting, heard: Heard | None = None) -> Episodes:
    """All episodes of a run."""
    return Episodes(acting.world.name, tuple(acting.episodes(heard)))
