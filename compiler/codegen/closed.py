"""The generated method of a minimum in closed form."""

from __future__ import annotations

from dataclasses import dataclass

from ebmlang.compiler.choose import Plan
from ebmlang.compiler.codegen.functions import Functions
from ebmlang.compiler.codegen.lines import Line
from ebmlang.compiler.codegen.methods import Method
from ebmlang.compiler.codegen.names import local_name
from ebmlang.compiler.structure.softmax import softmax_of


@dataclass(slots=True)
class ClosedForm:
    """Writes `closed_form`, where the plan has one."""

    plan: Plan
    functions: Functions

    def methods(self) -> list[Method]:
        parts = self.plan.softmax
        if not parts:
            return []
        e = self.functions.method()
        variables = {v.name: v for v in self.plan.block.sought}
        values = [(p.variable, softmax_of(p.logits, variables[p.variable])) for p in parts]
        e.count(*(value for _, value in values))
        entries = [f'"{name}": {e.emit(value, local_name(name)).text}' for name, value in values]
        doc = f"Where the energy is least over {', '.join(self.plan.block.query.sought)}."
        lines = [*self.functions.prologue(e), *e.lines, Line((), f"{{{', '.join(entries)}}}")]
        return [Method("closed_form", "held: Values", "dict[str, Tensor]", doc, lines)]
