"""Generated pictures of things that move."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_DOT_SIZE = 16
"""Pixels along each side of the pictures of the bouncing dot."""


def _dot(rows: int, steps: int, rng: np.random.Generator) -> tuple[NDArray[Any], NDArray[Any]]:
    """Pictures [rows, steps, 16, 16] of a dot in flight between walls, and where it is [.., 2].

    It flies along a diagonal, 1 pixel a step along each axis, between 2 and 13; at a wall the speed across
    the wall turns around. The dot is a Gaussian of standard deviation 1 pixel and height 1.
    """
    # A bounce is a straight flight folded back: the way there and back is 22 pixels long.
    phase = 22 * rng.random((rows, 1, 2)) + np.arange(steps)[:, None]
    position = 2 + 11 - np.abs(phase % 22 - 11)
    return _drawn(position), position


def _drawn(position: NDArray[Any]) -> NDArray[Any]:
    """Pictures [..., 16, 16] of a dot at positions [..., 2]."""
    pixels = np.arange(_DOT_SIZE)
    along = np.exp(-((pixels - position[..., None]) ** 2) / 2)
    pictures: NDArray[Any] = along[..., 0, :, None] * along[..., 1, None, :]
    return pictures


def bouncing_dot(rows: int, rng: np.random.Generator) -> dict[str, NDArray[Any]]:
    """A dot that bounces between walls: 6 pictures of 16 x 16 pixels as `film`, and where it is in each."""
    film, position = _dot(rows, 6, rng)
    return {"film": film, "position": position}


def bouncing_dot_long(rows: int, rng: np.random.Generator) -> dict[str, NDArray[Any]]:
    """The same dot for 32 pictures."""
    film, position = _dot(rows, 32, rng)
    return {"film": film, "position": position}


def turning_dot(rows: int, rng: np.random.Generator) -> dict[str, NDArray[Any]]:
    """A dot that flies on, then turns left or right: 2 pictures `past`, the `next` one, which `turn` it was.

    Pictures have 16 x 16 pixels. It flies 3 pixels a step in any direction. turn is 1 for left, -1 for right:
    a quarter of a circle. The places where it may be next are 6 pixels apart, `places` [rows, 2, 2] for left
    and right.
    """
    heading = 2 * np.pi * rng.random(rows)
    ahead = 3 * np.stack([np.cos(heading), np.sin(heading)], axis=1)
    here = rng.uniform(5, 10, (rows, 2))
    left = np.stack([-ahead[:, 1], ahead[:, 0]], axis=1)
    turn = rng.choice([1, -1], rows)
    places = here[:, None] + np.stack([left, -left], axis=1)
    past = _drawn(np.stack([here - ahead, here], axis=1))
    return {"past": past, "next": _drawn(here + turn[:, None] * left), "turn": turn, "places": places}


def moving_textures(rows: int, rng: np.random.Generator) -> dict[str, NDArray[Any]]:
    """Smooth pictures of 16 x 16 pixels `before` and `after` they are turned and moved, and the `flow`.

    A picture is a sum of 12 waves, of a length from 4 to 16 pixels. It turns by up to 0.15 about its middle
    and moves by up to 1.5 pixels along each axis. flow [rows, 16, 16, 2]: pixel q of `after` is at q + flow
    of `before`.
    """
    pixels = np.stack(np.meshgrid(np.arange(16.0), np.arange(16.0), indexing="ij"), axis=-1) - 7.5
    angle, shift = 0.15 * (2 * rng.random((rows, 1, 1)) - 1), 1.5 * (2 * rng.random((rows, 1, 1, 2)) - 1)
    turned = np.stack(
        [
            np.cos(angle) * pixels[..., 0] - np.sin(angle) * pixels[..., 1],
            np.sin(angle) * pixels[..., 0] + np.cos(angle) * pixels[..., 1],
        ],
        axis=-1,
    )
    length, along = 4 * 4 ** rng.random((rows, 12)), 2 * np.pi * rng.random((rows, 12))
    wave = 2 * np.pi / length[..., None] * np.stack([np.sin(along), np.cos(along)], axis=-1)
    start = 2 * np.pi * rng.random((rows, 12))

    def picture(places: NDArray[Any]) -> NDArray[Any]:
        angles = np.einsum("rijc,rwc->rijw", places, wave) + start[:, None, None]
        waves: NDArray[Any] = np.cos(angles).mean(axis=-1) * np.sqrt(24)
        return waves

    flow = turned + shift - pixels
    before = picture(np.broadcast_to(pixels, (rows, 16, 16, 2)))
    return {"before": before, "after": picture(pixels + flow), "flow": flow}
