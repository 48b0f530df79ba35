"""Domains that are manifolds: a step goes along the tangent space and a retraction brings it back."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ebmlang.runtime.domain_base import DomainError, ManifoldDomain, check_square, check_vectors, filled
from ebmlang.runtime.seeded import Stream


def _normalise(x: Tensor, dim: int) -> Tensor:
    """Unit vectors along `dim`.

    A zero vector becomes the first unit vector, so the result is always feasible.
    """
    # Scaling by the largest entry first keeps the squares from overflowing and underflowing.
    scale = x.abs().amax(dim, keepdim=True)
    scaled = x / torch.where(scale == 0, 1.0, scale)
    first = torch.zeros_like(x)
    first.select(dim, 0).fill_(1.0)
    unit = scaled / torch.linalg.vector_norm(scaled, dim=dim, keepdim=True)
    return torch.where(scale == 0, first, unit)


def _normalised(x: Tensor, dim: int, atol: float) -> Tensor:
    """Whether vectors along `dim` have length 1 up to atol and rounding."""
    slack = atol + 8 * torch.finfo(x.dtype).eps * math.sqrt(x.shape[dim])
    length: Tensor = torch.linalg.vector_norm(x, dim=dim)
    return (length - 1.0).abs() <= slack


@dataclass(frozen=True, slots=True)
class Sphere(ManifoldDomain):
    """Vectors (last dimension) of Euclidean length 1."""

    @property
    def tied(self) -> int:
        return 1

    def check(self, shape: tuple[int, ...]) -> None:
        check_vectors(shape, "a sphere")

    def describe(self) -> str:
        return "in sphere"

    def nearest(self, x: Tensor) -> Tensor:
        return _normalise(x, -1)

    def tangent(self, x: Tensor, v: Tensor) -> Tensor:
        return v - x * (x * v).sum(-1, keepdim=True)

    def retract(self, x: Tensor, step: Tensor) -> Tensor:
        return _normalise(x + step, -1)

    def start(self, shape: tuple[int, ...], stream: Stream) -> Tensor:
        return _normalise(stream.named("start").normal(shape), -1)

    def draw(self, around: Tensor, stream: Stream) -> Tensor:
        return _normalise(stream.normal(tuple(around.shape[1:])), -1)

    def inside(self, x: Tensor, atol: float) -> Tensor:
        return _normalised(x, -1, atol)


@dataclass(frozen=True, slots=True)
class UnitColumns(ManifoldDomain):
    """Matrices (last two dimensions) whose columns have Euclidean length 1."""

    @property
    def tied(self) -> int:
        return 2

    def check(self, shape: tuple[int, ...]) -> None:
        if len(shape) < 2 or shape[-2] == 0:
            raise DomainError(f"unit_columns needs matrices with rows, found the shape {list(shape)}")

    def describe(self) -> str:
        return "in unit_columns"

    def nearest(self, x: Tensor) -> Tensor:
        return _normalise(x, -2)

    def tangent(self, x: Tensor, v: Tensor) -> Tensor:
        return v - x * (x * v).sum(-2, keepdim=True)

    def retract(self, x: Tensor, step: Tensor) -> Tensor:
        return _normalise(x + step, -2)

    def start(self, shape: tuple[int, ...], stream: Stream) -> Tensor:
        return _normalise(stream.named("start").normal(shape), -2)

    def draw(self, around: Tensor, stream: Stream) -> Tensor:
        return _normalise(stream.normal(tuple(around.shape[1:])), -2)

    def inside(self, x: Tensor, atol: float) -> Tensor:
        return _normalised(x, -2, atol).all(-1)


def _finite_part(x: Tensor) -> tuple[Tensor, Tensor]:
    """Matrices with non-finite ones replaced by 0 (factorisations refuse them), and where that was done."""
    broken = ~torch.isfinite(x).all(-1, keepdim=True).all(-2, keepdim=True)
    return torch.where(broken, 0.0, x), broken


def _orthonormal(x: Tensor) -> Tensor:
    """The QR factor whose triangle has a positive diagonal, which makes the map smooth near the manifold."""
    safe, broken = _finite_part(x)
    q, r = torch.linalg.qr(safe)
    sign = torch.where(torch.diagonal(r, dim1=-2, dim2=-1) < 0, -1.0, 1.0).to(x.dtype)
    return torch.where(broken, torch.nan, q * sign[..., None, :])


def _orthogonality_error(x: Tensor) -> Tensor:
    gram = x.mT @ x
    error = (gram - torch.eye(x.shape[-1], dtype=x.dtype, device=x.device)).abs()
    return error.flatten(-2).amax(-1) if error.shape[-1] else error.sum((-2, -1))


@dataclass(frozen=True, slots=True)
class Stiefel(ManifoldDomain):
    """Matrices (last two dimensions) with orthonormal columns; at least as many rows as columns.

    Tangent projection and QR retraction: Absil, Mahony and Sepulchre 2008, sections 3.6 and 4.1. A square
    matrix keeps the sign of its determinant along a search; draws have both signs.
    """

    @property
    def tied(self) -> int:
        return 2

    def check(self, shape: tuple[int, ...]) -> None:
        if len(shape) < 2 or shape[-2] < shape[-1]:
            raise DomainError(
                f"stiefel needs at least as many rows as columns, found the shape {list(shape)}"
            )

    def describe(self) -> str:
        return "in stiefel"

    def nearest(self, x: Tensor) -> Tensor:
        """The orthonormal factor of the polar decomposition."""
        safe, broken = _finite_part(x)
        u, _, vh = torch.linalg.svd(safe, full_matrices=False)
        return torch.where(broken, torch.nan, u @ vh)

    def tangent(self, x: Tensor, v: Tensor) -> Tensor:
        product = x.mT @ v
        return v - x @ ((product + product.mT) / 2)

    def retract(self, x: Tensor, step: Tensor) -> Tensor:
        return _orthonormal(x + step)

    def start(self, shape: tuple[int, ...], stream: Stream) -> Tensor:
        return _orthonormal(stream.named("start").normal(shape))

    def draw(self, around: Tensor, stream: Stream) -> Tensor:
        return _orthonormal(stream.normal(tuple(around.shape[1:])))

    def inside(self, x: Tensor, atol: float) -> Tensor:
        return _orthogonality_error(x) <= atol + 16 * torch.finfo(x.dtype).eps * x.shape[-2]


@dataclass(frozen=True, slots=True)
class SO3(ManifoldDomain):
    """Rotation matrices (last two dimensions, 3 x 3): orthogonal with determinant 1."""

    @property
    def tied(self) -> int:
        return 2

    def check(self, shape: tuple[int, ...]) -> None:
        check_square(shape, "SO3", 3)

    def describe(self) -> str:
        return "in SO3"

    def nearest(self, x: Tensor) -> Tensor:
        """The nearest rotation (Kabsch 1976): the polar factor, one direction flipped if it reflects."""
        safe, broken = _finite_part(x)
        u, _, vh = torch.linalg.svd(safe)
        sign = torch.where(torch.linalg.det(u @ vh) < 0, -1.0, 1.0).to(x.dtype)
        last = torch.stack((torch.ones_like(sign), torch.ones_like(sign), sign), -1)
        return torch.where(broken, torch.nan, (u * last[..., None, :]) @ vh)

    def tangent(self, x: Tensor, v: Tensor) -> Tensor:
        product = x.mT @ v
        return x @ ((product - product.mT) / 2)

    def retract(self, x: Tensor, step: Tensor) -> Tensor:
        """x exp(x^T step), by the formula of Rodrigues."""
        product = x.mT @ step
        rotation = x @ _rotation((product - product.mT) / 2)
        # One Newton step for the polar factor: rounding does not add up over many steps.
        correction = 3.0 * torch.eye(3, dtype=x.dtype, device=x.device) - rotation.mT @ rotation
        return rotation @ correction / 2

    def start(self, shape: tuple[int, ...], stream: Stream) -> Tensor:
        return self.draw(filled(len(stream.rows), shape, 0.0), stream.named("start"))

    def draw(self, around: Tensor, stream: Stream) -> Tensor:
        """Uniform rotations from unit quaternions (Shoemake 1992)."""
        shape = tuple(around.shape[1:-2])
        w, x, y, z = _normalise(stream.normal((*shape, 4)), -1).unbind(-1)
        entries = (
            1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w),
            2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w),
            2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y),
        )  # fmt: skip
        return torch.stack(entries, -1).reshape(around.shape)

    def inside(self, x: Tensor, atol: float) -> Tensor:
        orthogonal = _orthogonality_error(x) <= atol + 64 * torch.finfo(x.dtype).eps
        determinant: Tensor = torch.linalg.det(x)
        return orthogonal & (determinant > 0)


def _rotation(skew: Tensor) -> Tensor:
    """exp of a skew 3 x 3 matrix."""
    axis = torch.stack((skew[..., 2, 1], skew[..., 0, 2], skew[..., 1, 0]), -1)
    angle = torch.linalg.vector_norm(axis, dim=-1)[..., None, None]
    # sin(a)/a and (1 - cos(a))/a^2 as squares of sinc: no cancellation and no special case near 0.
    first = torch.sinc(angle / math.pi)
    second = torch.sinc(angle / (2 * math.pi)) ** 2 / 2
    return torch.eye(3, dtype=skew.dtype, device=skew.device) + first * skew + second * (skew @ skew)


def wrap_angle(angle: Tensor) -> Tensor:
    """The same angle in [-pi, pi)."""
    turned = torch.remainder(angle + math.pi, 2 * math.pi) - math.pi
    # Rounding of a tiny negative remainder can give pi itself, and subtraction a number just below -pi.
    within = torch.where(turned >= math.pi, turned - 2 * math.pi, turned)
    kept = torch.where((angle >= -math.pi) & (angle < math.pi), angle, within)
    return torch.where(kept < -math.pi, torch.full_like(kept, -math.pi), kept)


@dataclass(frozen=True, slots=True)
class SE2(ManifoldDomain):
    """Poses in the plane, last dimension (x, y, angle), the angle in [-pi, pi)."""

    @property
    def tied(self) -> int:
        return 0

    def check(self, shape: tuple[int, ...]) -> None:
        if not shape or shape[-1] != 3:
            raise DomainError(f"SE2 needs (x, y, angle) in the last dimension, found the shape {list(shape)}")

    def describe(self) -> str:
        return "in SE2"

    def nearest(self, x: Tensor) -> Tensor:
        return torch.cat((x[..., :2], wrap_angle(x[..., 2:])), -1)

    def tangent(self, x: Tensor, v: Tensor) -> Tensor:
        return v

    def retract(self, x: Tensor, step: Tensor) -> Tensor:
        return self.nearest(x + step)

    def start(self, shape: tuple[int, ...], stream: Stream) -> Tensor:
        return self.draw(filled(len(stream.rows), shape, 0.0), stream.named("start"))

    def draw(self, around: Tensor, stream: Stream) -> Tensor:
        shape = tuple(around.shape[1:])
        place = around[..., :2] + stream.normal(shape)[..., :2]
        angle = (2 * stream.named("angle").uniform(shape)[..., 2:] - 1) * math.pi
        return torch.cat((place, wrap_angle(angle)), -1)

    def inside(self, x: Tensor, atol: float) -> Tensor:
        angle = x[..., 2]
        return torch.isfinite(x).all(-1) & (angle >= -math.pi - atol) & (angle < math.pi + atol)
