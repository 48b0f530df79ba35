"""What expressions and types print. No function is recursive, see `layout.py`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ebmlang.compiler import ast
from ebmlang.compiler.formatting.parts import (
    CHAIN,
    CLOSE,
    CUT,
    CUT_BACK,
    GLUE,
    GLUE_SPACE,
    GROUP,
    SPACE,
    SPACE_PREFERRED,
    SPACE_SOFT,
    Part,
    Parts,
    bracket,
    listed,
)
from ebmlang.compiler.source import Span

_LEVELS: dict[str, int] = {
    "or": 0,
    "and": 1,
    **dict.fromkeys(("<=", ">=", "==", "!=", "~=", "<", ">"), 2),
    **dict.fromkeys("+-", 3),
    **dict.fromkeys(("*", "/", "//", "%", "@"), 4),
    "^": 5,
}
_COMPARISON, _PRODUCT, _POWER = 2, 4, 5
_TIGHT = frozenset({"+", "-", "*", "//", "%"})
_LONGEST_TIGHT = 9


def assigned(value: object) -> Parts:
    """` = value`. A sum that does not fit begins on a line of its own."""
    chain = isinstance(value, ast.Binary) and _LEVELS[value.op] not in (_PRODUCT, _POWER)
    return [" =", GROUP, SPACE_PREFERRED if chain else SPACE_SOFT, value, CLOSE]


def optional(node: object | None) -> Parts:
    return [node] if node is not None else []


def subscripts(items: Sequence[Part]) -> Parts:
    if not items:
        return []
    return bracket("[", [_tight(x) for x in items], "]", SPACE_SOFT)


def arguments(items: Sequence[ast.Argument]) -> Parts:
    return bracket("(", items, ")") if items else []


def with_(bindings: Sequence[ast.Binding]) -> Parts:
    return [" with ", *listed(bindings, SPACE_SOFT)] if bindings else []


def _tight(item: Any) -> Part:
    """Sums of names and numbers stand without spaces where they are sizes or places: `x[t+1]`."""
    if not isinstance(item, ast.Binary):
        return item
    words: list[str] = []
    todo: list[object] = [item]
    while todo:
        node = todo.pop()
        if isinstance(node, str):
            words.append(node)
        elif isinstance(node, ast.Name | ast.Number):
            words.append(node.text)
        elif isinstance(node, ast.Binary) and node.op in _TIGHT:
            todo += (node.right, node.op, node.left)
        else:
            return item
        if len(words) + len(todo) > _LONGEST_TIGHT:
            return item
    return _Tight("".join(words), item.span)


@dataclass(frozen=True, slots=True)
class _Tight:
    """An expression that prints as one word."""

    text: str
    span: Span


def _range(start: object | None, stop: object | None) -> Parts:
    left, right = _tight(start), _tight(stop)
    spaced = isinstance(left, ast.Binary) or isinstance(right, ast.Binary)
    between = " .. " if spaced and left is not None and right is not None else ".."
    return [*optional(left), between, *optional(right)]


# --- expressions --------------------------------------------------------------------------------


def _word(node: ast.Number | ast.Name | ast.Identifier) -> Parts:
    return [node.text]


def _unary(node: ast.Unary) -> Parts:
    return [node.op, GLUE, node.operand]


def _binary(node: ast.Binary) -> Parts:
    level = _LEVELS[node.op]
    if level == _POWER:
        return [node.left, node.op_span.start, node.op, GLUE, node.right]
    links: list[ast.Binary] = [node]
    while (
        level != _COMPARISON and isinstance(left := links[-1].left, ast.Binary) and _LEVELS[left.op] == level
    ):
        links.append(left)
    first = links[-1].left
    parts: Parts = [CHAIN, first]
    between = SPACE_SOFT if level in (_COMPARISON, _PRODUCT) else SPACE
    for link in reversed(links):
        if link.op == "/" and isinstance(link.left, ast.Number) and isinstance(link.right, ast.Number):
            parts += (link.op_span.start, "/", GLUE, link.right)  # 1/2 is read as one number
        else:
            parts += (" ", link.op_span.start, link.op, between, link.right)
    return [*parts, CLOSE]


def _call(node: ast.Call) -> Parts:
    if not node.arguments:
        return [node.function, "(", GLUE, ")"]
    return [node.function, *arguments(node.arguments)]


def _call_entry(node: ast.CallEntry) -> Parts:
    if not node.arguments:
        return [node.entry, "(", GLUE, ")"]
    return [node.entry, *arguments(node.arguments)]


def _argument(node: ast.Argument) -> Parts:
    return [node.name, " =", GLUE_SPACE, node.value] if node.name else [node.value]


def _text(node: ast.Text) -> Parts:
    return [f'"{node.value}"']


def _over_batch(node: ast.OverBatch) -> Parts:
    return ["batch"]


def _reduction(node: ast.Reduction) -> Parts:
    guard: Parts = [" if ", node.guard] if node.guard is not None else []
    if len(node.binders) == 1:
        return [node.binders[0], *guard]
    return [GROUP, "(", CUT, *listed(node.binders, SPACE_SOFT), *guard, CUT_BACK, ")", CLOSE]


def _binder(node: ast.Binder) -> Parts:
    names: Parts = list(node.names)
    if len(names) > 1:
        names = bracket("(", names, ")")
    if node.rows is not None:
        return [*names, " in ", node.rows]
    return [*names, " in ", *_range(node.start, node.stop)]


def _index(node: ast.Index) -> Parts:
    return [node.base, *subscripts(node.subscripts)]


def _slice(node: ast.Slice) -> Parts:
    return _range(node.start, node.stop)


def _attribute(node: ast.Attribute) -> Parts:
    # `1.T` would be read as the number `1.` and a name.
    return [node.base, " ." if isinstance(node.base, ast.Number) else ".", node.name]


def _parenthesised(node: ast.Parenthesised) -> Parts:
    return bracket("(", [node.inner], ")")


def _substitution(node: ast.Substitution) -> Parts:
    return [GROUP, "(", CUT, node.inner, *with_(node.bindings), CUT_BACK, ")", CLOSE]


def _list_expression(node: ast.ListExpr) -> Parts:
    if not node.items:
        return ["[", GLUE, "]"]
    rows = all(isinstance(x, ast.ListExpr) for x in node.items)
    return bracket("[", node.items, "]", SPACE if rows else SPACE_SOFT)


def _absolute(node: ast.Absolute) -> Parts:
    return ["|", node.inner, "|"]


def _norm(node: ast.Norm) -> Parts:
    return ["||", node.inner, "||" if node.order == "2" else f"||_{node.order}"]


def _binding(node: ast.Binding) -> Parts:
    return [node.name, " =", GLUE_SPACE, node.value]


# --- types ---------------------------------------------------------------------------------------


def _type(node: ast.TypeExpr) -> Parts:
    return [node.name, *(part for group in node.dims for part in subscripts(group))]


def _domain(node: ast.DomainExpr) -> Parts:
    plain = all(x.name is None and not isinstance(x.value, ast.Text) for x in node.arguments)
    if node.name.text == "interval" and len(node.arguments) == 2 and node.where is None and plain:
        return [" in ", *bracket("[", node.arguments, "]")]
    where: Parts = [" where ", node.where] if node.where is not None else []
    return [" in ", node.name, *arguments(node.arguments), *where]


def _tight_word(node: _Tight) -> Parts:
    return [node.text]


EXPRESSIONS: Final[dict[type, Callable[[Any], Parts]]] = {
    _Tight: _tight_word,
    ast.Identifier: _word,
    ast.Number: _word,
    ast.Name: _word,
    ast.Unary: _unary,
    ast.Binary: _binary,
    ast.Call: _call,
    ast.CallEntry: _call_entry,
    ast.Argument: _argument,
    ast.Text: _text,
    ast.Reduction: _reduction,
    ast.OverBatch: _over_batch,
    ast.Index: _index,
    ast.Slice: _slice,
    ast.Attribute: _attribute,
    ast.Parenthesised: _parenthesised,
    ast.Substitution: _substitution,
    ast.ListExpr: _list_expression,
    ast.Absolute: _absolute,
    ast.Norm: _norm,
    ast.Binding: _binding,
    ast.Binder: _binder,
    ast.TypeExpr: _type,
    ast.DomainExpr: _domain,
}
