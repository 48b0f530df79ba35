"""Worlds that come with the project: `generated:two_rooms,door=random`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from ebmlang.compiler.diagnostics import did_you_mean, listing
from ebmlang.errors import DataError
from ebmlang.planning.carts import Cart
from ebmlang.planning.driving import Driving
from ebmlang.planning.points import Pit, WindyCart
from ebmlang.planning.rooms import FourRooms, TwoRooms
from ebmlang.planning.worlds import World

GENERATED: Mapping[str, Callable[..., World]] = {
    "two_rooms": TwoRooms,
    "four_rooms": FourRooms,
    "cart": Cart,
    "windy_cart": WindyCart,
    "pit": Pit,
    "driving": Driving,
}
"""Every world by its name; its keywords are its options."""


def generated_world(name: str, options: Mapping[str, Any]) -> World:
    """A world by its name. Raises DataError for one that does not exist, or options that it does not have."""
    make = GENERATED.get(name)
    if make is None:
        known = list(GENERATED)
        hint = did_you_mean(name, known) or f"worlds are {listing(known, 'and')}"
        raise DataError(f"there is no generated world `{name}`", hint)
    known = list(inspect.signature(make).parameters)
    for option in options:
        if option not in known:
            hint = did_you_mean(option, known) or f"it has {listing(known, 'and')}"
            raise DataError(f"the world {name} has no option `{option}`", hint)
    return make(**options)
