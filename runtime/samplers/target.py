"""What samplers of real unknowns draw from: exp(-beta E), over coordinates without bounds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from ebmlang.runtime.domains import Reals
from ebmlang.runtime.problem import Problem
from ebmlang.runtime.samplers.transforms import Transform, transform_of
from ebmlang.runtime.space import space_of


class Sloped(Protocol):
    """What trajectories ask of a law exp(-potential(u)) of R rows over coordinates u [R, N]."""

    def moving(self, vector: Tensor, /) -> Tensor:
        """The vector with 0 at coordinates that do not move."""

    def slope(self) -> Callable[[Tensor], Tensor]:
        """The gradient of the potential, [R, N] -> [R, N], for many points."""

    def potential_and_gradient(self, u: Tensor, /) -> tuple[Tensor, Tensor]:
        """[R, N] -> [R], [R, N]."""


@dataclass(frozen=True, slots=True, eq=False)
class Target:
    """Densities exp(-potential(u)) of R rows over coordinates u [R, N]. Make it with `target_of`.

    potential(u) = beta E(x(u)) - log |dx/du|. `problem` takes values x, with no domains. `transforms` hold
    the map of each unknown, None where it is the identity. `mask` bool [R or 1, N]: the coordinates that
    move; None: all of them. `beta` is a number, or [R].
    """

    problem: Problem
    transforms: tuple[Transform | None, ...]
    mask: Tensor | None
    beta: float | Tensor = 1.0

    @property
    def rows(self) -> int:
        return self.problem.space.rows

    @property
    def size(self) -> int:
        return self.problem.space.size

    @property
    def plain(self) -> bool:
        """Whether coordinates are the values."""
        return self.transforms.count(None) == len(self.transforms)

    def moving(self, vector: Tensor) -> Tensor:
        """The vector with 0 at coordinates that do not move."""
        return vector if self.mask is None else torch.where(self.mask, vector, 0.0)

    def point(self, u: Tensor) -> Tensor:
        """Values x [R, N] of the coordinates, given entries in their place."""
        space = self.problem.space
        if self.plain:
            return space.project(u)
        parts = zip(self.transforms, space.split(u), strict=True)
        return space.project(space.join([part if t is None else t.value(part) for t, part in parts]))

    def coordinates(self, x: Tensor) -> Tensor:
        """Coordinates of values x [R, N]."""
        if self.plain:
            return x
        space = self.problem.space
        parts = zip(self.transforms, space.split(x), strict=True)
        return space.join([part if t is None else t.coordinates(part) for t, part in parts])

    def energy(self, u: Tensor) -> Tensor:
        """E(x(u)) [R], without temperature and without the volume of the map."""
        return self.problem.energy(self.point(u))

    def potential(self, u: Tensor) -> Tensor:
        """[R, N] -> [R]."""
        energy = self._tempered(self.energy(u))
        return energy if self.plain else energy + self._bias(u)

    def potential_and_gradient(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """[R, N] -> [R], [R, N]; the gradient is 0 along coordinates that do not move."""
        if self.plain:
            energy, gradient = self.problem.energy_and_gradient(u)
            if isinstance(self.beta, float) and self.beta == 1.0:
                return energy, gradient
            return self._tempered(energy), self._tempered(gradient)
        return self._mapped(u)

    def gradient(self, u: Tensor) -> Tensor:
        """The gradient alone, [R, N]."""
        if self.plain:
            gradient = self.problem.gradient(u)
            return gradient if isinstance(self.beta, float) and self.beta == 1.0 else self._tempered(gradient)
        return self._mapped(u)[1]

    def slope(self) -> Callable[[Tensor], Tensor]:
        """`gradient` for many points."""
        unchanged = self.plain and isinstance(self.beta, float) and self.beta == 1.0
        return self.problem.slope() if unchanged else self.gradient

    def select(self, rows: Tensor) -> Target:
        """The target of the given rows (int64 [R']); rows may repeat."""
        space = self.problem.space
        chosen = self.transforms
        if not space.joint:
            pairs = zip(self.transforms, space.unknowns, strict=True)
            chosen = tuple(None if t is None else t.select(rows, u.rank) for t, u in pairs)
        mask = self.mask
        if mask is not None and mask.shape[0] != 1:
            mask = mask.index_select(0, rows)
        beta = self.beta
        if isinstance(beta, Tensor):
            beta = beta.index_select(0, rows)
        return replace(self, problem=self.problem.select(rows), transforms=chosen, mask=mask, beta=beta)

    def at(self, beta: float | Tensor) -> Target:
        """The same at another inverse temperature, a number or [R]."""
        return replace(self, beta=beta)

    def surplus(self) -> Tensor:
        """By how much the logarithm of the integral of exp(-potential) over coordinates is above that of
        exp(-beta E) over the unknowns in their domains, float64 [R]."""
        space = self.problem.space
        every = torch.ones(self.rows, self.size, dtype=torch.bool, device=space.device)
        moves = space.split(every if self.mask is None else every & self.mask)
        total = torch.zeros(self.rows, dtype=torch.float64, device=space.device)
        for transform, part in zip(self.transforms, moves, strict=True):
            if transform is not None:
                total = total + transform.surplus(part)
        return total

    def _tempered(self, value: Tensor) -> Tensor:
        beta = self.beta
        return value * (beta[:, None] if isinstance(beta, Tensor) and value.ndim == 2 else beta)

    def _bias(self, u: Tensor) -> Tensor:
        with torch.no_grad():
            parts = zip(self.transforms, self.problem.space.split(u), strict=True)
            return torch.stack([t.bias(part) for t, part in parts if t is not None]).sum(0)

    def _mapped(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """The chain rule through the maps."""
        space = self.problem.space
        with torch.no_grad():
            parts = space.split(u)
            pairs = list(zip(self.transforms, parts, strict=True))
            x = space.project(space.join([part if t is None else t.value(part) for t, part in pairs]))
            energy, along = self.problem.energy_and_gradient(x)
            slopes = zip(pairs, space.split(self._tempered(along)), strict=True)
            found = [slope if t is None else t.pulled(part, slope) for (t, part), slope in slopes]
            biased = self._tempered(energy)
            for transform, part in pairs:
                if transform is not None:
                    biased = biased + transform.bias(part)
            return biased, self.moving(space.join(found))


def target_of(problem: Problem, beta: float = 1.0) -> Target:
    """exp(-beta E) over the unknowns of a problem of any domains.

    Raises DataError for a domain that no sampler keeps.
    """
    space = problem.space
    like = torch.zeros((), dtype=space.dtype, device=space.device)
    transforms = tuple(transform_of(u.domain, u.name, like) for u in space.unknowns)
    flat = tuple(replace(u, domain=Reals()) for u in space.unknowns)
    values = space_of(flat, space.batch, space.dtype, space.device, space.joint)
    mask = space.mask
    if any(t is not None for t in transforms):
        parts = []
        for transform, unknown in zip(transforms, space.unknowns, strict=True):
            shape = (space.rows, *space.row_shape(unknown))
            moves = None if transform is None else transform.moving(unknown.shape)
            part = torch.ones((), dtype=torch.bool) if moves is None else moves
            parts.append(part.to(space.device).expand(shape))
        own = space.join(parts)
        mask = own if mask is None else own & mask
        mask = None if bool(mask.all()) else mask
    return Target(replace(problem, space=values, form=None, closed=None), transforms, mask, beta)
