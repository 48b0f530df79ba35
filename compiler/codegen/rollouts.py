"""The generated methods of a rollout: its states as arrays that are given, not computed in a loop."""

from __future__ import annotations

from dataclasses import dataclass

from ebmlang.compiler.choose import Plan
from ebmlang.compiler.codegen.energies import limit_entries, number
from ebmlang.compiler.codegen.expressions import Emitter
from ebmlang.compiler.codegen.functions import Functions, simplified
from ebmlang.compiler.codegen.gradients import calls_of_nets
from ebmlang.compiler.codegen.layout import ATOM, SUM, Code, Layout, comment, spread
from ebmlang.compiler.codegen.lines import Line, Statement
from ebmlang.compiler.codegen.marches import step_in_numpy
from ebmlang.compiler.codegen.methods import Method
from ebmlang.compiler.codegen.names import local_name
from ebmlang.compiler.derivatives import Adjoint, NoDerivativeError, Tangent, algebra
from ebmlang.compiler.facts import Dependence, direction_name
from ebmlang.compiler.lifting import array_type, next_cells
from ebmlang.compiler.structure.block import Summand
from ebmlang.compiler.typed import Expr, Level, Read, Scan, Variable

NEWTON = frozenset({"ilqr", "multiple_shooting"})
STEPPING = NEWTON | {"cem", "mppi"}
"""The methods that take second-order models of stages, and all that go along a rollout again and again."""

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
        scan = rollout.scan
        methods = [self.starts(scan), self.steps(scan), self.cost(scan)]
        if self.plan.block.limits:
            methods.append(self.limits(scan, tuple(tie.name for tie in rollout.ties)))
        if self.plan.method is None or self.plan.method.name not in STEPPING:
            return methods
        by_entries = step_in_numpy(self.functions, scan, self._action)
        slopes = self.slopes(scan) if self.plan.method.name in NEWTON else []
        return [*methods, *slopes, *([] if by_entries is None else [by_entries])]

    @property
    def _action(self) -> Variable:
        rollout = self.plan.rollout
        assert rollout is not None
        return next(v for v in self.plan.block.sought if v.name == rollout.action)

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
            let = self.plan.block.graph.lets.get(state.name)
            # States that are unknowns are read as such.
            if local in e.used and let is not None:
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

    def limits(self, scan: Scan, ties: tuple[str, ...]) -> Method:
        e = self._emitter(scan)
        left = (c for c in self.plan.block.limits if c.name not in ties)
        limits = tuple(Summand(c.name, c.value, c.axes, c.mask) for c in left)
        entries = limit_entries(e, limits)
        doc = "What every constraint bounds, at states that are given: [B or 1, plate sizes..., shape]."
        lines = [*self._lines(scan, e), Line((), f"{{{', '.join(entries)}}}")]
        return Method("limits_of_states", _ARGUMENTS, "dict[str, Tensor]", doc, lines)

    # --- derivatives ---

    def slopes(self, scan: Scan) -> list[Method]:
        """What the second-order model of a stage is made from; nothing where an operation has no derivative
        row, or a net is called: automatic differentiation stands in."""
        canonical = self.functions.canonical
        ends = [canonical(cell) for cell in next_cells(scan)]
        costs = [canonical(simplified(s.total)) for s in self.plan.block.touching]
        seeds = [_seed(s.name, cell) for s, cell in zip(scan.states, ends, strict=True)]
        one = algebra.constant(1.0, scan.span)
        moves = Dependence(self.plan.block.graph, frozenset(v.name for v in self._along(scan)))
        if calls_of_nets([*ends, *costs], moves):
            return []
        try:
            adjoint = Adjoint(moves, canonical)
            along_steps = adjoint.gradient(list(zip(ends, seeds, strict=True)))
            along_costs = adjoint.gradient([(cost, one) for cost in costs])
            tangent = Tangent(moves, canonical)
            bends = {
                name: [tangent(p) for p in (*along_steps[name], *along_costs[name]) if moves(p)]
                for name in along_steps
            }
        except NoDerivativeError:
            return []
        return [
            self._table(
                scan, "cost_slopes", "The slopes of the cost along states and actions.", along_costs, ""
            ),
            self._table(
                scan, "step_slopes", "The slopes of the next states times `seeds`.", along_steps, "seeds"
            ),
            self._table(
                scan,
                "stage_bends",
                "How the slopes of the cost, and of the next states times `seeds`, change along a direction.",
                bends,
                "seeds, direction",
            ),
        ]

    def _along(self, scan: Scan) -> list[Read]:
        """The arrays of states and the action, as a step reads them."""
        action = self._action
        found = [Read(action.type, (), Level.EXAMPLE, False, scan.span, action.name)]
        arrays = enumerate(scan.states)
        states = [Read(array_type(scan, k), (), Level.EXAMPLE, False, scan.span, s.name) for k, s in arrays]
        return [*states, *found]

    def _table(self, scan: Scan, name: str, doc: str, parts: dict[str, list[Expr]], given: str) -> Method:
        """A method that gives an array for each of states and actions; one that is 0 everywhere is left
        out."""
        e = self._emitter(scan)
        heads = []
        for array in self._along(scan):
            asked = [("seeds", _seed_name(array.name))] if "seeds" in given else []
            asked += [("direction", direction_name(array.name))] if "direction" in given else []
            for source, own in asked:
                local = e.fresh(f"{local_name(array.name)}_{source.removesuffix('s')}")
                e.available[own] = local
                heads.append((local, f'{source}["{array.name}"]'))
        totals = {
            array.name: self.functions.canonical(
                algebra.widened(algebra.total(parts[array.name]), array.type.shape)
            )
            for array in self._along(scan)
            if parts.get(array.name)
        }
        e.count(*totals.values())
        entries = []
        for own, value in totals.items():
            hint = f"{local_name(own)}_slope"
            code = e.tensor(e.converted(e.emit(value, hint), "real"))
            code = spread(code, Layout(True, (), value.type.rank))
            entries.append(f'"{own}": {e.assign(hint, code, value.type.shape).text}')
        lines = self._lines(scan, e)
        used = [Line((local,), text) for local, text in heads if local in e.used]
        count = len(lines) - len(e.lines)
        arguments = _ARGUMENTS + "".join(f", {word}: Values" for word in given.split(", ") if word)
        result = Line((), f"{{{', '.join(entries)}}}")
        return Method(name, arguments, "dict[str, Tensor]", doc, [*lines[:count], *used, *e.lines, result])


def _seed_name(state: str) -> str:
    """A name for what the next values of a state are multiplied with, that no program can use."""
    return f"seeds of {state}"


def _seed(state: str, cells: Expr) -> Read:
    return Read(cells.type, (), Level.EXAMPLE, False, cells.span, _seed_name(state))
