"""What statements, imports and the heads of blocks print. No function is recursive."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from ebmlang.compiler import ast
from ebmlang.compiler.formatting.expressions import (
    EXPRESSIONS,
    arguments,
    assigned,
    optional,
    subscripts,
    with_,
)
from ebmlang.compiler.formatting.parts import (
    CLOSE,
    GLUE,
    GLUE_SPACE,
    GROUP,
    SPACE,
    SPACE_BACK,
    SPACE_SOFT,
    TAB,
    Parts,
    bracket,
    listed,
)


def _maybe_assigned(value: object | None) -> Parts:
    return assigned(value) if value is not None else []


def family(node: ast.Statement) -> str:
    """Consecutive one-line statements of the same family are aligned; empty: never aligned."""
    if isinstance(node, ast.Let):
        return "let typed" if node.type else "let"
    return _FAMILIES.get(type(node), "")


_FAMILIES: dict[type, str] = {
    ast.Variable: "variable",
    ast.Term: "term",
    ast.Net: "net",
    ast.LetCell: "cell",
    ast.LetTuple: "let",
    ast.Fn: "fn",
    ast.Subject: "subject",
    ast.Property: "property",
    ast.Update: "update",
    ast.Schedule: "schedule",
    ast.Part: "part",
}


# --- types and declarations ---------------------------------------------------------------------


def _hyper(node: ast.Hyper) -> Parts:
    default: Parts = [" =", GLUE_SPACE, node.default] if node.default is not None else []
    return [node.name, ": ", node.type, *optional(node.domain), *default]


def _variable(node: ast.Variable) -> Parts:
    head = f"shared {node.role}" if node.shared else node.role
    parts: Parts = [head, TAB, " ", node.name, TAB, " : ", node.type, *optional(node.domain)]
    if node.missing:
        parts.append(" missing")
    if node.per:
        parts.append(f" per {node.per}")
    if node.role == "random":
        return [*parts, " ~ ", node.init]
    return [*parts, *_maybe_assigned(node.init)]


def _types(types: Sequence[ast.TypeExpr]) -> Parts:
    return list(types) if len(types) == 1 else bracket("(", types, ")")


def _net(node: ast.Net) -> Parts:
    head = "extern net" if node.extern else "net"
    name = (node.name, *subscripts(node.subscripts))
    arrow: Parts = [" ->", GLUE_SPACE] if len(node.outputs) == 1 else [" -> "]
    signature = (*_types(node.inputs), *arrow, *_types(node.outputs))
    return [head, TAB, " ", *name, TAB, " : ", GROUP, *signature, CLOSE, *_maybe_assigned(node.init)]


def _let(node: ast.Let) -> Parts:
    typed: Parts = [" : ", node.type] if node.type else []
    return ["let ", node.name, TAB, *typed, *_maybe_assigned(node.value)]


def _let_cell(node: ast.LetCell) -> Parts:
    return ["let ", node.name, *subscripts(node.subscripts), TAB, *assigned(node.value)]


def _let_tuple(node: ast.LetTuple) -> Parts:
    return ["let ", *bracket("(", node.names, ")"), TAB, *assigned(node.value)]


def _parameter(node: ast.Parameter) -> Parts:
    return [node.name, ": ", node.type]


def _fn(node: ast.Fn) -> Parts:
    parameters = bracket("(", node.parameters, ")") if node.parameters else ["(", GLUE, ")"]
    result: Parts = [" ->", GLUE_SPACE, node.result] if node.result else []
    return ["fn ", node.name, GROUP, *parameters, *result, CLOSE, TAB, *assigned(node.value)]


def _state(node: ast.StateDecl) -> Parts:
    typed: Parts = [" : ", node.type] if node.type else []
    per: Parts = [f" per {node.per}"] if node.per else []
    return ["state ", node.name, *typed, *per, *assigned(node.value)]


def _update(node: ast.Update) -> Parts:
    return ["update ", node.name, TAB, *assigned(node.value)]


def _dotted(names: Iterable[ast.Identifier]) -> Parts:
    parts: Parts = []
    for name in names:
        parts += (".", name) if parts else (name,)
    return parts


def _dotted_node(node: ast.Dotted) -> Parts:
    return _dotted(node.parts)


def _reference(node: ast.Reference) -> Parts:
    return [*_dotted(node.path), *subscripts(node.subscripts), *arguments(node.arguments)]


def _part(node: ast.Part) -> Parts:
    name = (node.name, *subscripts(node.subscripts))
    return ["part ", *name, TAB, " =", GLUE_SPACE, node.reference, *with_(node.bindings)]


def _compose(node: ast.Compose) -> Parts:
    name = (node.name, *subscripts(node.subscripts))
    using: Parts = [" using ", node.using] if node.using is not None else []
    return [f"{node.word} ", node.reference, " as ", *name, *with_(node.bindings), *using]


# --- terms, plates and questions ----------------------------------------------------------------


def _term(node: ast.Term) -> Parts:
    head = f"batch {node.kind}" if node.batch else node.kind
    return [head, TAB, " ", node.name, *subscripts(node.subscripts), TAB, *assigned(node.value)]


def _subject(node: ast.Subject) -> Parts:
    return ["subject to ", node.name, *subscripts(node.subscripts), TAB, " : ", node.relation]


def _plate(node: ast.Plate) -> Parts:
    guard: Parts = [" if ", node.guard] if node.guard is not None else []
    return ["for ", *listed(node.binders, SPACE_SOFT), *guard]


def _question(node: ast.Question) -> Parts:
    parts: Parts = [node.verb]
    if node.label:
        parts += (" ", node.label, ":")
    if node.targets:
        parts += (" ", *listed(node.targets, SPACE_SOFT))
    if node.relation == "=":
        parts += (" =", GLUE_SPACE, node.prediction)
    elif node.relation:
        parts += (f" {node.relation} ", node.prediction)
    for clause in node.clauses:
        parts += (" ", clause)
    return parts


def _clause(node: ast.Clause) -> Parts:
    if node.word == "given":
        return ["given ", *listed(node.names, SPACE_SOFT)]
    if node.word == "steps":
        return ["steps =", GLUE_SPACE, node.value]
    if node.word == "at":
        return ["at ", node.name, " =", GLUE_SPACE, node.value]
    return [f"{node.word} ", node.name if node.value is None else node.value]


def _schedule(node: ast.Schedule) -> Parts:
    return ["schedule ", node.name, TAB, *assigned(node.value)]


def _stage(node: ast.Stage) -> Parts:
    return ["stage ", node.name, " for ", node.steps, " steps"]


def _property(node: ast.Property) -> Parts:
    head: Parts = ["property ", node.name, TAB, " : "]
    if not node.quantified:
        return [*head, node.claim]
    claim = (GROUP, "{", SPACE, node.claim, SPACE_BACK, "}", CLOSE)
    return [*head, "forall ", *listed(node.quantified, SPACE_SOFT), " ", *claim]


def _quantified(node: ast.Quantified) -> Parts:
    return [node.name, " : ", node.type, *optional(node.domain)]


def _import(node: ast.Import) -> Parts:
    source: Parts = _dotted(node.path) if node.file is None else [f'"{node.file}"']
    return ["import ", *source, *([" as ", node.alias] if node.alias else [])]


def _model(node: ast.Model) -> Parts:
    return ["model ", node.name, *(bracket("(", node.hypers, ")") if node.hypers else [])]


_STATEMENTS: Final[dict[type, Callable[[Any], Parts]]] = {
    ast.Hyper: _hyper,
    ast.Variable: _variable,
    ast.Net: _net,
    ast.Let: _let,
    ast.LetCell: _let_cell,
    ast.LetTuple: _let_tuple,
    ast.Parameter: _parameter,
    ast.Fn: _fn,
    ast.StateDecl: _state,
    ast.Update: _update,
    ast.Reference: _reference,
    ast.Part: _part,
    ast.Compose: _compose,
    ast.Term: _term,
    ast.Subject: _subject,
    ast.Plate: _plate,
    ast.Dotted: _dotted_node,
    ast.Clause: _clause,
    ast.Question: _question,
    ast.Schedule: _schedule,
    ast.Stage: _stage,
    ast.Property: _property,
    ast.Quantified: _quantified,
    ast.Import: _import,
    ast.Model: _model,
}

PARTS: Final = EXPRESSIONS | _STATEMENTS
"""One row per node kind; a test asserts that none is missing."""


def parts_of(node: Any) -> Parts:
    """The parts of a node; those of a block are the parts of its head."""
    return PARTS[type(node)](node)
