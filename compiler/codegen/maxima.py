"""The generated methods of an energy with kinks: the maxima of affine values, and everything else."""

from __future__ import annotations

from dataclasses import dataclass

from ebmlang.compiler.choose import Plan
from ebmlang.compiler.codegen.energies import ARGUMENTS, every_position, number
from ebmlang.compiler.codegen.functions import Functions, simplified
from ebmlang.compiler.codegen.layout import SUM
from ebmlang.compiler.codegen.lines import Line
from ebmlang.compiler.codegen.methods import Method
from ebmlang.compiler.codegen.names import local_name
from ebmlang.compiler.structure.block import Summand
from ebmlang.compiler.structure.finding import MaximumPart
from ebmlang.compiler.typed import Expr

_MAXIMA = "list[tuple[Tensor, list[Tensor]]]"


@dataclass(slots=True)
class Maxima:
    """Writes `maxima` and `without_kinks`, where the plan works on them."""

    plan: Plan
    functions: Functions

    def methods(self) -> list[Method]:
        found = self.plan.maxima
        return [] if found is None else [self.maxima(found.maxima), self.without_kinks(found.smooth)]

    def roots(self) -> list[tuple[str, Expr]]:
        """Everything that will be written, for what can be computed once."""
        found = self.plan.maxima
        if found is None:
            return []
        parts = [(local_name(m.summand), value) for m in found.maxima for value in (*m.values, m.weight)]
        return [*parts, *(("without_kinks", simplified(part)) for part in found.smooth)]

    def maxima(self, parts: tuple[MaximumPart, ...]) -> Method:
        e = self.functions.method()
        e.count(*(value for m in parts for value in (*m.values, m.weight)))
        texts = []
        for m in parts:
            name = local_name(m.summand)
            values = [every_position(e, Summand(name, value, m.axes, m.mask)).text for value in m.values]
            weight = every_position(e, Summand(f"{name}_weight", m.weight, m.axes, m.mask)).text
            texts.append(f"({weight}, [{', '.join(values)}])")
        doc = (
            "Pairs (weight, values): the energy holds the weighted sum of the largest values, as MAXIMA says."
        )
        lines = [*self.functions.prologue(e), *e.lines, Line((), f"[{', '.join(texts)}]")]
        return Method("maxima", ARGUMENTS, _MAXIMA, doc, lines)

    def without_kinks(self, parts: tuple[Expr, ...]) -> Method:
        doc = "The energy without its kinks, as far as it depends on what is sought: [B]."
        e = self.functions.method()
        values = [simplified(part) for part in parts]
        e.count(*values)
        texts = [number(e, value, "smooth").at(SUM) for value in values]
        total = " + ".join(texts) or "torch.zeros((), dtype=self.dtype, device=self.device)"
        lines = [*self.functions.prologue(e), *e.lines, Line((), total)]
        return Method("without_kinks", ARGUMENTS, "Tensor", doc, lines)
