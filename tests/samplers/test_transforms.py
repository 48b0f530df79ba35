"""Maps onto domains: volumes against Jacobians of automatic differentiation, values inside, inverses."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from ebmlang.errors import DataError
from ebmlang.runtime.domains import DOMAINS, SE2, Interval, Simplex
from ebmlang.runtime.samplers.transforms import (
    Beside,
    Between,
    FromCholesky,
    OnFrames,
    OnSimplex,
    OnSphere,
    Transform,
    transform_of,
)
from tests.draws import normal

F64 = torch.float64
LIKE = torch.zeros((), dtype=F64)


def _log_volume(value: Callable[[Tensor], Tensor], u: Tensor) -> Tensor:
    """log |d value / du| for u [n] and a value of as many entries."""
    jacobian = torch.autograd.functional.jacobian(value, u)
    found: Tensor = torch.linalg.slogdet(jacobian)[1]
    return found


@pytest.mark.parametrize(
    ("lo", "hi"),
    [
        ([-1.0] * 3, [2.0] * 3),
        ([0.5] * 3, [math.inf] * 3),
        ([-math.inf] * 3, [3.0] * 3),
        ([-math.inf, 0.0, -1.0], [math.inf, math.inf, 1.0]),
        ([-math.inf, -2.0, -1.0], [0.0, -1.0, 1.0]),
    ],
)
def test_the_volume_of_an_interval(lo: list[float], hi: list[float]) -> None:
    low, high = torch.tensor(lo, dtype=F64), torch.tensor(hi, dtype=F64)
    interval = transform_of(Interval(low, high), "x", LIKE)
    assert interval is not None
    u = 2 * normal(3)
    # The widths of intervals are a constant factor, which is left out.
    width = torch.where(torch.isfinite(high - low), high - low, 1.0)
    volume = _log_volume(lambda v: interval.value(v[None])[0], u)
    assert torch.allclose(width.log().sum() - interval.bias(u[None])[0], volume)
    x = interval.value(u[None])
    assert bool(((x >= low) & (x <= high)).all())
    assert torch.allclose(interval.coordinates(x), u[None], atol=1e-2)


def test_numbers_without_bounds_have_no_map() -> None:
    assert transform_of(Interval(-math.inf, math.inf), "x", LIKE) is None


MAPS: list[Transform] = [
    Between(torch.tensor(-1.0, dtype=F64), torch.tensor([2.0, 3.0, 0.5], dtype=F64)),
    Beside(torch.tensor(0.5, dtype=F64), 1.0),
    Beside(torch.tensor([0.5, 1.0, 2.0], dtype=F64), -1.0),
    OnSimplex(None),
    OnSimplex(torch.tensor([True, False, True])),
    FromCholesky(),
    OnSphere(-1),
    OnSphere(-2),
    OnFrames(False),
    OnFrames(True),
]


@pytest.mark.parametrize("transform", MAPS, ids=lambda t: type(t).__name__)
def test_gradients_through_maps_are_those_of_automatic_differentiation(transform: Transform) -> None:
    u, along = normal(4, 3, 3).requires_grad_(True), normal(4, 3, 3, seed=1)
    whole = (transform.value(u) * along).sum() + transform.bias(u).sum()
    (wanted,) = torch.autograd.grad(whole, u)
    assert torch.allclose(transform.pulled(u.detach(), along), wanted)


def test_bounds_that_are_equal_hold_an_entry() -> None:
    between = Between(torch.tensor([0.0, 1.0], dtype=F64), torch.tensor([2.0, 1.0], dtype=F64))
    moving = between.moving((2,))
    assert moving is not None
    assert moving.tolist() == [True, False]
    assert float(between.value(normal(1, 2))[0, 1]) == 1.0


@pytest.mark.parametrize("allowed", [None, [True, False, True, True]])
def test_the_volume_of_a_simplex_beside_the_sum_of_its_coordinates(allowed: list[bool] | None) -> None:
    mask = None if allowed is None else torch.tensor(allowed)
    kept = torch.arange(4) if mask is None else mask.nonzero()[:, 0]
    simplex, u = OnSimplex(mask), normal(4)

    def whole(own: Tensor) -> Tensor:
        """All entries but one, and the sum that they do not see."""
        x = simplex.value(u.index_copy(0, kept, own)[None])[0][kept]
        return torch.cat((x[1:], torch.logsumexp(own, 0)[None]))

    unseen = torch.logsumexp(u[kept], 0)
    assert torch.allclose(-simplex.bias(u[None])[0], _log_volume(whole, u[kept]) - unseen**2 / 2)
    assert Simplex(mask).inside(simplex.value(u[None]), 1e-12).all()


def test_the_volume_of_positive_definite_matrices() -> None:
    cholesky, place = FromCholesky(), torch.tril_indices(3, 3)

    def lower(entries: Tensor) -> Tensor:
        u = torch.zeros(3, 3, dtype=F64).index_put((place[0], place[1]), entries)
        return cholesky.value(u[None])[0][place[0], place[1]]

    entries = normal(6)
    u = torch.zeros(3, 3, dtype=F64).index_put((place[0], place[1]), entries)
    # The constant factor 2^n is left out.
    assert torch.allclose(3 * math.log(2) - cholesky.bias(u[None])[0], _log_volume(lower, entries))
    x = cholesky.value(u[None])
    assert torch.allclose(cholesky.value(cholesky.coordinates(x)), x, atol=1e-2)


@pytest.mark.parametrize("size", [2, 3, 5])
def test_lengths_beside_a_sphere_have_a_law_of_their_own(size: int) -> None:
    """Along a ray the density times r^(n - 1) is log-normal, whatever the direction."""
    sphere, direction = OnSphere(-1), torch.nn.functional.normalize(normal(2, size), dim=1)
    for r in (0.5, 1.0, 1.7):
        density = torch.exp(-sphere.bias(r * direction)) * r ** (size - 1)
        wanted = torch.exp(-(torch.tensor(r, dtype=F64).log() ** 2) / (2 * 0.25**2)) / r
        assert torch.allclose(density, wanted.expand(2))


def test_frames_do_not_care_how_space_is_turned() -> None:
    frames, u = OnFrames(False), normal(3, 4, 2)
    turn = torch.linalg.qr(normal(4, 4, seed=1))[0]
    assert torch.allclose(frames.bias(turn @ u), frames.bias(u))
    assert torch.allclose(frames.value(turn @ u), turn @ frames.value(u))


def test_the_volume_of_frames_is_that_of_their_triangles() -> None:
    """In the plane a frame of two columns is an angle and a sign: u = Q(angle) T has |du| = t00 |d angle
    dT|."""
    frames = OnFrames(False)

    def made(parts: Tensor) -> Tensor:
        angle, a, b, c = parts
        turn = torch.stack((torch.cos(angle), -torch.sin(angle), torch.sin(angle), torch.cos(angle)))
        triangle = torch.stack((a, b, torch.zeros_like(a), c)).reshape(2, 2)
        return (turn.reshape(2, 2) @ triangle).reshape(-1)

    parts = torch.tensor([0.3, 0.8, -0.4, 1.3], dtype=F64)
    log_a, log_c = parts[1].log(), parts[3].log()
    laws = (log_a**2 + log_c**2) / (2 * 0.25**2) + log_a + log_c + parts[2] ** 2 / 2
    assert torch.allclose(frames.bias(made(parts).reshape(1, 2, 2))[0], laws + _log_volume(made, parts))


def test_rotations_do_not_reflect() -> None:
    x = OnFrames(True).value(normal(10, 3, 3))
    assert DOMAINS["SO3"]().inside(x, 1e-10).all()


@pytest.mark.parametrize("name", [n for n in DOMAINS if n not in ("interval", "sparse_simplex", "SE2")])
def test_every_domain_is_met(name: str) -> None:
    """Values of any coordinates are inside, and a drawn value comes back from its coordinates."""
    domain = DOMAINS[name]()
    found = transform_of(domain, "x", LIKE)
    if found is None:
        assert name == "reals"
        return
    u = normal(6, 3, 3)
    assert domain.inside(found.value(u), 1e-8).all()
    assert torch.isfinite(found.bias(u)).all()
    x = found.value(u)
    assert torch.allclose(found.value(found.coordinates(x)), x, atol=1e-2)


def test_a_domain_without_a_map_is_refused() -> None:
    with pytest.raises(DataError, match="`p` is in SE2, and no sampler keeps a variable there"):
        transform_of(SE2(), "p", LIKE)


def test_maps_follow_the_rows_that_are_selected() -> None:
    lo = torch.tensor([[0.0], [10.0]], dtype=F64)
    own: Transform | None = transform_of(Interval(lo, lo + 1), "x", LIKE)
    assert own is not None
    picked = own.select(torch.tensor([1, 1, 0]), 1)
    assert picked.value(torch.zeros(3, 1, dtype=F64))[:, 0].tolist() == [10.5, 10.5, 0.5]
