"""Findings to sampler: which draws a question gets, why, and why not others."""

from __future__ import annotations

from dataclasses import dataclass

from ebmlang.compiler.choose import Plan
from ebmlang.compiler.choose_mixed import integrates
from ebmlang.compiler.explanation import found_lines, line
from ebmlang.compiler.needs import has, missing_text
from ebmlang.compiler.samplers import SAMPLERS, SamplerRow, Takes, find_sampler
from ebmlang.compiler.structure import Structure


@dataclass(frozen=True, slots=True)
class SamplerPlan:
    """How the unknowns of a plan are drawn. Without a `row` nothing fits, and `because` says why."""

    plan: Plan
    row: SamplerRow | None
    because: str
    rejected: tuple[tuple[SamplerRow, str], ...]

    @property
    def fallback(self) -> SamplerRow | None:
        """What is taken where sizes or values do not let the sampler work."""
        return find_sampler(self.row.otherwise) if self.row is not None else None


def choose_sampler(plan: Plan, name: str | None) -> SamplerPlan:
    """The sampler for a block; `name` is that of a row that is asked for, by the caller or in the file."""
    structure = plan.structure
    reason = _refused(plan)
    if reason:
        return SamplerPlan(plan, None, reason, ())
    takes = kind_of(structure)
    if name is not None:
        return _named(plan, takes, name)
    reasons = [(row, _misfit(structure, takes, row)) for row in SAMPLERS]
    picked = next(row for row, why in reasons if not why and row.automatic)
    others = tuple(
        (row, why or (f"{picked.name} comes first" if row.automatic else "it is taken only by name"))
        for row, why in reasons
        if row is not picked
    )
    return SamplerPlan(plan, picked, _because(structure, picked, takes), others)


def explain_sampling(chosen: SamplerPlan) -> str:
    """What was found, the sampler with its reason, and why it is none of the others."""
    block = chosen.plan.block
    summed = block.query.summed
    names = ", ".join(v.name for v in block.sought if v.name not in summed)
    lines = [f"draw {names}" + (f" after summing out {', '.join(summed)}" if summed else "")]
    lines += found_lines(chosen.plan)
    row = chosen.row
    if row is None:
        return "\n".join([*lines, line("sampler", f"none: {chosen.because}")])
    lines.append(line("sampler", f"{row.name}: {row.title} ({row.reference})"))
    lines.append(line("because", chosen.because))
    lines.append(line("draws", row.certificate))
    if row.provided:
        lines.append(line("provided", f"{row.provided}; else {row.otherwise}"))
    lines += [line("not", f"{other.name}: {why}") for other, why in chosen.rejected]
    return "\n".join(lines)


def kind_of(structure: Structure) -> Takes:
    """What kinds of unknowns a block has."""
    if structure.find("mixed") is not None:
        return "mixed"
    return "countable" if structure.find("discrete") is not None and not _free(structure) else "real"


def _free(structure: Structure) -> bool:
    """Whether a free energy of real unknowns is left when countable ones are summed out."""
    return bool(structure.block.query.summed)


def _refused(plan: Plan) -> str:
    """Why nothing can be drawn at all, or ""."""
    if plan.method is None:
        return plan.because
    if plan.block.limits:
        names = ", ".join(limit.name for limit in plan.block.limits)
        return f"hard constraints are not kept by any sampler ({names}); a steep energy term is"
    if plan.block.query.summed and integrates(plan.block):
        return "draws after real unknowns are integrated out are not built yet"
    return ""


def _named(plan: Plan, takes: Takes, name: str) -> SamplerPlan:
    row = find_sampler(name)
    if row is None:
        raise ValueError(f"there is no sampler {name!r}")
    reason = _misfit(plan.structure, takes, row)
    if reason:
        return SamplerPlan(plan, None, f"{name} does not fit: {reason}", ())
    others = tuple((other, "another sampler was asked for") for other in SAMPLERS if other is not row)
    return SamplerPlan(plan, row, "asked for by name", others)


_KINDS = {"real": "real numbers", "countable": "countable", "mixed": "countable and real at once"}


def _misfit(structure: Structure, takes: Takes, row: SamplerRow) -> str:
    """Why a sampler does not fit a block, or ""."""
    if takes not in row.takes:
        return f"the unknowns are {_KINDS[takes]}"
    if _free(structure) and row.needs:
        return "what it needs is not proven of a free energy"
    if takes == "mixed":
        return ""
    missing = next((need for need in row.needs if not has(structure, need)), None)
    if missing is None:
        return ""
    whole = structure.find("whole terms")
    if missing == "tables" and whole is not None:
        return whole.because
    return missing_text(structure, missing)


def _because(structure: Structure, row: SamplerRow, takes: Takes) -> str:
    if takes == "mixed":
        found = structure.find("mixed")
        assert found is not None
        return f"{found.because}; each kind is drawn given the other"
    plain = ("unconstrained", "separable bounds")
    named = [f for need in row.needs if need not in plain and (f := structure.find(need)) is not None]
    if named:
        return "; ".join(f"{f.property} in {', '.join(f.variables)} ({f.because})" for f in named)
    rough = structure.find("kinks") or structure.find("steps")
    if rough is not None:
        return f"no law of a known form was found, and slopes lead the way in spite of {rough}"
    return "no law of a known form was found, and slopes lead the way"
