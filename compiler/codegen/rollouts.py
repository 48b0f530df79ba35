"""The generated methods of a rollout: its states as arrays that are given, not computed in a loop."""

from __future__ import annotations

from dataclasses import dataclass

from ebmlang.compiler.choose import Plan
from ebmlang.compiler.codegen.energies import number
from ebmlang.compiler.codegen.expressions import Emitter
from ebmlang.compiler.codegen.functions import Functions, simplified
from ebmlang.compiler.codegen.layout import ATOM, SUM, Code, Layout, comment, spread
from ebmlang.compiler.codegen.lines import Line, Statement
from ebmlang.compiler.codegen.methods import Method
from ebmlang.compiler.codegen.names import local_name
from ebmlang.compiler.lifting import next_cells
from ebmlang.compiler.typed import Scan

_ARGUMENTS = "states: Values, unknown: Values, held: Values"


@dataclass(slots=True)
class Rollouts:
    """Writes what a solver that goes step by step asks for."""

    plan: Plan
    functions: Functions

    def methods(self) -> list[Method]:
        rollout = self.plan.rollout
        if rollout is None:
            return []
        scan = self.plan.block.graph.lets[rollout.states[0]].value
        assert isinstance(scan, Scan)
        return [self.starts(scan), self.steps(scan), self.cost(scan)]

    def _emitter(self, scan: Scan) -> Emitter:
        """An emitter that reads the states as they are given."""
        e = self.functions.method()
        names = {s.name for s in scan.states}
        e.lets = {name: let for name, let in e.lets.items() if name not in names}
        e.available = {**e.available, **{name: local_name(name) for name in names}}
        return e

    def _lines(self, scan: Scan, e: Emitter) -> list[Statement]:
        lines = self.functions.prologue(e)
        for state in scan.states:
            local = local_name(state.name)
            if local in e.used:
                let = self.plan.block.graph.lets[state.name]
                code = Code(local, ATOM, True, (), let.value.type.rank, "real")
                lines.append(Line((local,), f'states["{state.name}"]', comment(code, let.value.type.shape)))
        return [*lines, *e.lines]

    def starts(self, scan: Scan) -> Method:
        e = self.functions.method()
        cells = [state.starts[0] for state in scan.states]
        e.count(*cells)
        entries = []
        for state, cell in zip(scan.states, cells, strict=True):
            code = spread(number(e, cell, local_name(state.name)), Layout(True, (), cell.type.rank))
            entries.append(f'"{state.name}": {code.text}')
        doc = "The first state of the rollout."
        lines = [*self.functions.prologue(e), *e.lines, Line((), f"{{{', '.join(entries)}}}")]
        return Method("first_states", "held: Values", "dict[str, Tensor]", doc, lines)

    def steps(self, scan: Scan) -> Method:
        e = self._emitter(scan)
        cells = next_cells(scan)
        e.count(*cells)
        entries = []
        for state, value in zip(scan.states, cells, strict=True):
            code = number(e, value, f"{local_name(state.name)}_next")
            entries.append(f'"{state.name}": {code.text}')
        doc = "The states after every step, each from the given state and action before it: [B, T, ...]."
        lines = [*self._lines(scan, e), Line((), f"{{{', '.join(entries)}}}")]
        return Method("next_states", _ARGUMENTS, "dict[str, Tensor]", doc, lines)

    def cost(self, scan: Scan) -> Method:
        e = self._emitter(scan)
        parts = [(s.name, simplified(s.total)) for s in self.plan.block.touching]
        e.count(*(value for _, value in parts))
        texts = [number(e, value, local_name(name)).at(SUM) for name, value in parts]
        doc = "What of the energy depends on the action, at states that are given: [B]."
        lines = [*self._lines(scan, e), Line((), " + ".join(texts))]
        return Method("cost_of_states", _ARGUMENTS, "Tensor", doc, lines)
