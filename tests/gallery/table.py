"""Every system of the gallery that has figures, in the order of the page."""

from __future__ import annotations

from tests.gallery.figures import System
from tests.gallery.training import boltzmann_machine, score_matching

SYSTEMS: tuple[System, ...] = (
    score_matching.SYSTEM,
    boltzmann_machine.SYSTEM,
)
