"""The generated check of what must hold of given values."""

from __future__ import annotations

from ebmlang.compiler.choose import Plan
from ebmlang.compiler.codegen.energies import number
from ebmlang.compiler.codegen.functions import Functions
from ebmlang.compiler.codegen.lines import Line
from ebmlang.compiler.codegen.methods import Method


def obligations(plan: Plan, functions: Functions) -> list[Method]:
    """A method with the value of every obligation by its text, where the plan has any."""
    if not plan.obligations:
        return []
    e = functions.method()
    e.count(*(o.value for o in plan.obligations))
    entries = [f"{o.says!r}: {number(e, o.value, 'condition').text}" for o in plan.obligations]
    lines = [*functions.prologue(e), *e.lines, Line((), f"{{{', '.join(entries)}}}")]
    doc = "What the method rests on; OBLIGATIONS says what must hold of each value."
    return [Method("obligations", "held: Values", "dict[str, Tensor]", doc, lines)]
