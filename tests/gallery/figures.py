"""What a system of the gallery is held to: figures, their bars, and the floors beside them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import ebmlang.models

GALLERY = Path(ebmlang.models.__path__[0]) / "gallery"


@dataclass(frozen=True, slots=True)
class Figure:
    """One number of a run and what it is held to."""

    what: str
    value: float
    at_most: float = math.inf
    at_least: float = -math.inf
    floors: tuple[tuple[str, float], ...] = ()
    """What the number is for a method that knows nothing: ("raw pixels", 0.92)."""
    shortfall: str = ""
    """Why the bar is not met, where that is known; the page says it, and the test lets it pass."""

    @property
    def met(self) -> bool:
        """Whether the number is within its bar; nan never is."""
        return bool(self.at_least <= self.value <= self.at_most)

    @property
    def bar(self) -> str:
        """The bar in words; a figure without one is only reported."""
        lowest = f">= {self.at_least:g}" if math.isfinite(self.at_least) else ""
        highest = f"<= {self.at_most:g}" if math.isfinite(self.at_most) else ""
        return " and ".join(filter(None, (lowest, highest))) or "none"


@dataclass(frozen=True, slots=True)
class System:
    """A model of the gallery with the run that measures it.

    `measure` trains and asks with fixed seeds, and compares with something independent, which `reference`
    names. A `long` system takes over about ten seconds on one core: `python -m tests.gallery` runs it, pytest
    does not, and its last result stands in docs/gallery.json.
    """

    name: str
    file: str
    """Below models/gallery, `training/pca.ebm`."""
    reference: str
    measure: Callable[[], Sequence[Figure]] = field(repr=False)
    long: bool = False

    @property
    def path(self) -> Path:
        """The file of the model."""
        return GALLERY / self.file
