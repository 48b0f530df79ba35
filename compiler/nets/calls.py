"""Calls of nets: their arguments, their results, and one net in the place of another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ebmlang.compiler import ast, typed
from ebmlang.compiler.catalogue.names import UnknownArgument, UnknownFunction, UsedBeforeDefinition
from ebmlang.compiler.catalogue.nets import NetArgument, NetMisused, SeveralResults
from ebmlang.compiler.catalogue.types import BadOption, WrongArgumentCount, WrongKind
from ebmlang.compiler.nets.net import Net
from ebmlang.compiler.scope import NetEntry, Scope, declared_at, origins
from ebmlang.compiler.source import Span
from ebmlang.compiler.subscripts import Subscripts
from ebmlang.compiler.typed import Expr, Level
from ebmlang.compiler.types import Type, fits

if TYPE_CHECKING:
    from ebmlang.compiler.expressions import Expressions

NET = Type("net")
"""The type of the read that stands for the parameters of a net, in front of the arguments of a call."""


@dataclass(frozen=True, slots=True)
class _Called:
    """A call as written: the name, the subscripts between it and the parentheses, what stands in these."""

    function: ast.Identifier
    subscripts: tuple[ast.Expr | ast.Slice, ...]
    arguments: tuple[ast.Argument, ...]
    span: Span


@dataclass(frozen=True, slots=True)
class NetCalls:
    """Checks calls of nets in one scope."""

    checker: Expressions
    scope: Scope

    def call(self, node: ast.Call, entry: NetEntry) -> Expr:
        """A call that stands where one value does."""
        return self._result(_Called(node.function, (), node.arguments, node.span), entry, 0, 1)

    def call_entry(self, node: ast.CallEntry) -> Expr:
        """The same for one of the nets of a plate: `f[l](x)`."""
        called, entry = self._called(node)
        if called is None or entry is None:
            shown = self.checker.report.source.extract(node.entry.span)
            known = tuple(n for n in self.scope.names() if isinstance(self.scope.find(n), NetEntry))
            base = node.entry.base
            place = self.scope.find(base.text) if isinstance(base, ast.Name) else None
            places = declared_at(place, "declared here")
            self.checker.report.add(UnknownFunction(node.entry.span, shown, known, place is not None, places))
            return self.checker.error(node.span)
        return self._result(called, entry, 0, 1)

    def _called(self, node: ast.Expr) -> tuple[_Called | None, NetEntry | None]:
        """What an expression calls, where that is a net."""
        while isinstance(node, ast.Parenthesised):
            node = node.inner
        match node:
            case ast.Call(function=name):
                called = _Called(name, (), node.arguments, node.span)
            case ast.CallEntry(entry=ast.Index(base=ast.Name() as base)):
                name = ast.Identifier(base.text, base.span)
                called = _Called(name, node.entry.subscripts, node.arguments, node.span)
            case _:
                return None, None
        entry = self.scope.find(called.function.text)
        return called, entry if isinstance(entry, NetEntry) else None

    def component(self, node: ast.Component) -> Expr:
        """One of the results of a net with several."""
        called, entry = self._called(node.value)
        if called is None or entry is None:
            self.checker.report.add(SeveralResults(node.span))
            return self.checker.error(node.span)
        return self._result(called, entry, node.number, node.count)

    def _result(self, node: _Called, entry: NetEntry, number: int, count: int) -> Expr:
        net = entry.net
        if net is None:
            self._checked(node)
            if not self.checker.report.failed:  # not refused: it averages a net of a part further down
                places = declared_at(entry, f"`{node.function.text}` is defined here")
                self.checker.report.add(UsedBeforeDefinition(node.span, node.function.text, places, ""))
            return self.checker.error(node.span)
        results = len(net.signature.outputs)
        if results != count:
            places = declared_at(entry, f"declared {net.signature}")
            found = 0 if count == 1 else count
            self.checker.report.add(SeveralResults(node.span, net.name, found, results, places))
            return self.checker.error(node.span)
        indices = self._indices(node, net, entry)
        arguments = self._arguments(node, net, entry)
        if arguments is None or indices is None:
            return self.checker.error(node.span)
        static = (("output", number), ("of", results), ("at", len(net.at)))
        own = net_read(net, node.function.span)
        type_ = net.signature.outputs[number]
        return self.checker.apply("net", (own, *indices, *arguments), type_, node.span, static)

    def _indices(self, node: _Called, net: Net, entry: NetEntry) -> list[Expr] | None:
        """Which of the nets of a plate is called; None after a mistake."""
        if len(node.subscripts) != len(net.at):
            self._miscounted(len(node.subscripts), net, node.span)
            return None
        return self.chosen(node.subscripts, net, node.span)

    def _miscounted(self, count: int, net: Net, span: Span) -> None:
        wanted = f"{len(net.at) or 'no'} subscript{'s' * (len(net.at) != 1)}"
        indices = ", ".join("ijkl"[: len(net.at)])
        example = f"{net.name}[{indices}](...)" if net.at else f"{net.name}(...)"
        self.checker.report.add(WrongArgumentCount(span, f"{net.name}[...]", count, wanted, example))

    def chosen(self, subscripts: tuple[ast.Expr | ast.Slice, ...], net: Net, span: Span) -> list[Expr] | None:
        """Subscripts along the first plates of a net, each proven to stay inside; None after a mistake."""
        report, name = self.checker.report, net.name
        if len(subscripts) > len(net.at):
            self._miscounted(len(subscripts), net, span)
            return None
        found = []
        for subscript, size in zip(subscripts, net.at, strict=False):
            if isinstance(subscript, ast.Slice):
                report.add(BadOption(subscript.span, f"the subscript of `{name}`", "a range", "one index"))
                return None
            value = self.checker.check(subscript, self.scope)
            if value.type.kind == "error":
                return None
            if not value.type.integral or not value.type.scalar:
                wanted = "an integer or a case"
                report.add(WrongKind(subscript.span, str(value.type), wanted, f"the subscript of `{name}`"))
                return None
            inside = Subscripts(self.checker, self.scope).entry(value, subscript.span, size, value)
            if inside is None:
                return None
            found.append(inside)
        return found

    def _checked(self, node: _Called) -> list[Expr] | None:
        """The values of the arguments; None after a mistake."""
        report = self.checker.report
        values = []
        for argument in node.arguments:
            if argument.name is not None:
                report.add(UnknownArgument(argument.name.span, argument.name.text, node.function.text))
                return None
            if not isinstance(argument.value, ast.Expr):
                what = f"an argument of `{node.function.text}`"
                report.add(BadOption(argument.span, what, "a text", "a value"))
                return None
            values.append(self.checker.check(argument.value, self.scope))
        return values

    def _arguments(self, node: _Called, net: Net, entry: NetEntry) -> list[Expr] | None:
        report = self.checker.report
        values = self._checked(node)
        if values is None:
            return None
        declared = net.signature.inputs
        if len(values) != len(declared):
            wanted = f"{len(declared)} argument{'s' * (len(declared) != 1)}"
            report.add(WrongArgumentCount(node.span, net.name, len(values), wanted))
            return None
        if any(v.type.kind == "error" for v in values):
            return None
        for number, (value, type_) in enumerate(zip(values, declared, strict=True), 1):
            if fits(value.type, type_):
                continue
            places = declared_at(entry, f"`{net.name}` is declared {net.signature}")
            places = (*places, *origins(self.scope, value))
            advice = "cases enter as numbers by onehot(c, K)" if value.type.kind == "class" else ""
            found, count = str(value.type), len(declared)
            report.add(NetArgument(value.span, net.name, number, count, found, str(type_), places, advice))
            return None
        pairs = zip(values, declared, strict=True)
        return [self.checker.as_real(v) if t.kind == "real" else v for v, t in pairs]

    # --- one net in the place of another ---

    def replacement(self, binding: ast.Binding, entry: NetEntry) -> Expr | None:
        """What stands for a net in `(expression with f = g)`; None after a mistake."""
        report, name = self.checker.report, binding.name.text
        value = binding.value
        while isinstance(value, ast.Parenthesised):
            value = value.inner
        other = self.scope.find(value.text) if isinstance(value, ast.Name) else None
        shown = report.source.extract(binding.value.span)
        if not isinstance(other, NetEntry):
            places = declared_at(entry, f"`{name}` is declared here")
            report.add(NetMisused(binding.value.span, name, shown, "the name of a net", places))
            return None
        if entry.net is None or other.net is None:
            return None
        if entry.net.signature != other.net.signature or entry.net.at != other.net.at:
            places = declared_at(other, f"`{shown}` is declared {other.net.signature}")
            wanted = f"a net of the type {entry.net.signature}"
            report.add(NetMisused(binding.value.span, name, shown, wanted, places))
            return None
        return net_read(other.net, binding.value.span)


def net_read(net: Net, span: Span) -> typed.Read:
    """The parameters of a net as a value: one for all examples, known when the model runs."""
    return typed.Read(NET, (), Level.SHARED, False, span, net.name)
