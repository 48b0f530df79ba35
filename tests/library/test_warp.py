"""Pictures between their pixels against scipy's interpolation and torch's grid_sample."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import affine_transform, map_coordinates
from torch.nn import functional

import ebmlang
from tests.draws import normal


def wrapped(part: str, *inputs: str) -> ebmlang.Model:
    """A model around a part: x [h, w] and other inputs, the part as `r`, and an energy of what it reads."""
    shapes = {"x": "real[h, w]", "at": "real[P, 2]", "A": "real[2, 2]", "shift": "real[2]"}
    names = ("x", *inputs)
    declared = "; ".join(f"observed {name} : {shapes[name]}" for name in names)
    sizes = "h: int, w: int" + (", P: int" if "at" in names else "")
    bound = ", ".join(f"{name} = {name}" for name in names)
    return ebmlang.loads(
        f"import std.warp\nmodel m({sizes}) {{ {declared}\n"
        f"use {part} as r with {bound}\nenergy e = ||r.y||^2 }}"
    )


def test_reading_at_places() -> None:
    x, at = normal(4, 5, 7), 2 + 3 * normal(4, 9, 2, seed=1)
    at[:, 0] = torch.tensor([4.0, 6.0])  # the last pixel
    at[:, 1] = torch.tensor([4.5, -0.5])  # half of what lies at the edge
    found = wrapped("warp.read_at", "at").infer(x=x, at=at)["r.y"]
    for row in range(4):
        # scipy's own "constant" border is not interpolated: a frame of zeros is.
        framed = np.pad(x[row].numpy(), 30)
        expected = map_coordinates(framed, at[row].numpy().T + 30, order=1)
        torch.testing.assert_close(found[row], torch.from_numpy(expected))


def test_slopes_along_places() -> None:
    x, at = normal(3, 5, 7), (2.3 + normal(3, 9, 2, seed=1)).requires_grad_()
    model = wrapped("warp.read_at", "at")
    (ours,) = torch.autograd.grad(model.energy(x=x, at=at).sum(), at)
    grid = torch.stack([2 * at[..., 1] / 6 - 1, 2 * at[..., 0] / 4 - 1], -1)[:, None]
    read = functional.grid_sample(x[:, None], grid, align_corners=True)
    (expected,) = torch.autograd.grad(read.square().sum(), at)
    torch.testing.assert_close(ours, expected)


@pytest.mark.parametrize("shape", [(5, 5), (4, 7)])
def test_affine_maps(shape: tuple[int, int]) -> None:
    x, a, shift = normal(3, *shape), torch.eye(2) + 0.3 * normal(3, 2, 2, seed=1), normal(3, 2, seed=2)
    found = wrapped("warp", "A", "shift").infer(x=x, A=a, shift=shift)["r.y"]
    middle = (np.array(shape) - 1) / 2
    for row in range(3):
        matrix, moved = a[row].numpy(), shift[row].numpy()
        offset = middle - matrix @ middle + moved + 30 - matrix @ np.full(2, 30)
        framed = np.pad(x[row].numpy(), 30)
        whole = affine_transform(framed, matrix, offset, order=1)
        expected = whole[30:-30, 30:-30]
        torch.testing.assert_close(found[row], torch.from_numpy(expected), atol=1e-9, rtol=1e-9)


def test_jitter_is_drawn_for_every_question_and_stays_within_its_reach() -> None:
    x = torch.zeros(200, 9, 9, dtype=torch.float64)
    x[:, 4, 4] = 1
    model = wrapped("warp.jittered(bend = 0, reach = 2)")
    first, again, other = (model.infer(x=x, seed=seed)["r.y"] for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    rows = (first.sum(2) * torch.arange(9.0)).sum(1) - 4
    assert 1.8 < float(rows.max()) <= 2 + 1e-6
    assert -2 - 1e-6 <= float(rows.min()) < -1.8
