"""The names in a tree, and its text form."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from typing import Any

from ebmlang.compiler.ast.expressions import Identifier, Name, Number
from ebmlang.compiler.ast.statements import Dotted
from ebmlang.compiler.source import Span


def names_read(node: object) -> Iterator[str]:
    """The names that are read anywhere in a node; of a dotted name the first part."""
    stack = [node]
    while stack:
        found = stack.pop()
        if isinstance(found, Name):
            yield found.text
        elif isinstance(found, Dotted):
            yield found.parts[0].text
        elif isinstance(found, tuple):
            stack.extend(found)
        elif is_dataclass(found):
            stack.extend(getattr(found, item.name) for item in fields(found))


def dump(node: object, indent: int = 0) -> str:
    """Stable text of a tree, for `ebmlang show ast` and golden tests: one node per line."""
    pad = "  " * indent
    if isinstance(node, Identifier | Name | Number):
        return f"{pad}{type(node).__name__} {node.text}"
    if isinstance(node, tuple):
        return "\n".join(dump(x, indent) for x in node) if node else f"{pad}()"
    if not hasattr(type(node), "__dataclass_fields__"):
        return f"{pad}{node!r}"
    lines = [f"{pad}{type(node).__name__}"]
    for item in fields(node):  # type: ignore[arg-type]
        value = getattr(node, item.name)
        if item.name.endswith("span") or item.name == "comments" or value in (None, (), ""):
            continue
        if isinstance(value, str | bool):
            lines.append(f"{pad}  {item.name}: {value!r}")
        else:
            lines.append(f"{pad}  {item.name}:\n{dump(value, indent + 2)}")
    return "\n".join(lines)


def placed(node: Any, span: Span) -> Any:
    """The same tree with every node at one place."""
    if isinstance(node, Span):
        return span
    if isinstance(node, tuple):
        return tuple(placed(part, span) for part in node)
    if not is_dataclass(node) or isinstance(node, type):
        return node
    return replace(node, **{item.name: placed(getattr(node, item.name), span) for item in fields(node)})
