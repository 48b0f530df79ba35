"""Findings to method: the first row of the table whose needs are met, with the reasons."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ebmlang.compiler.choose_blocks import IN_TURN, grouped, moving_condition
from ebmlang.compiler.choose_discrete import fitting_rows, misfit
from ebmlang.compiler.choose_mixed import (
    FREE,
    carried,
    integrates,
    mixed_misfit,
    mixed_rows,
    real_part,
    searched_part,
    why_not_free,
)
from ebmlang.compiler.curvature.obligation import Obligation, both
from ebmlang.compiler.methods import (
    AROUND,
    CONSTRAINED_METHODS,
    DISCRETE_METHODS,
    INNER,
    METHODS,
    MIXED_METHODS,
    WITHOUT_CONSTRAINTS,
    MethodRow,
    claim_of,
    find_method,
    method_names,
)
from ebmlang.compiler.needs import NEED_TEXT, is_hard, missing_text
from ebmlang.compiler.nested import moving_searches
from ebmlang.compiler.structure import Block, Structure, analyse
from ebmlang.compiler.structure.domains import domain_text
from ebmlang.compiler.structure.finding import Finding, Rollout, SoftmaxPart
from ebmlang.compiler.typed import Scan

_WRITTEN = {
    "products with the squared Jacobian of the residuals": "Jacobian",
    "written products with the Hessian": "second derivative",
}
"""Views that come from formulas alone, and what of a nested minimum is lacking for them."""

MOST_STATES = 2**12
"""States of countable unknowns for each of which real ones are searched, for each row."""


@dataclass(frozen=True, slots=True)
class Rejected:
    method: MethodRow
    reason: str


@dataclass(frozen=True, slots=True)
class Plan:
    """The method for a block, why, and what was rejected.

    `method` is None when nothing fits; `because` then says why. The method holds under the
    `obligations`; `fallback`, which needs none, is taken when one of them fails at binding.
    With hard constraints `inner` is the method for the energy that the constraints have been added to; with
    countable unknowns beside real ones it is the method for the real ones. `parts` are the plans of
    groups of unknowns that take turns.
    """

    structure: Structure
    method: MethodRow | None
    because: str
    rejected: tuple[Rejected, ...]
    fallback: MethodRow | None
    options: tuple[tuple[str, float | int | bool | str], ...] = ()
    inner: MethodRow | None = None
    parts: tuple[Plan, ...] = ()

    @property
    def block(self) -> Block:
        return self.structure.block

    @property
    def obligations(self) -> tuple[Obligation, ...]:
        """What must hold of the values for the findings that the method rests on."""
        return () if self.method is None else _obligations(self.structure, self.method)

    @property
    def answer(self) -> str:
        """What is known of the answer of the method: a stationary point of a convex energy is its minimum."""
        return "" if self.method is None else claim_of(self.method, convex=self.convex)

    @property
    def convex(self) -> bool:
        """Whether the problem is proven convex, without conditions, in the coordinates that are searched."""
        found = self.structure.find("convex")
        if found is None or found.obligations or self.block.query.summed:
            return False
        plain = all(v.domain.rule.geometry in ("everywhere", "closed convex") for v in self.block.sought)
        return plain and self.structure.find("interior") is None

    @property
    def rollout(self) -> Rollout | None:
        """The states and the action, when the energy is that of a rollout."""
        names = ("linear-quadratic rollout", "rollout", "staged constraints")
        found = next(filter(None, map(self.structure.find, names)), None)
        return found.rollout if found is not None else None

    @property
    def softmax(self) -> tuple[SoftmaxPart, ...]:
        """The minimisers in closed form, when the energy is linear minus entropies."""
        found = self.structure.find("linear minus entropy")
        return found.softmax if found is not None else ()

    @property
    def mixture(self) -> Finding | None:
        """The finding that splits the energy into scores and the rest, when the method works on them."""
        return self.structure.find("separate scores")

    @property
    def maxima(self) -> Finding | None:
        """The finding that names the kinks, when the method puts heights above them."""
        by = self.method is not None and self.method.name == "epigraph"
        return self.structure.find("maxima of affine values") if by else None

    @property
    def split(self) -> Finding | None:
        """The finding that splits the energy, when the method works on the parts."""
        return self.structure.find("smooth plus absolute values")


def choose(block: Block, method_name: str | None = None) -> Plan:
    """The plan for a block; `method_name` (or `using` in the file) overrides the pick."""
    structure = analyse(block)
    using = block.query.using
    options = using.options if using is not None else ()
    name = method_name if method_name is not None else using.name if using is not None else None
    if using is not None and method_name is not None and method_name != using.name:
        options = ()
    if block.query.summed:
        return _free(structure, name, options)
    if structure.find("mixed") is not None:
        return _mixed(structure, name, options)
    if structure.find("discrete") is not None:
        return _discrete(structure, name, options)
    if name in tuple(row.name for row in MIXED_METHODS):
        because = f"{name} does not fit: the unknowns are not countable and real ones at once"
        return Plan(structure, None, because, (), None)
    if name in tuple(row.name for row in DISCRETE_METHODS):
        because = f"{name} does not fit: {missing_text(structure, 'discrete')}"
        return Plan(structure, None, because, (), None)
    if block.limits:
        return _constrained(structure, name, options)
    outside = tuple(row.name for row in CONSTRAINED_METHODS)
    if name in outside:
        return Plan(structure, None, f"{name} does not fit: the question has no hard constraints", (), None)
    return _among(structure, WITHOUT_CONSTRAINTS, name, options)


def _among(
    structure: Structure,
    rows: tuple[MethodRow, ...],
    name: str | None,
    options: tuple[tuple[str, float | int | bool | str], ...],
) -> Plan:
    """The plan for an energy, with the methods of these rows."""
    fitting: list[MethodRow] = []
    rejected: list[Rejected] = []
    parts: tuple[Plan, ...] = ()
    for row in rows:
        missing = [need for need in row.needs if structure.find(need) is None]
        reason = missing_text(structure, missing[0]) if missing else ""
        if row.name == IN_TURN and not any(map(is_hard, missing)) and (not missing or row.name == name):
            parts = tuple(choose(part) for part in grouped(structure))
            moving = moving_condition(structure, parts)
            if moving and row.name == name:
                return Plan(structure, None, f"{name} does not fit: {moving}", tuple(rejected), None)
            reason = reason or moving
        lacking = [_WRITTEN[view] for view in row.views if view in _WRITTEN]
        if not reason and lacking and moving_searches(structure.block):
            reason = f"the {lacking[0]} of a nested minimum is not written down"
        if reason:
            rejected.append(Rejected(row, reason))
        else:
            fitting.append(row)
    if name is not None:
        plan = _overridden(structure, name, fitting, rejected, options)
    else:
        picked = fitting[0]
        later = tuple(Rejected(row, f"{picked.name} comes first") for row in fitting[1:])
        fallback = _fallback(structure, picked, fitting)
        plan = Plan(structure, picked, _because(structure, picked), (*rejected, *later), fallback, options)
    if plan.method is None or plan.method.name != IN_TURN:
        return plan
    return replace(plan, parts=parts)


def _constrained(
    structure: Structure, name: str | None, options: tuple[tuple[str, float | int | bool | str], ...]
) -> Plan:
    """The plan under hard constraints: a method for them, and one for the energy that they are added to."""
    broken = tuple(v for v in structure.block.sought if v.domain.rule.geometry == "closed")
    if broken:
        because = f"no method keeps hard constraints and {domain_text(broken)} at once"
        return Plan(structure, None, because, (), None)
    outer, general = {row.name: row for row in CONSTRAINED_METHODS}, CONSTRAINED_METHODS[-1]
    rows = tuple(row for row in METHODS if row.name in INNER)
    others = tuple(
        Rejected(row, "hard constraints are not part of its problem") for row in METHODS if row not in rows
    )
    inner = _among(structure, rows, None if name in outer else name, options)
    if inner.method is None:
        return inner
    rejected, fitting = [], []
    for row in CONSTRAINED_METHODS:
        missing = [need for need in row.needs if structure.find(need) is None]
        if missing:
            rejected.append(Rejected(row, missing_text(structure, missing[0])))
        else:
            fitting.append(row)
    picked = fitting[0] if name is None else outer.get(name, general)
    if picked not in fitting:
        reason = next(r.reason for r in rejected if r.method is picked)
        return Plan(structure, None, f"{name} does not fit: {reason}", (*rejected, *others), None)
    decisive = structure.find(next(need for need in reversed(picked.needs) if need not in _PLAIN))
    why = "asked for by name" if name is not None else f"{decisive}"
    later = tuple(Rejected(row, f"{picked.name} comes first") for row in fitting if row is not picked)
    if picked.name in AROUND:
        within = tuple(replace(r, reason=f"inside {picked.name}: {r.reason}") for r in inner.rejected)
    else:
        within = tuple(Rejected(row, others[0].reason) for row in rows)
    return Plan(structure, picked, why, (*rejected, *later, *within, *others), general, options, inner.method)


def _discrete(
    structure: Structure, name: str | None, options: tuple[tuple[str, float | int | bool | str], ...]
) -> Plan:
    """The plan for a block of discrete unknowns; sizes decide at binding whether its fallback is taken."""
    discrete = structure.find("discrete")
    assert discrete is not None
    reason = misfit(structure, discrete, name)
    if reason:
        return Plan(structure, None, reason, (), None)
    fitting, unfit = fitting_rows(structure)
    rejected = tuple(Rejected(row, why) for row, why in unfit)
    picked = fitting[0] if name is None else next(row for row in fitting if row.name == name)
    if name is not None:
        others = tuple(Rejected(row, "another method was asked for") for row in fitting if row is not picked)
        return Plan(structure, picked, "asked for by name", (*others, *rejected), None, options)
    later = tuple(Rejected(row, f"{picked.name} comes first") for row in fitting[1:])
    found = structure.find("tables") or structure.find("whole terms")
    because = found.because if found is not None else discrete.because
    arranged = structure.find("arranged")
    if arranged is not None:
        because = f"{arranged.because}; {because}"
    fallback = None if picked.name == "assignment" else fitting[-1]
    courses = find_method("cross_entropy")
    if picked.name == "enumeration" and courses in fitting and _recurrent(structure.block):
        fallback = courses
    return Plan(structure, picked, because, (*rejected, *later), fallback, options)


def _recurrent(block: Block) -> bool:
    """Whether the energy goes through a recurrence over the unknowns, as that of a course of actions does."""
    found = (let.value for let in block.graph.model.lets if block.depends.reads(let.name))
    return any(isinstance(value, Scan) for value in found)


def _mixed(
    structure: Structure, name: str | None, options: tuple[tuple[str, float | int | bool | str], ...]
) -> Plan:
    """The plan for countable unknowns beside real ones: a method around the one for the real ones."""
    mixed = structure.find("mixed")
    assert mixed is not None
    reason = mixed_misfit(mixed, name)
    if reason:
        return Plan(structure, None, reason, (), None)
    inner = choose(real_part(structure.block))
    if inner.method is None:
        return Plan(structure, None, inner.because, (), None)
    picked, fallback = mixed_rows(name)
    why = mixed.because if name is None else "asked for by name"
    others = tuple(Rejected(row, f"{picked.name} comes first") for row in MIXED_METHODS if row is not picked)
    because = f"{why}; given the others, {inner.method.name} for the real ones ({inner.because})"
    return Plan(structure, picked, because, others, fallback, options, inner.method)


def _free(
    structure: Structure, name: str | None, options: tuple[tuple[str, float | int | bool | str], ...]
) -> Plan:
    """The plan for lowering the free energy that is left when some unknowns are summed out."""
    block = structure.block
    reason = why_not_free(block, structure)
    if reason:
        return Plan(structure, None, f"no method fits, because {reason}", (), None)
    outer = carried(analyse(searched_part(block)))
    plan = _among(outer, tuple(row for row in METHODS if row.name in FREE), name, options)
    about = tuple(f for f in structure.findings if f.property in ("discrete", "tables", "rows", "joint"))
    summed = ", ".join(block.query.summed)
    how = "integrated out in closed form" if integrates(block) else "summed out by elimination"
    because = f"{summed} is {how}, which leaves a free energy; {plan.because}"
    why = "what it needs is not proven of a free energy"
    others = tuple(Rejected(row, why) for row in METHODS if row.name not in FREE)
    found = Structure(block, (*about, *outer.findings))
    return replace(plan, structure=found, because=because, rejected=(*plan.rejected, *others))


def _overridden(
    structure: Structure,
    name: str,
    fitting: list[MethodRow],
    rejected: list[Rejected],
    options: tuple[tuple[str, float | int | bool | str], ...],
) -> Plan:
    row = find_method(name)
    if row is None:
        known = ", ".join(method_names())
        return Plan(structure, None, f"there is no method `{name}`; methods are {known}", (), None)
    if row.name not in (*(m.name for m in fitting), *(r.method.name for r in rejected)):
        return Plan(structure, None, f"{name} does not fit: it takes no hard constraints", (), None)
    # Kinks do not stop a gradient method that somebody asks for by name; a missing view does.
    for need in row.needs:
        if is_hard(need) and structure.find(need) is None:
            because = f"{name} does not fit: it needs {NEED_TEXT[need]}; {missing_text(structure, need)}"
            return Plan(structure, None, because, tuple(rejected), None)
    others = tuple(Rejected(m, "another method was asked for") for m in fitting if m is not row)
    kept = tuple(r for r in rejected if r.method is not row)
    fallback = _fallback(structure, row, fitting)
    return Plan(structure, row, "asked for by name", (*kept, *others), fallback, options)


def _obligations(structure: Structure, row: MethodRow) -> tuple[Obligation, ...]:
    found = [f.obligations for need in row.needs if (f := structure.find(need)) is not None]
    return both(*found) or ()


def _fallback(structure: Structure, row: MethodRow, fitting: list[MethodRow]) -> MethodRow | None:
    """The first other method that fits whatever the values are. Its formulas are not in the file of the
    plan, so that it is none that cannot do without."""
    if not _obligations(structure, row) and not row.provided:
        return None
    plain = (m for m in fitting if not m.provided and not any(view in _WRITTEN for view in m.views))
    free = (m for m in plain if not _obligations(structure, m))
    return next((m for m in free if m is not row), None)


_PLAIN = ("unconstrained", "separable bounds", "linear bounds", "separate coordinates")
"""Needs that are no reason for a method: they only say that nothing stands in its way."""


def _because(structure: Structure, row: MethodRow) -> str:
    found = [f for need in row.needs if (f := structure.find(need)) is not None]
    found = [f for f in found if f.property not in _PLAIN] or found
    if not found:
        rough = structure.find("kinks") or structure.find("steps")
        return f"every other method needs more: {rough}" if rough is not None else "no structure was found"
    return "; ".join(f"{f.property} in {', '.join(f.variables)} ({f.because})" for f in found)
