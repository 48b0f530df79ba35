"""Functions of the model: checked once where they stand, written out where they are called."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ebmlang.compiler import ast, typed
from ebmlang.compiler.binders import KEPT_NAMES
from ebmlang.compiler.catalogue.model import TooManyNodes
from ebmlang.compiler.catalogue.names import (
    DeclaredTwice,
    KeptName,
    RecursiveFunction,
    RepeatedName,
    UnknownArgument,
)
from ebmlang.compiler.catalogue.types import BadOption, DeclaredOtherwise, WrongArgumentCount
from ebmlang.compiler.diagnostics import Label
from ebmlang.compiler.scope import Bound, Outside, Scope, SizeEntry, origins
from ebmlang.compiler.sizes import Size
from ebmlang.compiler.sizing import names_in, read_size, read_type
from ebmlang.compiler.typed import Expr, Level
from ebmlang.compiler.types import ERROR, fits

if TYPE_CHECKING:
    from ebmlang.compiler.expressions import Expressions

CALL_COST = 10
"""A call counts as some operations: a chain of functions that add nothing takes time too."""

LARGEST_EXPANSION = 500_000
"""Operations that one model may gain by writing out its functions."""


@dataclass(frozen=True, slots=True)
class UserFunctions:
    """Checks definitions and calls of functions, seen from one scope."""

    checker: Expressions
    scope: Scope

    # --- definitions ---

    def define(self, fn: ast.Fn) -> bool:
        """Check a body once, with arguments of the declared types; False after a mistake."""
        functions = self.checker.functions
        known = functions.checked.get(fn.name.text)
        if known is not None:
            return known
        errors = len(self.checker.report.errors)
        types = self._scope(fn)
        arguments: dict[str, Expr] = {}
        for p in fn.parameters:
            if p.name.text in KEPT_NAMES:
                self.checker.report.add(KeptName(p.name.span, p.name.text, KEPT_NAMES[p.name.text]))
            if p.name.text in arguments:
                self.checker.report.add(
                    DeclaredTwice(
                        p.name.span, p.name.text, (Label(arguments[p.name.text].span, "first declared here"),)
                    )
                )
            type_ = read_type(p.type, types, self.checker.report, generic=True)
            arguments[p.name.text] = typed.Read(type_, (), Level.CONSTANT, False, p.name.span, p.name.text)
        failed = any(a.type == ERROR for a in arguments.values())
        if not failed:
            # Labels, requirements and counts of this trial belong to no call.
            trial = replace(self.checker, requirements=[], axis_labels={}, axis_count=0, defining=True)
            failed = UserFunctions(trial, self.scope.model())._expand(fn, arguments).type == ERROR
        good = not failed and len(self.checker.report.errors) == errors
        functions.checked[fn.name.text] = good
        return good

    # --- calls ---

    def call(self, node: ast.Call, fn: ast.Fn) -> Expr:
        checker, name = self.checker, node.function.text
        expanding = checker.functions.expanding
        if name in expanding:
            through = tuple(expanding[expanding.index(name) + 1 :])
            checker.report.add(RecursiveFunction(node.function.span, name, through))
            return checker.error(node.span)
        arguments = self._arguments(node, fn)
        if not self.define(fn) or arguments is None:
            return checker.error(node.span)
        if checker.functions.spent > LARGEST_EXPANSION:
            if not checker.functions.exhausted:
                checker.report.add(TooManyNodes(node.span, LARGEST_EXPANSION))
            checker.functions.exhausted = True
            return checker.error(node.span)
        nodes, spent = checker.node_count, checker.functions.spent
        result = self._expand(fn, arguments)
        inside = checker.functions.spent - spent
        checker.functions.spent = spent + max(inside, checker.node_count - nodes) + CALL_COST
        checker.expansions += 1
        return result

    def _arguments(self, node: ast.Call, fn: ast.Fn) -> dict[str, Expr] | None:
        report = self.checker.report
        names = [p.name.text for p in fn.parameters]
        given: dict[str, Expr] = {}
        failed = False
        for i, argument in enumerate(node.arguments):
            if argument.name is not None:
                key = argument.name.text
                if key not in names:
                    report.add(UnknownArgument(argument.name.span, key, fn.name.text, tuple(names)))
                    return None
            else:
                key = names[i] if i < len(names) else f"#{i}"
            if not isinstance(argument.value, ast.Expr):
                found = "a text" if isinstance(argument.value, ast.Text) else "an index"
                report.add(BadOption(argument.span, f"an argument of `{fn.name.text}`", found, "a value"))
                return None
            if key in given:
                report.add(RepeatedName(argument.span, key, f"the call of `{fn.name.text}`"))
                return None
            given[key] = self.checker.check(argument.value, self.scope)
            failed = failed or given[key].type.kind == "error"
        if set(given) != set(names):
            wanted = f"{len(names)} argument{'s' * (len(names) != 1)}"
            wanted += f" ({', '.join(names)})" if names else ""
            report.add(WrongArgumentCount(node.span, fn.name.text, len(node.arguments), wanted))
            return None
        return None if failed else given

    def _scope(self, fn: ast.Fn) -> Scope:
        """What a function sees besides its parameters: hyperparameters and lets of constants."""
        model = self.scope.model()
        root = self.checker.functions.scope
        return replace(root.child(), facts=self.scope.facts, outside=Outside(fn.name.text, model))

    def _expand(self, fn: ast.Fn, arguments: dict[str, Expr]) -> Expr:
        """The body of a function with its arguments in place; sizes of its types are solved."""
        checker = self.checker
        types = self._scope(fn)
        for parameter in fn.parameters:
            self._bind_names(parameter, arguments[parameter.name.text], types)
        for parameter in fn.parameters:
            self._bind_linear(parameter, arguments[parameter.name.text], types)
        body = types.child()
        for parameter in fn.parameters:
            value = self._fitting(parameter, arguments[parameter.name.text], types, fn)
            if value is None:
                return checker.error(fn.value.span)
            body.entries[parameter.name.text] = Bound(value, parameter.name.span)
        expanding = checker.functions.expanding
        expanding.append(fn.name.text)
        result = checker.check(fn.value, body)
        expanding.pop()
        if result.type.kind == "error" or fn.result is None:
            return result
        return self._result(fn, fn.result, result, types)

    def _result(self, fn: ast.Fn, node: ast.TypeExpr, result: Expr, types: Scope) -> Expr:
        declared = read_type(node, types, self.checker.report)
        if declared == ERROR:
            return self.checker.error(result.span)
        if not fits(result.type, declared):
            places = (Label(node.span, "the declared result"), *origins(types, result))
            self.checker.report.add(
                DeclaredOtherwise(fn.value.span, fn.name.text, str(result.type), str(declared), "", places)
            )
            return self.checker.error(result.span)
        return self.checker.as_real(result) if declared.kind == "real" else result

    # --- sizes of parameters ---

    def _bind_names(self, parameter: ast.Parameter, value: Expr, types: Scope) -> None:
        """A dimension that is exactly a new name takes the size of the argument."""
        for dim, size in _dimensions(parameter, value):
            if isinstance(dim, ast.Name) and types.find(dim.text) is None:
                types.entries[dim.text] = SizeEntry(size, dim.span)

    def _bind_linear(self, parameter: ast.Parameter, value: Expr, types: Scope) -> None:
        """A dimension that is linear in one new name is solved for it."""
        for dim, size in _dimensions(parameter, value):
            new = {n.text for n in names_in(dim) if types.find(n.text) is None}
            if len(new) != 1:
                continue
            name = new.pop()
            trial = types.child()
            # A name that no program can spell stands for the size that is sought.
            trial.entries[name] = SizeEntry(Size.of("?"), dim.span)
            written = read_size(dim, trial, self.checker.report)
            linear = written.linear_in("?") if written is not None else None
            if linear is None:
                continue
            factor, rest = linear
            solved = (size - rest) // factor
            if solved * factor == size - rest:
                types.entries[name] = SizeEntry(solved, dim.span)

    def _fitting(self, parameter: ast.Parameter, value: Expr, types: Scope, fn: ast.Fn) -> Expr | None:
        """The argument when it has the declared type, else None after a report."""
        report = self.checker.report
        left = {
            n.text for g in parameter.type.dims for d in g for n in names_in(d) if types.find(n.text) is None
        }
        if left:
            shown = report.source.extract(parameter.type.span)
            name = ", ".join(sorted(left))
            self._misfit(parameter, value, shown, fn, f"the arguments do not determine the size {name}")
            return None
        declared = read_type(parameter.type, types, report)
        if declared == ERROR:
            return None
        if not fits(value.type, declared):
            self._misfit(parameter, value, str(declared), fn, "pass a value of the declared type")
            return None
        return self.checker.as_real(value) if declared.kind == "real" else value

    def _misfit(self, parameter: ast.Parameter, value: Expr, declared: str, fn: ast.Fn, advice: str) -> None:
        name = f"{fn.name.text}({parameter.name.text})"
        places = (Label(parameter.span, "declared here"), *origins(self.scope, value))
        found = str(value.type)
        self.checker.report.add(DeclaredOtherwise(value.span, name, found, declared, advice, places))


def _dimensions(parameter: ast.Parameter, value: Expr) -> list[tuple[ast.Expr, Size]]:
    """The dimensions of a parameter as written, each with the size of the argument there."""
    dims = [d for group in parameter.type.dims for d in group]
    sizes = value.type.shape
    if value.type.classes is not None:
        if parameter.type.name.text == "permutation":
            sizes = (value.type.classes, *sizes[:-1])
        elif parameter.type.name.text == value.type.kind:
            sizes = (value.type.classes, *sizes)
    return list(zip(dims, sizes, strict=True)) if len(dims) == len(sizes) else []
