"""The text of `ebmlang explain`: findings, the pick, and what was rejected."""

from __future__ import annotations

import textwrap

from ebmlang.compiler.choose import MOST_STATES, Plan
from ebmlang.compiler.choose_blocks import in_turn
from ebmlang.compiler.methods import AROUND, DISCRETE_METHODS, MIXED_METHODS
from ebmlang.compiler.nested_text import solved_texts
from ebmlang.compiler.structure.finding import Finding
from ebmlang.compiler.typed import Model

WIDTH = 78
"""Columns of the text, which may be set in by two."""


def explain(plan: Plan, at_sizes: str = "") -> str:
    """What was found, the method with its reason and conditions, and why it is none of the others.

    `at_sizes` is what known sizes add to it."""
    block = plan.block
    summed = block.query.summed
    names = ", ".join(v.name for v in block.sought if v.name not in summed) or "nothing"
    lines = [f"seek {names}" + (f" after summing out {', '.join(summed)}" if summed else "")]
    lines += found_lines(plan)
    if plan.method is None:
        lines.append(line("method", f"none: {plan.because}"))
    else:
        row = plan.method
        around = plan.inner is not None and row.name in AROUND
        title = f"{row.title} {plan.inner.name}" if around and plan.inner is not None else row.title
        lines.append(line("method", f"{row.name}: {title} ({row.reference})"))
        lines.append(line("because", plan.because))
        if plan.parts:
            lines.append(line("in turn", in_turn(plan.parts)))
        lines.append(line("answer", plan.answer))
        lines += [line("provided", condition) for condition in _conditions(plan)]
        lines += [line("sizes", at_sizes)] if at_sizes else []
    lines += [line("not", f"{r.method.name}: {r.reason}") for r in plan.rejected]
    lines += solved_lines(block.graph.model)
    return "\n".join(lines)


def solved_lines(model: Model) -> list[str]:
    """How every nested minimum is found and differentiated."""
    return [line("solve", text) for text in solved_texts(model)]


def found_lines(plan: Plan) -> list[str]:
    """The findings; one about every unknown does not repeat their names."""
    every = {v.name for v in plan.block.sought}
    return [line("found", _said(f, set(f.variables) == every)) for f in plan.structure.findings]


def line(label: str, text: str) -> str:
    """One entry, folded below where its text begins."""
    return textwrap.fill(
        text,
        WIDTH,
        initial_indent=f"  {label:<8} ",
        subsequent_indent=" " * 11,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _said(finding: Finding, of_all: bool) -> str:
    names = "" if of_all else f" in {', '.join(finding.variables)}"
    return f"{finding.property}{names}{finding.given()}: {finding.because}"


def _conditions(plan: Plan) -> list[str]:
    """What has to hold of sizes and values for the method, and what is taken where it does not."""
    row, fallback = plan.method, plan.fallback
    assert row is not None
    otherwise = fallback.name if fallback is not None else "nothing"
    found = []
    if row in DISCRETE_METHODS and fallback not in (None, row):
        found.append(f"it fits into memory when sizes are known; else {otherwise}")
    if row in MIXED_METHODS and fallback is not None:
        found.append(f"there are at most {MOST_STATES:,} states; else {otherwise}")
    if row.name == "interior_point" and plan.inner is not None and not plan.convex:
        says = "the energy is convex, checked on its matrix when values are bound"
        found.append(f"{says}; else {otherwise} around {plan.inner.name}")
    if row.otherwise:
        found.append(f"its matrices are small once sizes are known; else {row.otherwise}")
    conditions = (*(o.says for o in plan.obligations), *filter(None, (row.provided,)))
    if conditions and (plan.obligations or fallback is not None):
        found.append(f"{', '.join(conditions)}; else {otherwise}")
    return found
