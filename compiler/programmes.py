"""The statements of a training programme: `schedule`, `state`, `update` and `stage`."""

from __future__ import annotations

from dataclasses import dataclass, field

from ebmlang.compiler import ast, typed
from ebmlang.compiler.binders import declare
from ebmlang.compiler.builtins import CALLABLE
from ebmlang.compiler.catalogue.later import NotBuilt
from ebmlang.compiler.catalogue.model import Misplaced
from ebmlang.compiler.catalogue.names import RepeatedName, UnknownMethod, UnknownName
from ebmlang.compiler.catalogue.types import BadOption, DeclaredOtherwise, WrongArgumentCount
from ebmlang.compiler.catalogue.values import DependsOnExample
from ebmlang.compiler.constants import constant_of
from ebmlang.compiler.declarations import Declarations
from ebmlang.compiler.domains import REALS, Domain
from ebmlang.compiler.expressions import Expressions
from ebmlang.compiler.schedules import (
    PIECEWISE,
    STEP,
    ScheduleRow,
    find_schedule,
    piecewise,
    schedule_names,
)
from ebmlang.compiler.scope import Declared, NetEntry, Scope, broken, declared_at, origins
from ebmlang.compiler.sizes import Size
from ebmlang.compiler.sizing import read_size
from ebmlang.compiler.source import NOWHERE, Span
from ebmlang.compiler.typed import Expr, Level
from ebmlang.compiler.types import INT, REAL, fits

_POSITIVE = "a whole number of at least 1"


@dataclass(slots=True)
class Programmes:
    """Checks what one model says about the course of its training."""

    expressions: Expressions
    scope: Scope
    declarations: Declarations
    schedules: list[str] = field(default_factory=list)
    states: list[str] = field(default_factory=list)
    episodic: list[str] = field(default_factory=list)
    updates: list[typed.Update] = field(default_factory=list)
    stages: list[typed.Stage] = field(default_factory=list)

    def found(self) -> typed.Programme:
        """The programme, once every statement is checked."""
        return typed.Programme(
            tuple(self.schedules),
            tuple(self.states),
            tuple(self.episodic),
            tuple(self.updates),
            tuple(self.stages),
        )

    # --- schedules ---

    def declare_schedule(self, node: ast.Schedule, position: int) -> None:
        """A schedule is visible everywhere, as a number that all examples share."""
        entry = Declared(REAL, Level.SHARED, "observed", position, node.name.span)
        declare(node.name, entry, self.scope, self.expressions.report)

    def schedule(self, node: ast.Schedule) -> None:
        """`schedule name = KIND(...)`, or an expression in `step`."""
        entry = self.scope.find(node.name.text)
        if not isinstance(entry, Declared) or entry.span != node.name.span:
            return
        value, ends = self._value(node.value)
        if value is None:
            self.scope.entries[node.name.text] = broken(node.name.span)
            return
        self.step(node.span)
        self.schedules.append(node.name.text)
        name, span = node.name.text, node.span
        self.declarations.variables.append(
            typed.Variable(name, "observed", REAL, _domain(ends), Level.SHARED, False, value, node.doc, span)
        )

    def number(self, node: ast.Expr) -> Expr | None:
        """What a schedule may compute, where it stands without a name; None after a mistake."""
        value, _ = self._value(node)
        if value is not None and STEP in typed.reads(value):
            self.step(node.span)
        return value

    def step(self, span: Span) -> Expr:
        """The step of training, which the model knows from now on."""
        if all(v.name != STEP for v in self.declarations.variables):
            end = typed.Constant(REAL, (), Level.CONSTANT, False, NOWHERE, float("inf"))
            step = typed.Variable(STEP, "hyper", REAL, REALS, Level.CONSTANT, False, end, "", NOWHERE)
            self.declarations.variables.append(step)
        return _step(span)

    def _value(self, node: ast.Expr) -> tuple[Expr | None, tuple[Expr, ...]]:
        """What a schedule computes, None after a mistake; and the values that it stays between."""
        report = self.expressions.report
        call = node if isinstance(node, ast.Call) else None
        row = find_schedule(call.function.text) if call is not None else None
        if call is not None and call.function.text == PIECEWISE:
            return self._piecewise(call)
        if call is not None and row is not None:
            return self._row(call, row)
        if call is not None and not self._callable(call.function.text):
            name = call.function.text
            report.add(UnknownMethod(call.function.span, name, schedule_names(), "schedule"))
            return None, ()
        before = len(report.errors)
        inner = self.scope.child()
        inner.entries["step"] = Declared(REAL, Level.CONSTANT, "hyper", -1, NOWHERE)
        found = self.expressions.value(node, inner)
        if len(report.errors) > before:
            return None, ()
        if not self._known(found, node.span):
            return None, ()
        renamed = typed.mapped(found, _step_of)
        return self.expressions.as_real(renamed), ()

    def _callable(self, name: str) -> bool:
        return name in CALLABLE or name in self.expressions.functions.declared

    def _row(self, call: ast.Call, row: ScheduleRow) -> tuple[Expr | None, tuple[Expr, ...]]:
        report = self.expressions.report
        plain = [x for x in call.arguments if x.name is None]
        named = {x.name.text: x for x in call.arguments if x.name is not None}
        if len(plain) != len(row.values) or set(named) != set(row.counts):
            wanted = ", ".join((*row.values, *(f"{name} = N" for name in row.counts)))
            report.add(WrongArgumentCount(call.span, row.name, len(call.arguments), wanted, row.example))
            return None, ()
        values = [self._number(x) for x in plain]
        counts = {name: self._count(x) for name, x in named.items()}
        if any(v is None for v in (*values, *counts.values())):
            return None, ()
        known = tuple(v for v in values if v is not None)
        if row.name == "exponential":
            for argument, value in zip(plain, known, strict=True):
                number = constant_of(value)
                if number is not None and number <= 0:
                    shown = report.source.extract(argument.span)
                    report.add(BadOption(argument.span, row.name, f"`{shown}`", "positive numbers"))
                    return None, ()
        step = _step(call.span)
        made = row.build(step, known, {n: c for n, c in counts.items() if c is not None})
        zero = typed.Constant(REAL, (), Level.CONSTANT, False, call.span, 0.0)
        return made, (*known, zero) if row.to_zero else known

    def _piecewise(self, call: ast.Call) -> tuple[Expr | None, tuple[Expr, ...]]:
        """`piecewise([a, b], at = [100])`."""
        named = {x.name.text: x.value for x in call.arguments if x.name is not None}
        plain = [x.value for x in call.arguments if x.name is None]
        at = named.get("at")
        if (
            len(plain) != 1
            or set(named) != {"at"}
            or not isinstance(plain[0], ast.ListExpr)
            or not isinstance(at, ast.ListExpr)
            or len(plain[0].items) != len(at.items) + 1
        ):
            wanted, usage = "a list of values, and `at` with one step less", "piecewise([1, 0.1], at = [100])"
            count = len(call.arguments)
            self.expressions.report.add(WrongArgumentCount(call.span, PIECEWISE, count, wanted, usage))
            return None, ()
        values = [self._checked_number(x) for x in plain[0].items]
        begins = [self._checked_count(x, "at") for x in at.items]
        if any(v is None for v in (*values, *begins)):
            return None, ()
        known = tuple(v for v in values if v is not None)
        return piecewise(_step(call.span), known, tuple(b for b in begins if b is not None)), known

    def _number(self, argument: ast.Argument) -> Expr | None:
        if not isinstance(argument.value, ast.Expr):
            self.expressions.report.add(BadOption(argument.span, "a schedule", "that", "a number"))
            return None
        return self._checked_number(argument.value)

    def _checked_number(self, node: ast.Expr) -> Expr | None:
        value = self.expressions.value(node, self.scope)
        if value.type.kind == "error" or not self._known(value, node.span):
            return None
        return self.expressions.as_real(value)

    def _known(self, value: Expr, span: Span) -> bool:
        """Whether a value is a number that is known without data."""
        if value.type.scalar and value.type.numeric and value.level is Level.CONSTANT:
            return True
        shown = self.expressions.report.source.extract(span)
        wanted = "a number that hyperparameters give"
        self.expressions.report.add(BadOption(span, "a schedule", f"`{shown}`", wanted))
        return False

    def _count(self, argument: ast.Argument) -> Expr | None:
        name = argument.name.text if argument.name is not None else ""
        if isinstance(argument.value, ast.Expr):
            return self._checked_count(argument.value, name)
        self.expressions.report.add(BadOption(argument.span, name, "that", _POSITIVE))
        return None

    def _checked_count(self, node: ast.Expr, name: str) -> Expr | None:
        size = self.count(node, name)
        return None if size is None else typed.SizeOf(INT, (), Level.CONSTANT, False, node.span, size)

    def count(self, node: ast.Expr, name: str) -> Size | None:
        """A number of steps, at least 1; None after a mistake."""
        return positive_count(self.expressions, self.scope, node, name)

    # --- states ---

    def declare_state(self, node: ast.StateDecl, position: int) -> None:
        """A state is visible as a value that all examples share."""
        as_variable = self._as_variable(node)
        if as_variable is None:
            self.scope.entries.setdefault(node.name.text, broken(node.name.span))
            return
        self.declarations.declare_variable(as_variable, position)

    def _as_variable(self, node: ast.StateDecl) -> ast.Variable | None:
        """The state as a parameter that no optimiser moves; None after a mistake."""
        named = self.scope.find(node.value.text) if isinstance(node.value, ast.Name) else None
        if isinstance(named, NetEntry) and isinstance(node.value, ast.Name):
            name, net = node.name.text, node.value.text
            advice = f"update {name} = 0.99 * {name} + 0.01 * {net}"
            what = f"a `state` that follows the net `{net}` otherwise than as a weighted mean of the two"
            self.expressions.report.add(NotBuilt(node.span, what, advice))
            self.scope.unknown.add(name)
            return None
        kind = node.type.name.text if node.type is not None else "real"
        if kind != "real":
            self.expressions.report.add(NotBuilt(node.span, f"a `state` of type {kind}", "declare it real"))
            return None
        type_ = node.type or ast.TypeExpr(ast.Identifier("real", node.name.span), (), node.name.span)
        return ast.Variable(
            "param", node.name, type_, None, False, False, None, node.value, node.doc, node.span
        )

    def state(self, node: ast.StateDecl) -> None:
        as_variable = self._as_variable(node) if node.name.text not in self.states else None
        entry = self.scope.find(node.name.text)
        if as_variable is None or not isinstance(entry, Declared) or entry.span != node.name.span:
            return
        before = len(self.declarations.variables)
        self.declarations.variable(as_variable)
        if len(self.declarations.variables) > before:
            self.states.append(node.name.text)
            self.episodic += [node.name.text] if node.per == "episode" else []

    def adopt(self, name: str, update: Expr | None, episodic: bool, span: Span) -> None:
        """A state of a part, under the name that it has in the model around it."""
        self.states.append(name)
        self.episodic += [name] if episodic else []
        if update is not None:
            self.updates.append(typed.Update(name, update, span))

    def update(self, node: ast.Update) -> None:
        """`update s = VALUE`: of the type of the state, one value for all examples. An episode is one
        example, and what is carried along in it may follow from what only that has."""
        name, report = node.name.text, self.expressions.report
        entry = self.scope.find(name)
        if name not in self.states:
            if not (entry is not None and not isinstance(entry, Declared)) and name not in self.scope.unknown:
                self.scope.unknown.add(name)
                note = f"declare it: state {name} = ..."
                places = declared_at(entry, f"`{name}` is no state")
                report.add(UnknownName(node.name.span, name, tuple(self.states), note, places))
            return
        assert isinstance(entry, Declared)
        if any(u.state == name for u in self.updates):
            report.add(RepeatedName(node.name.span, name, "the updates"))
            return
        value = self.expressions.value(node.value, self.scope)
        if value.type.kind == "error":
            return
        if not fits(value.type, entry.type, stretch=True):
            places = declared_at(entry, f"`{name}` is declared {entry.type}")
            advice = "change the value, or declare the type of the state"
            found = DeclaredOtherwise(node.value.span, name, str(value.type), str(entry.type), advice, places)
            report.add(found)
        elif value.level is Level.EXAMPLE and name not in self.episodic:
            places, advice = (
                origins(self.scope, value),
                "reduce it over the examples: mean(..., over = batch)",
            )
            report.add(DependsOnExample(node.value.span, name, places, "what it becomes", advice))
        else:
            filled = self.expressions.filled(value, entry.type)
            self.updates.append(typed.Update(name, filled, node.span))

    # --- stages ---

    def stage(self, node: ast.Stage) -> tuple[ast.Question, ...]:
        """The `train` lines of a stage; anything else in it is a mistake."""
        report = self.expressions.report
        if any(s.name == node.name.text for s in self.stages):
            report.add(RepeatedName(node.name.span, node.name.text, "the stages"))
        steps = self.count(node.steps, "steps")
        if steps is not None:
            self.stages.append(typed.Stage(node.name.text, steps))
        lines = []
        for s in node.body:
            if isinstance(s, ast.Question) and s.verb in typed.TRAINING:
                lines.append(s)
            else:
                what = f"`{report.source.extract(s.span).split(maxsplit=1)[0]}`"
                report.add(Misplaced(s.span, what, "a stage", "a stage holds `train` lines: move it out"))
        return tuple(lines)


def positive_count(expressions: Expressions, scope: Scope, node: ast.Expr, name: str) -> Size | None:
    """A number of steps, at least 1, by size arithmetic; None after a mistake."""
    size = read_size(node, scope, expressions.report)
    if size is None:
        return None
    shown = expressions.report.source.extract(node.span)
    room = size - 1
    if room.constant is not None and room.constant < 0:
        expressions.report.add(BadOption(node.span, name, f"`{shown}`", _POSITIVE))
        return None
    if expressions.prover.room(room, size).holds is None:
        reason = f"`{name} = {shown}` has to be at least 1"
        expressions.requirements.append(typed.Requirement(room, reason, node.span))
    return size


def _step(span: Span) -> Expr:
    return typed.Read(REAL, (), Level.CONSTANT, False, span, STEP)


def _step_of(node: Expr) -> Expr | None:
    """`step`, as the hidden hyperparameter that holds it."""
    return _step(node.span) if isinstance(node, typed.Read) and node.name == "step" else None


def _domain(ends: tuple[Expr, ...]) -> Domain:
    """What is known of a value that stays between others."""
    numbers = [n for n in map(constant_of, ends) if n is not None]
    if not numbers or len(numbers) < len(ends) or min(numbers) < 0:
        return REALS
    return Domain("positive" if min(numbers) > 0 else "nonnegative")
