"""Declarations of nets: types, constructors, options."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ebmlang.compiler import ast, typed
from ebmlang.compiler.binders import declare
from ebmlang.compiler.catalogue.later import NotBuilt
from ebmlang.compiler.catalogue.model import PlateSubscripts
from ebmlang.compiler.catalogue.nets import ExternConstructor, NoConstructor
from ebmlang.compiler.catalogue.types import WrongKind
from ebmlang.compiler.constants import constant_of
from ebmlang.compiler.domains import REALS
from ebmlang.compiler.expressions import Expressions
from ebmlang.compiler.nets.build import Builder, bad_decay
from ebmlang.compiler.nets.net import Net, Signature
from ebmlang.compiler.scope import NetEntry, Scope
from ebmlang.compiler.sizes import ZERO
from ebmlang.compiler.sizing import read_size, read_type
from ebmlang.compiler.source import Span
from ebmlang.compiler.types import ERROR, REAL, Shape, Type

if TYPE_CHECKING:
    from ebmlang.compiler.programmes import Programmes


@dataclass(slots=True)
class NetStatements:
    """Checks the nets of one model, before anything that may call them."""

    expressions: Expressions
    scope: Scope
    found: list[Net] = field(default_factory=list)
    computed: list[tuple[str, ast.Expr]] = field(default_factory=list)
    later: dict[int, tuple[ast.Plate, ...]] = field(default_factory=dict)

    def declare(self, node: ast.Net) -> None:
        """Make the name visible in the model, and in its functions."""
        entry = NetEntry(None, node.name.span)
        if declare(node.name, entry, self.scope, self.expressions.report):
            self.expressions.functions.scope.entries[node.name.text] = entry

    def define(self, body: tuple[ast.Statement, ...]) -> None:
        """Check all nets; moving averages last, since they take the types of others for granted."""
        nodes = list(_with_plates(body, ()))
        averages = frozenset(n.name.text for n, _ in nodes if Builder.is_average(n))
        for node, plates in sorted(nodes, key=lambda pair: pair[0].name.text in averages):
            if Builder.follows_a_part(node):
                self.later[id(node)] = plates
            else:
                self._define(node, plates, averages)

    def define_later(self, node: ast.Net) -> None:
        """Check the average of a net of a part, where its statement stands."""
        plates = self.later.pop(id(node), None)
        if plates is not None:
            self._define(node, plates, frozenset())

    def _define(self, node: ast.Net, plates: tuple[ast.Plate, ...], averages: frozenset[str]) -> None:
        report, name = self.expressions.report, node.name.text
        entry = self.scope.find(name)
        if not isinstance(entry, NetEntry) or entry.span != node.name.span:
            return
        at = self._at(node, plates)
        types = self._types(node)
        if types is None or at is None:
            return
        if node.init is None and not node.extern:
            report.add(NoConstructor(node.span, name))
            return
        if node.init is not None and node.extern:
            report.add(ExternConstructor(node.init.span, name))
            return
        net = Builder(self.expressions, self.scope, at, averages).net(node, types)
        if net is None:
            return
        found = NetEntry(net, node.name.span)
        self.scope.entries[name] = found
        self.expressions.functions.scope.entries[name] = found
        self.found.append(net)
        if isinstance(net.decay, str) and isinstance(node.init, ast.Call):
            self.computed.append((net.decay, _decay_of(node.init)))

    def decays(self, programmes: Programmes) -> None:
        """The decays of averages that are more than a number, once everything that they read is known."""
        for net, node in self.computed:
            if isinstance(node, ast.Name) and node.text == net:
                if net not in programmes.schedules:
                    self.expressions.report.add(bad_decay(node.span, net))
                continue
            value = programmes.number(node)
            if value is None:
                continue
            known = constant_of(value)
            if known is not None and not 0 <= known < 1:
                shown = self.expressions.report.source.extract(node.span)
                self.expressions.report.add(bad_decay(node.span, shown))
            programmes.declarations.variables.append(decay_variable(net, value, node.span))

    def _at(self, node: ast.Net, plates: tuple[ast.Plate, ...]) -> Shape | None:
        """The sizes of the plates around a net, which its subscripts name in order where it
        has any; None after a mistake."""
        report = self.expressions.report
        binders = [b for p in plates for b in p.binders]
        wanted = [n.text for b in binders for n in b.names]
        found = [report.source.extract(s.span) for s in node.subscripts]
        if found and found != wanted:
            shown, indices = ", ".join(found), ", ".join(wanted)
            report.add(PlateSubscripts(node.name.span, node.name.text, shown, indices))
            return None
        sizes = []
        for plate in plates:
            if plate.guard is not None or any(b.rows is not None for b in plate.binders):
                report.add(NotBuilt(node.span, "a `net` under a guard, or for the rows of a list"))
                return None
        for binder in binders:
            assert binder.start is not None and binder.stop is not None  # noqa: PT018
            start, stop = (read_size(e, self.scope, report) for e in (binder.start, binder.stop))
            if start is None or stop is None:
                return None
            if start != ZERO:
                report.add(NotBuilt(node.span, "a `net` in a plate that does not begin at 0"))
                return None
            sizes.append(stop)
        return tuple(sizes)

    def _types(self, node: ast.Net) -> Signature | None:
        """The declared types; None after a mistake."""
        inputs = tuple(self._type(t, ("real", "bool", "class")) for t in node.inputs)
        outputs = tuple(self._type(t, ("real",)) for t in node.outputs)
        if ERROR in (*inputs, *outputs):
            return None
        for type_, at in zip((*inputs, *outputs), (*node.inputs, *node.outputs), strict=True):
            for size in type_.shape:
                if self.expressions.prover.room(size - 1, size).holds is None:
                    reason = f"the size {size} of `{node.name.text}` has to be at least 1"
                    self.expressions.requirements.append(typed.Requirement(size - 1, reason, at.span))
        return Signature(inputs, outputs)

    def _type(self, node: ast.TypeExpr, kinds: tuple[str, ...]) -> Type:
        found = read_type(node, self.scope, self.expressions.report)
        if found == ERROR or found.kind in kinds:
            return found
        what = "the result of a net" if kinds == ("real",) else "an input of a net"
        self.expressions.report.add(WrongKind(node.span, str(found), " or ".join(kinds), what))
        return ERROR


def decay_variable(name: str, value: typed.Expr, span: Span) -> typed.Variable:
    """What computes the decay of an average: given by its default, which follows the step."""
    return typed.Variable(name, "observed", REAL, REALS, typed.Level.SHARED, False, value, "", span)


def _decay_of(call: ast.Call) -> ast.Expr:
    """The second argument of `ema`, or the one that is called `decay`."""
    named = next((a for a in call.arguments if a.name is not None), call.arguments[-1])
    assert isinstance(named.value, ast.Expr)
    return named.value


def _with_plates(
    body: tuple[ast.Statement, ...], plates: tuple[ast.Plate, ...]
) -> Iterator[tuple[ast.Net, tuple[ast.Plate, ...]]]:
    """Every net with the plates around it, outermost first."""
    for s in body:
        if isinstance(s, ast.Net):
            yield s, plates
        elif isinstance(s, ast.Plate):
            yield from _with_plates(s.body, (*plates, s))
