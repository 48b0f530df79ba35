"""How an expression reads variables and lets: whole, or with subscripts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ebmlang.compiler import notation, typed
from ebmlang.compiler.sizes import ZERO
from ebmlang.compiler.typed import Axes, Expr, NewAxis, Pick, Read, SliceOf


@dataclass(frozen=True, slots=True)
class Use:
    """One way of reading a name; `pick` is None when the whole value is read.

    `rows` marks a list that a plate or a reduction runs over. `folds` are the reductions and
    tables around it, outermost first.
    """

    name: str
    pick: Pick | None
    rows: bool = False
    folds: tuple[typed.Fold | typed.Tabulate, ...] = ()


def uses(*roots: Expr, axes: Axes = ()) -> tuple[Use, ...]:
    """Every distinct use in the expressions and in the plates `axes`, in the order of the text."""
    found: dict[tuple[object, ...], Use] = {}
    for root in roots:
        _collect(root, found)
    for axis in axes:
        if axis.rows is not None:
            for name in sorted(typed.reads(axis.rows)):
                found.setdefault((name, "rows"), Use(name, None, True))
    return tuple(found.values())


def _collect(root: Expr, found: dict[tuple[object, ...], Use]) -> None:
    seen: set[tuple[int, tuple[int, ...]]] = set()
    stack: list[tuple[Expr, tuple[typed.Fold | typed.Tabulate, ...]]] = [(root, ())]
    while stack:
        node, folds = stack.pop()
        key = id(node), tuple(map(id, folds))
        if key in seen:
            continue
        seen.add(key)
        children = node.children()
        match node:
            case Read(name=name):
                found.setdefault((name, "", key[1]), Use(name, None, False, folds))
            case Pick(base=Read(name=name)):
                found.setdefault((name, notation.text(node), key[1]), Use(name, node, False, folds))
                children = children[1:]
            case typed.Fold() | typed.Tabulate():
                folds = (*folds, node)
                for name in (n for a in node.over if a.rows is not None for n in sorted(typed.reads(a.rows))):
                    found.setdefault((name, "rows"), Use(name, None, True))
        stack.extend((child, folds) for child in reversed(children))


def subscripts(pick: Pick) -> tuple[str, ...]:
    """The subscripts as a reader would write them: whole dimensions at the end are left out."""
    parts = list(_with_fullness(pick))
    while parts and parts[-1][1]:
        parts.pop()
    return tuple(_subscript_text(s, full) for s, full in parts)


def dimensions(pick: Pick) -> list[Expr | SliceOf]:
    """One subscript per dimension of what is indexed: new axes select nothing."""
    return [s for s in pick.subscripts if not isinstance(s, NewAxis)]


def _with_fullness(pick: Pick) -> Iterator[tuple[Expr | SliceOf, bool]]:
    for s, size in zip(dimensions(pick), pick.base.type.shape, strict=True):
        yield s, isinstance(s, SliceOf) and s.start == ZERO and s.stop == size


def _subscript_text(s: Expr | SliceOf, full: bool) -> str:
    if isinstance(s, SliceOf):
        return ".." if full else f"{s.start}..{s.stop}"
    return notation.text(s)


def picked_text(name: str, parts: tuple[str, ...]) -> str:
    return f"{name}[{', '.join(parts)}]" if parts else name
