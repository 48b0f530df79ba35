"""The free energy that is left when real unknowns are integrated out, as an energy of the others.

Where E is of degree 2 in z given x, F(x) = -1/beta log of the integral of exp(-beta E(x, z)) over z is
E(x, z*) + log det(beta H(x) / 2 pi) / (2 beta), with the minimum z* given x and the matrix H of second
derivatives along z. Its slope is that of E at a fixed z* (z* is stationary) plus the trace of H^-1 dH over
2 beta. So the marginal likelihood of random effects (Laird & Ware 1982) and of latent factors (Tipping &
Bishop 1999) is lowered as an energy.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ebmlang.errors import DataError
from ebmlang.runtime.bind import Bound
from ebmlang.runtime.gaussian import MOST_TRACED, Gaussian, Unmeasured, integrate
from ebmlang.runtime.mixed.states import repeated
from ebmlang.runtime.pattern import pattern_of
from ebmlang.runtime.problem import Problem

Values = Mapping[str, Tensor]

Pose = Callable[[Bound, Values], Problem]
"""The problem over the unknowns of a bound question."""


@dataclass(frozen=True, slots=True, eq=False)
class IntegratedEnergy:
    """An energy for `Problem`. `inner` asks for what is integrated out, in float64, given everything else;
    `outer` is the question itself in float64."""

    outer: Bound
    inner: Bound
    pose: Pose
    dtype: torch.dtype

    def energy(self, unknown: Values, held: Values) -> Tensor:
        """[R], or [1] in a joint problem."""
        problem, found = self._at(unknown, held)
        free = found.log_z / -self.outer.beta
        if self.outer.module.JOINT:
            # Terms without examples are in the energy of every row, and count once.
            z = {n: v.detach() for n, v in problem.space.values(found.mean).items()}
            wide = _wide(unknown)
            instance = self.outer.instance.following(held)
            known = _wide({**held, **instance.prepare(_wide(held))})
            whole = instance.energy({**wide, **z}, known).sum()
            each = problem.functions.energy(z, problem.held).expand(problem.space.rows).sum()
            free = (free.sum() + whole - each).reshape(1)
        return free.to(self.dtype)

    def terms(self, unknown: Values, held: Values) -> dict[str, Tensor]:
        return {"free energy": self.energy(unknown, held)}

    def probabilities(self, unknown: Values, held: Values) -> dict[str, Tensor]:
        """The mean of what is integrated out, name -> [B, *shape]."""
        with torch.no_grad():
            problem, found = self._at(unknown, held)
        return {n: v.to(self.dtype) for n, v in problem.space.values(found.mean).items()}

    def faults(self, unknown: Values, held: Values) -> tuple[str, ...]:
        """What makes the integral of each row infinite, in words; "" where nothing does."""
        with torch.no_grad():
            return self._at(unknown, held)[1].faults

    def _at(self, unknown: Values, held: Values) -> tuple[Problem, Gaussian]:
        """The problem over what is integrated out, and its integral."""
        own = self.inner
        rows = max((v.shape[0] for n, v in unknown.items() if own.specs[n].per_example), default=own.batch)
        known = {n: v for n, v in held.items() if n in own.specs and n not in own.module.SOUGHT}
        values = _wide({**own.values, **known, **unknown})
        instance = replace(own.instance.following(held), batch=rows)  # type: ignore[type-var]
        own = replace(own, batch=rows, instance=instance)
        problem = self.pose(replace(own, values=values), {})
        if problem.space.size > MOST_TRACED:
            raise DataError(
                f"{_names(self.inner)} has {problem.space.size:,} entries in a row; beside a search "
                f"at most {MOST_TRACED:,} are integrated out",
                "make it smaller",
            )
        try:
            pattern = pattern_of(own, problem.space)
            return problem, integrate(problem, pattern, self.outer.beta, own.settings.chunk_bytes)
        except Unmeasured as unfit:
            raise DataError(
                f"{_names(self.inner)} cannot be integrated out exactly: {unfit.because}", "make it smaller"
            ) from None


def integrated_energy(
    bound: Bound, held: Values, observed: Values, pose: Pose, wide: Callable[[Bound], Bound]
) -> tuple[IntegratedEnergy, dict[str, Tensor]]:
    """The free energy of a bound question, and the held values that it reads."""
    if bound.part is None:
        raise DataError(
            "an integral inside of a search is two questions, and one generated file asks only one",
            "ask the model itself, or give some of the unknowns",
        )
    partly = [name for name in bound.part.SOUGHT if name in observed]
    if partly:
        raise DataError(
            f"`{partly[0]}` is given in part, and integrated out before others are searched",
            "give all of it or nothing",
        )
    outer = wide(bound)
    inner = repeated(outer, bound.part, 1)
    return IntegratedEnergy(outer, inner, pose, bound.settings.dtype), dict(held)


def _names(bound: Bound) -> str:
    return ", ".join(bound.module.SOUGHT)


def _wide(values: Values) -> dict[str, Tensor]:
    return {n: v.double() if v.is_floating_point() else v for n, v in values.items()}
