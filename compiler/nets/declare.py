"""Declarations of nets: types, constructors, options."""

from __future__ import annotations

from dataclasses import dataclass, field

from ebmlang.compiler import ast, typed
from ebmlang.compiler.binders import declare
from ebmlang.compiler.catalogue.later import NotBuilt
from ebmlang.compiler.catalogue.nets import ExternConstructor, NoConstructor
from ebmlang.compiler.catalogue.types import WrongKind
from ebmlang.compiler.expressions import Expressions
from ebmlang.compiler.nets.build import Builder
from ebmlang.compiler.nets.net import Net, Signature
from ebmlang.compiler.scope import NetEntry, Scope
from ebmlang.compiler.sizing import read_type
from ebmlang.compiler.types import ERROR, Type


@dataclass(slots=True)
class NetStatements:
    """Checks the nets of one model, before anything that may call them."""

    expressions: Expressions
    scope: Scope
    found: list[Net] = field(default_factory=list)

    def declare(self, node: ast.Net) -> None:
        """Make the name visible in the model, and in its functions."""
        entry = NetEntry(None, node.name.span)
        if declare(node.name, entry, self.scope, self.expressions.report):
            self.expressions.functions.scope.entries[node.name.text] = entry

    def define(self, body: tuple[ast.Statement, ...]) -> None:
        """Check all nets; moving averages last, since they take the types of others for granted."""
        nodes = [s for s in body if isinstance(s, ast.Net)]
        averages = [n for n in nodes if Builder.is_average(n)]
        for node in (*(n for n in nodes if n not in averages), *averages):
            self._define(node, frozenset(n.name.text for n in averages))
        for plate in (s for s in body if isinstance(s, ast.Plate)):
            for inner in (s for s in plate.body if isinstance(s, ast.Net)):
                self.expressions.report.add(NotBuilt(inner.span, "a `net` in a plate"))

    def _define(self, node: ast.Net, averages: frozenset[str]) -> None:
        report, name = self.expressions.report, node.name.text
        entry = self.scope.find(name)
        if not isinstance(entry, NetEntry) or entry.span != node.name.span:
            return
        if node.subscripts:
            report.add(NotBuilt(node.span, "a `net` with subscripts"))
            return
        types = self._types(node)
        if types is None:
            return
        if node.init is None and not node.extern:
            report.add(NoConstructor(node.span, name))
            return
        if node.init is not None and node.extern:
            report.add(ExternConstructor(node.init.span, name))
            return
        net = Builder(self.expressions, self.scope, averages).net(node, types)
        if net is None:
            return
        found = NetEntry(net, node.name.span)
        self.scope.entries[name] = found
        self.expressions.functions.scope.entries[name] = found
        self.found.append(net)

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
