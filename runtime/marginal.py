"""What summing and integrating unknowns out gives: free energies, log Z and marginals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ebmlang.compiler.codegen.names import field_name
from ebmlang.compiler.facts import number
from ebmlang.compiler.typed import Apply, Expr, Read
from ebmlang.errors import DataError
from ebmlang.runtime.bind import Bound
from ebmlang.runtime.discrete.sums import sum_out
from ebmlang.runtime.mixed.sums import integrate_out

IMPOSSIBLE = "impossible: every assignment has the energy inf"
EXACT = "exact: summed over every assignment"
INTEGRATED = "exact: integrated in closed form"
INFINITE = "infinite: {}"


@dataclass(frozen=True, slots=True)
class Marginal:
    """The answer for B rows.

    energy: the free energy F = -log_z / beta [B]. log_z: log sum exp(-beta E) [B], with an integral over
    real unknowns. marginals: the probability of every case of every entry of a countable unknown, name ->
    [B, *shape, K], and the mean of a real one, name -> [B, *shape]. status: B sentences. method: how it was
    summed; because: what was learnt from the sizes. In a joint problem, where a value shared by all examples
    is summed out, energy and log_z are one number in every row.
    deviations: the standard deviation of every entry of real unknowns, name -> [B, *shape]; covariances:
    name -> [B, n, n] over the n entries of one of them in row-major order, where that is small enough.
    `real` names the marginals that are means. Of an estimate, `error` is the standard error of log_z, and
    `effective` how many of its weighted chains count, [B] each; exact answers have neither. A row whose
    integral is infinite has log_z inf, marginals of NaN, and a status that says along which direction.
    """

    energy: Tensor
    log_z: Tensor
    marginals: Mapping[str, Tensor]
    status: tuple[str, ...]
    method: str
    because: str
    beta: float
    deviations: Mapping[str, Tensor] = field(default_factory=dict)
    covariances: Mapping[str, Tensor] = field(default_factory=dict)
    real: frozenset[str] = frozenset()
    error: Tensor | None = None
    effective: Tensor | None = None

    def __getitem__(self, name: str) -> Tensor:
        try:
            return self.marginals[name]
        except KeyError:
            known = ", ".join(sorted(self.marginals))
            raise KeyError(f"no marginal of {name!r}; there are: {known}") from None


def marginal(
    bound: Bound, held: Mapping[str, Tensor], observed: Mapping[str, Tensor], beta: float
) -> Marginal:
    """Sum a bound model over its sought variables. Raises DataError where that is not possible."""
    if any(bound.specs[name].kind == "real" for name in bound.module.SOUGHT):
        return _integrated(bound, held, observed, beta)
    found = sum_out(bound, held, observed, beta)
    dtype, batch = bound.settings.dtype, bound.batch
    log_z = found.log_z.to(dtype).reshape(-1).expand(batch)
    energy = (found.log_z / -beta).to(dtype).reshape(-1).expand(batch)
    status = tuple(IMPOSSIBLE if x == -torch.inf else EXACT for x in log_z.detach().tolist())
    marginals = {n: p.to(dtype) for n, p in found.marginals.items()}
    return Marginal(energy, log_z, marginals, status, found.method, found.because, beta)


def _integrated(
    bound: Bound, held: Mapping[str, Tensor], observed: Mapping[str, Tensor], beta: float
) -> Marginal:
    found = integrate_out(bound, held, observed, beta)
    dtype, batch = bound.settings.dtype, bound.batch
    log_z = found.log_z.to(dtype).reshape(-1).expand(batch)
    energy = (found.log_z / -beta).to(dtype).reshape(-1).expand(batch)
    faults = found.faults if len(found.faults) == batch else found.faults[:1] * batch
    status = tuple(
        INFINITE.format(fault) if fault else IMPOSSIBLE if x == -torch.inf else INTEGRATED
        for x, fault in zip(log_z.detach().tolist(), faults, strict=True)
    )
    cast = [
        {n: v.to(dtype) for n, v in part.items()}
        for part in ({**found.probabilities, **found.means}, found.deviations, found.covariances)
    ]
    method = "gaussian" if bound.part is None else "states"
    return Marginal(
        energy, log_z, cast[0], status, method, found.because, beta, cast[1], cast[2], frozenset(found.means)
    )


def beta_of(value: Expr | None, bound: Bound) -> float:
    """The inverse temperature of a `marginalize` line. Raises DataError unless it is positive."""
    found = 1.0 if value is None else _value(value, bound)
    return checked_beta(found)


def checked_beta(beta: float) -> float:
    """The inverse temperature itself. Raises DataError unless it is a positive number."""
    if not 0.0 < beta < float("inf"):
        raise DataError(f"beta is {beta:g}, not a positive number", "beta = 1 is the usual one")
    return beta


def _value(node: Expr, bound: Bound) -> float:
    match node:
        case Read(name=name):
            return float(getattr(bound.instance, field_name(name)))
        case Apply(function="add" | "sub" | "mul" | "div" as function, arguments=(a, b)):
            x, y = _value(a, bound), _value(b, bound)
            if function == "div":
                return x / y if y else float("nan")
            return {"add": x + y, "sub": x - y, "mul": x * y}[function]
        case Apply(function="neg", arguments=(a,)):
            return -_value(a, bound)
    found = number(node)
    if found is None:
        raise DataError("beta is no plain number", "write a number, or a hyperparameter")
    return found
