"""The generated methods that tabulate factors over discrete unknowns."""

from __future__ import annotations

from ebmlang.compiler import typed
from ebmlang.compiler.codegen.energies import number
from ebmlang.compiler.codegen.expressions import Emitter
from ebmlang.compiler.codegen.functions import Functions
from ebmlang.compiler.codegen.layout import ATOM, Code, Layout, aligned
from ebmlang.compiler.codegen.lines import Line
from ebmlang.compiler.codegen.methods import Method
from ebmlang.compiler.codegen.names import local_name
from ebmlang.compiler.tables import FactorTable, Tables
from ebmlang.compiler.typed import Expr, Level

_ARGUMENTS = "unknown: Values, held: Values"


def table_methods(tables: Tables, functions: Functions) -> list[Method]:
    """`tables` and `scopes`, or nothing when a term could not be taken apart."""
    if tables.whole or not tables.variables:
        return []
    return [_tables(tables, functions), _scopes(tables, functions)]


def table_specs(tables: Tables) -> list[str]:
    """The table of tables: for each its term, its unknowns, and the number of its plate axes."""
    if tables.whole or not tables.variables:
        return ["TABLES = ()"]
    lines = ["", "TABLES = ("]
    for key, factor in enumerate(tables.factors):
        names = tuple(read.variable for read in factor.reads)
        lines.append(
            f"    TableSpec({key}, {factor.term!r}, {names!r}, {len(factor.axes)}, {factor.per_example}),"
        )
    return [*lines, ")"]


def _tables(tables: Tables, functions: Functions) -> Method:
    e = functions.method()
    e.count(*(factor.value for factor in tables.factors))
    entries = []
    for key, factor in enumerate(tables.factors):
        code = _table(e, factor)
        entries.append(f"{key}: {e.assign(f'table_{key}_of_{local_name(factor.term)}', code, ()).text}")
    doc = f"Summands of the energy by case of {', '.join(tables.variables)}: [B or 1, plates..., cases...]."
    lines = [*functions.prologue(e), *e.lines, Line((), f"{{{', '.join(entries)}}}")]
    return Method("tables", _ARGUMENTS, "dict[int, Tensor]", doc, lines)


def _table(e: Emitter, factor: FactorTable) -> Code:
    axes = (*factor.axes, *(read.axis for read in factor.reads))
    with e.guarded(factor.mask):
        batch = factor.value.level is Level.EXAMPLE
        value = e.expanded(number(e, factor.value, local_name(factor.term)), Layout(batch, axes, 0))
        if factor.mask is None:
            return _batched(value)
        mask = e.tensor(e.code(factor.mask))
    where = Layout(batch or factor.mask.level is Level.EXAMPLE, axes, 0)
    text = f"torch.where({aligned(mask, where).text}, {aligned(value, where).text}, 0.0)"
    return _batched(Code(text, ATOM, where.batch, axes, 0, "real"))


def _scopes(tables: Tables, functions: Functions) -> Method:
    e = functions.method()
    e.count(*(s for f in tables.factors for r in f.reads for s in r.subscripts))
    entries = []
    for key, factor in enumerate(tables.factors):
        with e.guarded(factor.mask):
            reads = [_tuple([_along(e, s, factor.axes) for s in r.subscripts]) for r in factor.reads]
        mask = "None" if factor.mask is None else _along(e, factor.mask, factor.axes, "bool")
        entries.append(f"{key}: ({mask}, {_tuple(reads)})")
    doc = "Where each table counts, and the subscripts of the entries that it joins: [B or 1, plates...]."
    lines = [*functions.prologue(e), *e.lines, Line((), f"{{{', '.join(entries)}}}")]
    return Method("scopes", _ARGUMENTS, "Scopes", doc, lines)


def _along(e: Emitter, node: Expr, axes: typed.Axes, kind: str = "int") -> str:
    code = e.tensor(e.converted(e.code(node), kind))
    return _batched(e.expanded(code, Layout(node.level is Level.EXAMPLE, axes, 0))).text


def _batched(code: Code) -> Code:
    if code.batch:
        return code
    return Code(f"{code.at(ATOM)}[None]", ATOM, True, code.axes, code.rank, code.kind)


def _tuple(items: list[str]) -> str:
    return f"({', '.join(items)}{',' * (len(items) == 1)})"
