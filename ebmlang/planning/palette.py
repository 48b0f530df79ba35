"""How the worlds of the project are drawn: their colours, red, green and blue in 0..255, and a cart."""

from __future__ import annotations

import numpy as np

from ebmlang.planning.spaces import Array

FLOOR, STONE, GOAL, AGENT = (
    np.array(colour, dtype=np.uint8)
    for colour in ((250, 250, 247), (70, 74, 82), (222, 96, 70), (43, 97, 171))
)


def on_rail(place: float) -> Array:
    """A cart on its line from -4 to 4, whose place 0 is marked, uint8 [60, 240, 3]."""
    drawn = np.broadcast_to(FLOOR, (60, 240, 3)).copy()
    x, y = np.meshgrid((np.arange(240) + 0.5) / 30 - 4, np.arange(60))
    drawn[(y > 44) & (y < 48)] = STONE
    drawn[(abs(x) < 0.06) & (y > 36) & (y < 56)] = GOAL
    drawn[(abs(x - np.clip(place, -3.7, 3.7)) < 0.3) & (y > 26) & (y < 42)] = AGENT
    return drawn
