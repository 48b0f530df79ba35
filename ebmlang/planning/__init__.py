"""Planning and acting: a `plan` line asked again and again in a world."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ebmlang.planning.acting import Acting, Course, Heard
from ebmlang.planning.episodes import Episode, Episodes
from ebmlang.planning.own import ModelWorld
from ebmlang.planning.planner import BY, POLICY, Asking, Planner, observed_by
from ebmlang.planning.policies import Policy
from ebmlang.planning.random import RandomActions
from ebmlang.planning.worlds import FunctionWorld, GymnasiumWorld, Step, World, world_of
from ebmlang.questions import ask_plan

if TYPE_CHECKING:
    from ebmlang.api import Model
    from ebmlang.runtime.bind import Settings
    from ebmlang.runtime.result import Result

__all__ = [
    "BY",
    "Acting",
    "Asking",
    "Course",
    "Episode",
    "Episodes",
    "FunctionWorld",
    "GymnasiumWorld",
    "ModelWorld",
    "Planner",
    "Policy",
    "RandomActions",
    "Step",
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
) -> Acting:
    """A planner of the model in a world. Raises DataError where they do not fit."""
    if isinstance(world, ModelWorld):
        fixed = {name: value for name, value in fixed.items() if name not in world.takes}
    planner = Planner.of(model, asking, settings, fixed)
    actor = Policy.of(planner) if asking.by == POLICY or not planner.searches else planner
    if isinstance(world, ModelWorld):
        world.ask(planner)
        return Acting(actor, world, world.takes, course)
    takes = observed_by(model.checked, planner.asked, mapping, fixed, world.entries)
    return Acting(actor, world, takes, course)


def planned(model: Model, given: Mapping[str, Any], asking: Asking, settings: Settings) -> Result:
    """One plan for every row of the given values. Raises DataError."""
    asked = ask_plan(model.checked, asking.objective, frozenset(given))
    return asking.answer(model, asked, given, settings)[1]


def episodes_in(acting: Acting, heard: Heard | None = None) -> Episodes:
    """All episodes of a run."""
    return Episodes(acting.world.name, tuple(acting.episodes(heard)))
