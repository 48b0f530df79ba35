"""The method that a bound question gets: the plan's, unless sizes or values speak against it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ebmlang.compiler.choose_blocks import IN_TURN
from ebmlang.compiler.methods import find_method
from ebmlang.runtime.bind import Bound
from ebmlang.runtime.blocks import Blocks
from ebmlang.runtime.domain_base import Kind
from ebmlang.runtime.linear.patterns import BandedPattern, BlockDiagonalPattern, DensePattern, Pattern
from ebmlang.runtime.obligations import unmet
from ebmlang.runtime.problem import Problem, View
from ebmlang.runtime.rollout import width
from ebmlang.runtime.solvers import SOLVERS, AbstractSolver, Cem, Fista, Mppi
from ebmlang.runtime.solvers.accelerated_gradient import FEWEST
from ebmlang.runtime.solvers.affordable import too_costly

LARGEST_SYSTEM = 1_000
"""Actions at all times together, up to which one linear system takes over from riccati: it names the
directions along which the energy does not change, or falls."""

OF_SQUARES = "projected_gauss_newton"
"""What takes over from groups in turn where the energy is a sum of losses and its matrix is small."""

BY_NAME = "asked for by name"
FEWEST_IN_TURN = 2_000
"""Unknowns with bounds entry by entry, below which groups in turn are slower than all unknowns at once."""

WIDEST_IN_TURN = 8
"""Entries of a group that meet each other, with bounds entry by entry, above which groups in turn are slower
too: each turn costs a factorisation of as many."""

WIDEST_STAGE = 100
"""States and actions of one time, beyond which their curvature costs more than it saves."""


def picked(bound: Bound, problem: Problem, asked: str) -> tuple[str, str]:
    """The method and the reason, after the plan has met the numbers; `asked` overrides it."""
    module = bound.module
    name, because = asked or module.METHOD, module.BECAUSE
    if name == module.METHOD:
        failed = unmet(module, bound.instance, problem.held)
        if failed:
            return module.FALLBACK or "adam", f"{name} does not apply: {failed[0]}"
    by_name = module.BECAUSE == BY_NAME or bool(asked)
    if name == "accelerated_gradient" and not by_name and problem.space.size < FEWEST:
        because = f"accelerated_gradient does not apply: there are only {problem.space.size:,} unknowns"
        name = module.FALLBACK
    # Steps along all unknowns at once are cheaper, and with bounds entry by entry there are good ones.
    few = problem.space.size < FEWEST_IN_TURN and module.FALLBACK == "projected_lbfgs"
    if name == IN_TURN and few and not by_name:
        because = f"{name} does not pay: there are only {problem.space.size:,} unknowns"
        squares = View.GAUSS_NEWTON in problem.views and too_costly(problem, OF_SQUARES) is None
        return OF_SQUARES if squares else module.FALLBACK, because
    if name == "fista" and problem.lengths and problem.space.mask is not None:
        return module.FALLBACK or "adam", "fista does not apply: entries of groups are given"
    row = find_method(name)
    if row is not None and row.otherwise:
        lacking = ", ".join(view.value for view in SOLVERS[name].needs - problem.views)
        if lacking:
            return row.otherwise, f"{name} does not apply: there are no {lacking}"
        reason = None if by_name else too_costly(problem, name)
        if reason is not None:
            return row.otherwise, f"{name} does not pay: {reason}"
    if name in ("cem", "mppi") and problem.rollout is None:
        return "adam", f"{name} does not apply: some actions are given"
    if name in ("riccati", "ilqr") and not asked:
        otherwise = without_recursion(problem, name)
        if problem.rollout is None:
            return otherwise, f"{name} does not apply: some actions are given"
        count = width(problem.rollout, problem.space, problem.held)
        if name == "ilqr" and count > WIDEST_STAGE:
            return otherwise, f"ilqr does not apply: {count:,} states and actions at one time are too many"
    return name, because


def in_turn_or_at_once(bound: Bound, blocks: Blocks, asked: str) -> tuple[str, str]:
    """Whether groups take turns, or all unknowns go at once because the groups do not pay; and why."""
    module = bound.module
    wide = max((_meeting(part.problem.pattern) for part in blocks.parts), default=0)
    by_name = module.BECAUSE == BY_NAME or bool(asked)
    if by_name or wide <= WIDEST_IN_TURN or module.FALLBACK != "projected_lbfgs":
        return IN_TURN, module.BECAUSE
    return module.FALLBACK, f"{IN_TURN} does not pay: {wide} entries of a group meet each other"


def _meeting(pattern: Pattern) -> int:
    """How many entries meet each other at most."""
    match pattern:
        case DensePattern(size=size):
            return size
        case BlockDiagonalPattern(block=block):
            return block
        case BandedPattern(bandwidth=bandwidth):
            return bandwidth + 1
    return 1


def without_recursion(problem: Problem, name: str) -> str:
    """What takes over from `riccati` or `ilqr`."""
    if not problem.space.kinds <= {Kind.LINEAR}:
        return "projected_lbfgs"
    return "quadratic" if name == "riccati" and problem.space.size <= LARGEST_SYSTEM else "lbfgs"


def least_weight(bound: Bound, problem: Problem) -> float:
    """The least weight of an absolute value, at most 0."""
    if not bound.module.SPLIT:
        return 0.0
    return min((float(w.min()) for w in bound.instance.absolute(problem.held).values()), default=0.0)


def negative_weight(least: float) -> str:
    """Why fista does not apply."""
    return f"a weight of an absolute value is negative ({least:g}), so fista does not apply"


def make_solver(name: str, options: Mapping[str, Any], quadratic: bool, seed: int = 0) -> AbstractSolver:
    """A solver by its name, with the options that it has; the seed is for those that draw."""
    kind = SOLVERS[name]
    own = {k: v for k, v in options.items() if k not in ("steps", "tol", "restarts")}
    if kind is Fista:
        own["quadratic"] = quadratic
    if issubclass(kind, Cem | Mppi):
        own["seed"] = seed
    return kind(**own)
