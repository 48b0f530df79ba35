"""The generated methods of a convex quadratic minus log-sum-exps: the scores, and everything else."""

from __future__ import annotations

from dataclasses import dataclass

from ebmlang.compiler.choose import Plan
from ebmlang.compiler.codegen.energies import ARGUMENTS, number
from ebmlang.compiler.codegen.functions import Functions, simplified
from ebmlang.compiler.codegen.layout import SUM, Layout
from ebmlang.compiler.codegen.lines import Line
from ebmlang.compiler.codegen.methods import Method
from ebmlang.compiler.codegen.names import local_name
from ebmlang.compiler.structure.finding import MixturePart
from ebmlang.compiler.typed import Expr, Fold, Level

_SCORES = "list[tuple[Tensor, Tensor]]"


@dataclass(slots=True)
class Mixtures:
    """Writes `scores` and `rest`, where the plan works on them."""

    plan: Plan
    functions: Functions

    def methods(self) -> list[Method]:
        found = self.plan.mixture
        return [] if found is None else [self.scores(found.mixtures), self.rest(found.rest)]

    def roots(self) -> list[tuple[str, Expr]]:
        """Everything that will be written, for what can be computed once."""
        found = self.plan.mixture
        if found is None:
            return []
        parts = [(local_name(m.summand), value) for m in found.mixtures for value in (m.scores, m.weight)]
        return [*parts, *(("rest", simplified(part)) for part in found.rest)]

    def scores(self, parts: tuple[MixturePart, ...]) -> Method:
        e = self.functions.method()
        e.count(*(m.scores for m in parts), *(m.weight for m in parts))
        texts = []
        for m in parts:
            over = m.value.over if isinstance(m.value, Fold) else ()
            where = Layout(m.scores.level is Level.EXAMPLE, (*m.axes, *over), m.scores.type.rank)
            value = e.expanded(number(e, m.scores, f"{local_name(m.summand)}_scores"), where)
            value = e.assign(f"{local_name(m.summand)}_scores", value, m.scores.type.shape)
            outside = Layout(m.weight.level is Level.EXAMPLE, m.axes, 0)
            weight = e.expanded(number(e, m.weight, f"{local_name(m.summand)}_weight"), outside)
            texts.append(f"({weight.text}, {value.text})")
        doc = "Pairs (weight, scores): the energy holds -weight * logsumexp(scores) of each."
        lines = [*self.functions.prologue(e), *e.lines, Line((), f"[{', '.join(texts)}]")]
        return Method("scores", ARGUMENTS, _SCORES, doc, lines)

    def rest(self, parts: tuple[Expr, ...]) -> Method:
        doc = "The quadratic part of the energy, as far as it depends on what is sought: [B]."
        e = self.functions.method()
        values = [simplified(part) for part in parts]
        e.count(*values)
        texts = [number(e, value, "rest").at(SUM) for value in values]
        total = " + ".join(texts) or "torch.zeros((), dtype=self.dtype, device=self.device)"
        lines = [*self.functions.prologue(e), *e.lines, Line((), total)]
        return Method("rest", ARGUMENTS, "Tensor", doc, lines)
