"""Walks over typed expressions, and copies of them with other nodes in some places."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from ebmlang.compiler.typed.expressions import (
    Apply,
    Axes,
    Axis,
    Carry,
    Expr,
    Fold,
    LentNet,
    Level,
    OverExamples,
    Pack,
    Pick,
    Read,
    Scan,
    Scatter,
    Solve,
    Tabulate,
)


def merge_axes(parts: Iterator[Expr] | tuple[Expr, ...]) -> Axes:
    """The axes of several expressions together, outermost first."""
    found: dict[int, Axis] = {}
    for part in parts:
        for axis in part.axes:
            found[axis.order] = axis
    return tuple(found[order] for order in sorted(found)) if len(found) > 1 else tuple(found.values())


def rebuilt(node: Expr, children: tuple[Expr, ...]) -> Expr:
    """The same node over other children, with axes, level and coupling worked out again."""
    if not children or all(a is b for a, b in zip(children, node.children(), strict=True)):
        return node
    axes = merge_axes(children)
    level = max(c.level for c in children)
    coupled = any(c.coupled for c in children)
    match node:
        case Apply():
            return replace(node, arguments=children, axes=axes, level=level, coupled=coupled)
        case Pack():
            return replace(node, items=children, axes=axes, level=level, coupled=coupled)
        case Pick():
            rest = iter(children[1:])
            subscripts = tuple(next(rest) if isinstance(s, Expr) else s for s in node.subscripts)
            return replace(
                node, base=children[0], subscripts=subscripts, axes=axes, level=level, coupled=coupled
            )
        case Scatter():
            rest = iter(children[1:])
            subscripts = tuple(next(rest) if isinstance(s, Expr) else s for s in node.subscripts)
            kept = tuple(a for a in axes if a not in node.over)
            return replace(
                node, value=children[0], subscripts=subscripts, axes=kept, level=level, coupled=coupled
            )
        case Fold():
            guard = children[1] if node.guard is not None else None
            kept = tuple(a for a in axes if a not in node.over)
            return replace(node, body=children[0], guard=guard, axes=kept, level=level, coupled=coupled)
        case Tabulate():
            kept = tuple(a for a in axes if a not in node.over)
            return replace(node, body=children[0], axes=kept, level=level, coupled=coupled)
        case OverExamples():
            return replace(node, body=children[0], axes=axes)
        case Solve():
            return _solve_over(node, children)
        case Scan():
            return settled(_with_parts(node, children))
    raise AssertionError(f"{type(node).__name__} has no children")


def _solve_over(node: Solve, children: tuple[Expr, ...]) -> Solve:
    """The Solve over other children, in the order of `children()`."""
    rest = iter(children)
    inputs = tuple(next(rest) for _ in node.inputs)
    nets = []
    for lent in node.nets:
        net = next(rest)
        assert isinstance(net, Read)
        nets.append(LentNet(net, tuple(next(rest) for _ in lent.indices)))
    return solve_with(node, inputs, tuple(nets))


def solve_with(node: Solve, inputs: tuple[Expr, ...], nets: tuple[LentNet, ...]) -> Solve:
    """The Solve for other inputs and nets, with its axes, level and coupling."""
    made = replace(node, inputs=inputs, nets=nets)
    parts = made.children()
    level = max((p.level for p in parts), default=Level.CONSTANT)
    return replace(made, axes=merge_axes(parts), level=level, coupled=any(p.coupled for p in parts))


def _with_parts(scan: Scan, children: tuple[Expr, ...]) -> Scan:
    """The Scan over other children, in the order of `children()`."""
    rest = iter(children)
    states = []
    for state in scan.states:
        starts = tuple(next(rest) for _ in state.starts)
        states.append(replace(state, starts=starts, body=next(rest)))
    return replace(scan, states=tuple(states))


def settled(scan: Scan) -> Scan:
    """The Scan with its axes, level and coupling, and those of its carries, as its parts have them."""
    plain = _recarried(scan, (), Level.CONSTANT, False)
    parts = plain.children()
    axes = tuple(a for a in merge_axes(parts) if a is not scan.axis)
    level = max(p.level for p in parts)
    coupled = any(p.coupled for p in parts)
    known = (n for part in scan.children() for n in walk(part) if isinstance(n, Carry))
    if any((c.axes, c.level, c.coupled) != (axes, level, coupled) for c in known if c.axis is scan.axis):
        scan = _recarried(plain, axes, level, coupled)
    return replace(scan, axes=axes, level=level, coupled=coupled)


def _recarried(scan: Scan, axes: Axes, level: Level, coupled: bool) -> Scan:
    def moved(node: Expr) -> Expr | None:
        if not isinstance(node, Carry) or node.axis is not scan.axis:
            return None
        same = (node.axes, node.level, node.coupled) == (axes, level, coupled)
        return node if same else replace(node, axes=axes, level=level, coupled=coupled)

    memo: dict[int, Expr] = {}
    states = tuple(replace(s, body=mapped(s.body, moved, memo)) for s in scan.states)
    return replace(scan, states=states)


def mapped(root: Expr, change: Callable[[Expr], Expr | None], memo: dict[int, Expr] | None = None) -> Expr:
    """`root` with every node for which `change` gives another one replaced, from the top down;
    what is put in is not looked at again."""
    done: dict[int, Expr] = {} if memo is None else memo
    stack = [root]
    while stack:
        node = stack[-1]
        if id(node) in done:
            stack.pop()
            continue
        changed = change(node)
        if changed is not None:
            done[id(node)] = changed
            continue
        children = node.children()
        missing = [c for c in children if id(c) not in done]
        if missing:
            stack.extend(missing)
        else:
            done[id(node)] = rebuilt(node, tuple(done[id(c)] for c in children))
    return done[id(root)]


def walk(root: Expr) -> Iterator[Expr]:
    """Every distinct node, parents before children."""
    seen: set[int] = set()
    stack = [root]
    while stack:
        node = stack.pop()
        if id(node) not in seen:
            seen.add(id(node))
            yield node
            stack.extend(reversed(node.children()))
            stack.extend(a.rows for a in node.axes if a.rows is not None)


def reads(root: Expr) -> frozenset[str]:
    """Names of the hyperparameters, variables and lets that a value is computed from."""
    return frozenset(n.name for n in walk(root) if isinstance(n, Read))
