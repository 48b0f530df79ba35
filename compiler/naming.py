"""Methods and samplers as a line names them: `NAME` or `NAME(option = number, ...)`."""

from __future__ import annotations

from math import isfinite
from typing import Protocol

from ebmlang.compiler import ast
from ebmlang.compiler.catalogue.names import RepeatedName, UnknownArgument, UnknownMethod
from ebmlang.compiler.catalogue.types import BadOption
from ebmlang.compiler.diagnostics import Report
from ebmlang.compiler.methods import COMMON, OptionKind, find_method, method_names
from ebmlang.compiler.samplers import LENGTHS, find_sampler, sampler_names
from ebmlang.compiler.source import Span
from ebmlang.compiler.summers import find_summer, summer_names
from ebmlang.compiler.typed import Method

Options = tuple[tuple[str, float | int | bool | str], ...]
Kinds = tuple[tuple[str, OptionKind], ...]


class _Row(Protocol):
    """A line of one of the tables."""

    @property
    def name(self) -> str: ...

    @property
    def options(self) -> Kinds: ...


def _number(node: ast.Expr | ast.Reduction | ast.OverBatch | ast.Text) -> float | None:
    """A plain number, or None."""
    if not isinstance(node, ast.Number):
        return None
    value = float(node.text.replace("_", ""))
    return value if isfinite(value) else None


def read_method(value: ast.Expr, span: Span, report: Report, others: tuple[str, ...] = ()) -> Method | None:
    """The method of `using NAME` or `using NAME(option = number, ...)`; mistakes go to the report.

    `others` are names that are read elsewhere, and may have been meant.
    """
    row = find_method(method_name(value))
    return _read(value, span, report, row, COMMON, (*others, *method_names()), "method")


def read_sampler(value: ast.Expr, span: Span, report: Report) -> Method | None:
    """The sampler of `using NAME` or `using NAME(option = number, ...)`; mistakes go to the report."""
    row = find_sampler(method_name(value))
    return _read(value, span, report, row, LENGTHS, sampler_names(), "sampler")


def read_summer(value: ast.Expr, span: Span, report: Report) -> Method | None:
    """The way to sum of `marginalize ... using NAME(option = number, ...)`; mistakes go to the report."""
    row = find_summer(method_name(value))
    return _read(value, span, report, row, (), summer_names(), "way to sum")


def _read(
    value: ast.Expr,
    span: Span,
    report: Report,
    row: _Row | None,
    common: Kinds,
    known: tuple[str, ...],
    kind: str,
) -> Method | None:
    """What the row of a table says with the options of the row and those that are `common` to the table."""
    if row is None:
        shown = method_name(value) or report.source.extract(value.span)
        report.add(UnknownMethod(value.span, shown, known, kind))
        return None
    arguments = value.arguments if isinstance(value, ast.Call) else ()
    return Method(row.name, read_options(row.name, (*row.options, *common), arguments, report), span)


def method_name(value: ast.Expr) -> str:
    if isinstance(value, ast.Call):
        return value.function.text
    return value.text if isinstance(value, ast.Name) else ""


def read_options(
    method: str,
    options: tuple[tuple[str, OptionKind], ...],
    arguments: tuple[ast.Argument, ...],
    report: Report,
) -> Options:
    """The options of a method by name; mistakes go to the report."""
    known = dict(options)
    found: dict[str, float | int | bool | str] = {}
    for argument in arguments:
        if argument.name is None or argument.name.text not in known:
            shown = report.source.extract(argument.span)
            name = argument.name.text if argument.name is not None else shown
            span = argument.name.span if argument.name is not None else argument.span
            advice = "" if argument.name is not None else f"name it: {next(iter(known))} = {shown}"
            report.add(UnknownArgument(span, name, method, tuple(known), advice))
            continue
        name = argument.name.text
        if name in found:
            report.add(RepeatedName(argument.span, name, f"the options of `{method}`"))
            continue
        number = _number(argument.value)
        whole = known[name] != "positive"
        if number is None or number <= 0 or (whole and not number.is_integer()):
            shown = report.source.extract(argument.value.span)
            wanted = "a whole number of at least 1" if whole else "a positive number"
            report.add(BadOption(argument.value.span, name, f"`{shown}`", wanted))
            continue
        found[name] = int(number) if whole else number
    return tuple(found.items())
