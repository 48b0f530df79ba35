"""Inference: never above its start, inside the domain, and stationary or with a status that says so."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from ebmlang.api import Model
from ebmlang.compiler.methods import MIXED_METHODS
from ebmlang.errors import DataError
from ebmlang.runtime import ask, posing
from ebmlang.runtime.bind import Bound, bind
from ebmlang.runtime.constrained import Constrained
from ebmlang.runtime.discrete.answer import is_discrete
from ebmlang.runtime.problem import Problem
from ebmlang.runtime.result import Result
from ebmlang.runtime.search import Search
from ebmlang.testing.case import CheckFailed
from ebmlang.testing.checks import NOT_CHECKED, Remarks
from ebmlang.testing.discrete import judge_discrete
from ebmlang.testing.evaluate import Values, hypers_of, objective, settings

STEPS = 200
"""Step limit of the searches; ending there is an honest outcome."""

INSIDE = 1e-9
"""How far outside of its domain an answer may lie by rounding."""

PROBE = 1e-7
"""Length of the moves that look for a descent."""

DESCENT = 1e-4
"""Energy per length that an answer which is called converged may still offer, relative to 1 + the gradient
at the start. Solvers promise 1e-9; the rest is for curvature and rounding over a move of PROBE."""

HELD = 1e-6
"""How far a constraint of a row that is called converged may be off, relative to 1 + its value and
multiplier; solvers promise 1e-9 of the value at the start."""

_MOST_DIRECTIONS = 24


CONVERGED = "converged"
"""How the sentences of statuses begin that claim a first-order condition."""


def check_inference(model: Model, values: Values) -> Remarks:
    """The file's question from its declared start, with the given variables at the values.

    NaN entries of `missing` variables are found too. Raises CheckFailed when the energy ends above its
    start, when an answer leaves its domain, when a row is called converged though a short move lowers it, or
    when the question cannot be asked of these values.
    """
    blank = frozenset(n for n, a in values.items() if bool(np.isnan(np.asarray(a, dtype=np.float64)).any()))
    observed = frozenset(v.name for v in model.checked.variables if v.role == "observed") & values.keys()
    asked = model.asked(None, observed, None, None, blank)
    if not asked.sought:
        return Counter({f"{NOT_CHECKED}nothing is sought": 1})
    plan, module = model.compiled(asked, None)
    if plan.method is None:
        return Counter({f"{NOT_CHECKED}{plan.because}": 1})
    if plan.method in MIXED_METHODS:
        return Counter({f"{NOT_CHECKED}real and countable unknowns at once are two questions": 1})
    summed = [v for v in model.checked.variables if v.name in plan.block.query.summed]
    if any(v.type.kind == "real" for v in summed):
        names = ", ".join(v.name for v in summed)
        return Counter({f"{NOT_CHECKED}an integral over {names} is inside of the search": 1})
    known = {v.name for v in model.checked.variables if v.role != "hyper"}
    given = {n: a for n, a in values.items() if n in known and (n not in asked.sought or n in blank)}
    try:
        hypers, sought = hypers_of(model, values), frozenset(asked.sought)
        bound = bind(module, hypers, given, settings(), sought, blank, model.nets.fresh())
        masks = {name: ~torch.isnan(bound.values[name]) for name in blank}
        if is_discrete(bound):
            return judge_discrete(bound, ask.infer(bound, Search(steps=STEPS), masks))
        problem = posing.make_problem(bound, masks)
        found = ask.infer(bound, Search(steps=STEPS), masks)
    except DataError as error:
        raise CheckFailed(f"inference refuses the values: {error.message}") from None
    return _judge(bound, problem, found)


def _judge(bound: Bound, problem: Problem, found: Result) -> Remarks:
    start = problem.space.start(0, np.arange(problem.space.batch, dtype=np.int64))
    answer = {name: found.values[name] for name in bound.module.SOUGHT}
    begun = _seen(bound, problem, start.x)
    with torch.no_grad():
        before, after = objective(bound, begun), objective(bound, answer)
    constrained = posing.constrained_problem(bound, problem) if posing.plan_inner(bound.module) else None
    if constrained is None:
        _require_no_rise(before, after)
    x = problem.space.pack(_for_space(bound, problem, answer))
    if not bool(problem.space.inside(x, INSIDE).all()):
        row = int((~problem.space.inside(x, INSIDE)).nonzero()[0])
        raise CheckFailed(f"the answer in row {row} lies outside of its domain")
    converged = found.converged
    for sentence, ended in zip(found.status, converged.tolist(), strict=True):
        if ended != sentence.startswith(CONVERGED):
            raise CheckFailed(f"the status and `converged` disagree: {ended} and `{sentence}`")
    multipliers = None if constrained is None else _require_constraints(constrained, x, found)
    _require_stationary(problem, start.x, x, converged, constrained, multipliers)
    return Counter(sentence.split(":")[0] for sentence in found.status)


def _require_no_rise(before: Tensor, after: Tensor) -> None:
    slack = 1e-12 * (1 + before.abs())
    risen = torch.isfinite(before) & ~(after <= before + slack)
    if bool(risen.any()):
        row = int(risen.reshape(-1).nonzero()[0])
        a, b = float(before.reshape(-1)[row]), float(after.reshape(-1)[row])
        raise CheckFailed(f"inference raised the energy in row {row} from {a!r} at the start to {b!r}")


def _require_constraints(constrained: Constrained, x: Tensor, found: Result) -> Tensor:
    """Where a row is called converged its constraints hold, and multipliers are those of a minimum: none is
    negative for an inequality, and none pulls at one that has room. Returns them, [R, M]."""
    rows = found.energy.shape[0]
    joint = constrained.problem.space.joint
    count = 1 if joint else rows
    each = [found.multipliers[s.name] for s in constrained.specs]
    y = torch.cat([v.flatten()[None] if joint else v.reshape(count, v[0].numel()) for v in each], 1)
    with torch.no_grad():
        c = constrained.values(x)
    equal, scale = constrained.equal(x), 1 + c.abs() + y.abs()
    off = torch.where(equal, c.abs(), torch.maximum(c, torch.maximum(-y, torch.minimum(-c, y))))
    bad = (off > HELD * scale).any(1) & (found.converged[:count] if not joint else found.converged.all())
    if bool(bad.any()):
        row = int(bad.nonzero()[0])
        raise CheckFailed(
            f"row {row} is called converged, but its constraints are off by {float(off[row].max()):.3g}"
        )
    return y


def _require_stationary(
    problem: Problem,
    start: Tensor,
    x: Tensor,
    converged: Tensor,
    constrained: Constrained | None = None,
    multipliers: Tensor | None = None,
) -> None:
    """No short feasible move lowers the energy of a row that is called converged; under hard constraints the
    energy with the constraints times their multipliers.

    A minimum along one line is not enough, so moves go down the gradient and along single coordinates,
    wherever the solver looked.
    """
    rows = converged if converged.shape[0] == x.shape[0] else converged.all().reshape(1)
    if not bool(rows.any()):
        return

    def lowered(at: Tensor) -> Tensor:
        with torch.no_grad():
            value = problem.energy(at)
            if constrained is not None and multipliers is not None:
                value = value + (multipliers * constrained.values(at)).sum(1)
        return value

    energy = lowered(x)
    _, gradient = problem.energy_and_gradient(x)
    if constrained is not None and multipliers is not None:
        gradient = gradient + constrained.pulled_back(x, multipliers)[1]
    _, first = problem.energy_and_gradient(start)
    usual = 1 + torch.nan_to_num(torch.linalg.vector_norm(first, dim=1), nan=0.0, posinf=0.0)
    allowed = DESCENT * usual + 64 * torch.finfo(x.dtype).eps * energy.abs() / PROBE
    directions = [-gradient / torch.linalg.vector_norm(gradient, dim=1, keepdim=True).clamp(min=1e-300)]
    for entry in range(0, x.shape[1], max(1, x.shape[1] // (_MOST_DIRECTIONS // 2))):
        along = torch.zeros_like(x)
        along[:, entry] = 1.0
        directions += [along, -along]
    for direction in directions:
        move = PROBE * problem.space.tangent(x, torch.nan_to_num(problem.space.sought(direction)))
        rate = (energy - lowered(problem.space.retract(x, move))) / PROBE
        bad = rows & torch.isfinite(energy) & (rate > allowed)
        if bool(bad.any()):
            row = int(bad.nonzero()[0])
            raise CheckFailed(
                f"row {row} is called converged, but a move of {PROBE:g} lowers the energy at a rate of "
                f"{float(rate[row]):.3g}"
            )


# --- layouts ------------------------------------------------------------------------------------


def _seen(bound: Bound, problem: Problem, x: Tensor) -> dict[str, Tensor]:
    """Coordinates as generated code sees values: [B, *shape], shared ones [*shape]."""
    found = problem.space.values(x)
    if problem.space.joint:
        found = {name: value[0] for name, value in found.items()}
    return {name: v if bound.specs[name].per_example else v[0] for name, v in found.items()}


def _for_space(bound: Bound, problem: Problem, answer: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The inverse: [R, *row_shape]."""
    rows = {name: v if bound.specs[name].per_example else v[None] for name, v in answer.items()}
    return {name: v[None] for name, v in rows.items()} if problem.space.joint else rows
