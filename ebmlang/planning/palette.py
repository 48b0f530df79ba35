"""The colours in which the worlds of the project are drawn, red, green and blue in 0..255."""

from __future__ import annotations

import numpy as np

FLOOR, STONE, GOAL, AGENT = (
    np.array(colour, dtype=np.uint8)
    for colour in ((250, 250, 247), (70, 74, 82), (222, 96, 70), (43, 97, 171))
)
