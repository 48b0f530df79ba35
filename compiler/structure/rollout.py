"""Rule: a rollout, whose energy is a sum over time of functions of the state and the action.

The states `s[t+1] = f(s[t], a[t])` are taken as if they were unknowns of their own, which
they may be. When every
summand then reads states and actions of one time only, the energy is a sum of stage costs. With an
affine f and stage costs of degree 2 this is linear-quadratic control (Bertsekas 2017, section 3.1), and
with affine constraints on states and actions of one time each as well, a quadratic program in stages.
"""

from __future__ import annotations

from dataclasses import replace

from ebmlang.compiler import typed
from ebmlang.compiler.degrees import Degrees
from ebmlang.compiler.facts import Dependence
from ebmlang.compiler.graph import Limit
from ebmlang.compiler.indexing import Affine, affine
from ebmlang.compiler.sizes import ZERO
from ebmlang.compiler.structure.block import Block
from ebmlang.compiler.structure.finding import Finding, Rollout
from ebmlang.compiler.structure.pieces import pieces
from ebmlang.compiler.structure.shooting import Steps, steps_in_equations
from ebmlang.compiler.typed import Apply, Expr, Fold, Level, Pick, Position, Read, Scan, SliceOf

_DIFFERENTIABLE = ("smooth", "piecewise")
"""Grades of steps and constraints along which a search by derivatives goes."""

_ROWWISE = frozenset({"add", "sub", "mul", "div", "neg", "square", "pow"})
_ADDING = frozenset({"add", "sub", "neg", "sum", "mean", "concat", "stack", "diag", "trace", "transpose"})


def find_rollout(block: Block) -> tuple[Finding, ...]:
    """`rollout`: steps from state to state under one sought array, with costs of one time each; and
    `linear-quadratic rollout`, where the steps are affine and the costs quadratic. Under hard constraints of
    one time each besides `staged constraints`, and `limited rollout` where all of it is affine or quadratic.
    The states are named values, or unknowns that hard equations give."""
    if block.joint is not None:
        return ()
    steps = _steps(block)
    if steps is None or not _is_step(block, steps.scan, steps.action.name):
        return ()
    limits = tuple(limit for limit in block.limits if limit.name not in steps.names)
    names = tuple(s.name for s in steps.scan.states)
    lifted = Dependence(block.graph, block.names | frozenset(names))
    parts = [part for s in block.touching for _, part in pieces(s.value)]
    masks = [s.mask for s in block.touching if s.mask is not None]
    masks += [limit.mask for limit in limits if limit.mask is not None]
    if any(map(lifted, masks)) or not all(_of_one_time(lifted, part) for part in parts):
        return ()
    if not all(_entries_of_one_time(lifted, limit.value) for limit in limits):
        return ()
    exact = _linear_quadratic(block, steps, limits, lifted)
    plain = Rollout(names, steps.action.name, False, steps.scan, steps.ties)
    every = f"every term of {', '.join(names)} and {steps.action.name} of one {steps.scan.axis.names[0]}"
    return _stated(block, steps, limits, plain if exact is None else exact, every, exact is not None)


def _stated(
    block: Block, steps: Steps, limits: tuple[Limit, ...], rollout: Rollout, every: str, exact: bool
) -> tuple[Finding, ...]:
    """The findings about a rollout, from the weakest that is used to the strongest."""
    sought, action = tuple(v.name for v in block.sought), steps.action.name
    time = steps.scan.axis.names[0]
    cells = ", ".join(f"{name}[{time} + 1]" for name in rollout.states)
    follows = f"{cells} follows from the cells before it and {action}"
    if steps.ties:
        follows += f", by {', '.join(steps.names)}"
    plain = replace(rollout, shared=False)
    every = every.replace("every term", "every term and constraint") if limits else every
    affine = f"{cells} is affine in {', '.join(rollout.states)} and {action}, and every term is quadratic in"
    affine += f" {', '.join(rollout.states)} and {action} of one {time}"
    if steps.ties:
        affine = affine.replace(" is affine", f", by {', '.join(steps.names)}, is affine", 1)
    if not block.limits:
        found = Finding("rollout", sought, f"{follows}, and {every}", rollout=plain)
        return (
            (Finding("linear-quadratic rollout", sought, affine, rollout=rollout), found)
            if exact
            else (found,)
        )
    if exact:
        if limits:
            affine += f", and {', '.join(limit.name for limit in limits)} affine"
        return (Finding("limited rollout", sought, affine, rollout=rollout),)
    bodies = [s.body for s in steps.scan.states]
    if any(block.smoothness(v).grade not in _DIFFERENTIABLE for v in (*bodies, *(c.value for c in limits))):
        return ()
    return (Finding("staged constraints", sought, f"{follows}, and {every}", rollout=plain),)


def _linear_quadratic(
    block: Block, steps: Steps, limits: tuple[Limit, ...], lifted: Dependence
) -> Rollout | None:
    """The rollout where its steps and limits are affine and its costs quadratic; None elsewhere."""
    degree = Degrees(lifted)
    degrees = [degree(s.body) for s in steps.scan.states]
    degrees += [d if d is None else d - 1 for d in (degree(s.value) for s in block.touching)]
    degrees += [degree(limit.value) for limit in limits]
    if any(d is None or d > 1 for d in degrees):
        return None
    parts = [part for s in block.touching for _, part in pieces(s.value)]
    levels = [_bend(lifted, s.body) for s in steps.scan.states]
    levels += [_bend(lifted, part) for part in parts if degree(part) == 2]
    levels += [_bend(lifted, limit.value) for limit in limits]
    masks = [s.mask for s in block.touching] + [limit.mask for limit in limits]
    levels += [mask.level for mask in masks if mask is not None]
    shared = max(levels, default=Level.CONSTANT) is not Level.EXAMPLE
    names = tuple(s.name for s in steps.scan.states)
    return Rollout(names, steps.action.name, shared, steps.scan, steps.ties)


def _steps(block: Block) -> Steps | None:
    """The steps under one array of actions: of named values, or of unknowns that equations give."""
    if len(block.sought) != 1:
        return steps_in_equations(block)
    (action,) = block.sought
    if action.type.kind != "real" or not action.type.shape:
        return None
    scan = _only_scan(block)
    return None if scan is None else Steps(scan, action)


def _only_scan(block: Block) -> Scan | None:
    """The recurrence that everything sought goes through: no other let depends on the block."""
    used: set[str] = set()
    stack = [n for s in block.touching for n in _names(s.value, s.mask)]
    stack += [n for limit in block.limits for n in _names(limit.value, limit.mask)]
    while stack:
        name = stack.pop()
        let = block.graph.lets.get(name)
        if name in used or let is None or not block.depends.reads(name):
            continue
        used.add(name)
        stack.extend(typed.reads(let.value))
    found = [block.graph.lets[name].value for name in used]
    scans = [v for v in found if isinstance(v, Scan)]
    if not scans or len(scans) < len(found):
        return None
    first = scans[0]
    names = {s.name for s in first.states}
    own = all(scan.axis is first.axis and {s.name for s in scan.states} == names for scan in scans)
    return first if own and used <= names else None


def _names(*parts: Expr | None) -> frozenset[str]:
    return frozenset().union(*(typed.reads(p) for p in parts if p is not None))


def _is_step(block: Block, scan: Scan, action: str) -> bool:
    """Whether a step takes states at t and the action at t to states at t + 1, from known starts."""
    (steps,) = (v.type.shape[:1] for v in block.sought if v.name == action)
    if scan.backward or scan.axis.start != ZERO or (scan.axis.size,) != steps:
        return False
    for state in scan.states:
        plain = state.dim == 0 and state.offset == 1 and len(state.starts) == 1
        if not plain or state.body.type.kind != "real" or any(map(block.depends, state.starts)):
            return False
        for node in typed.walk(state.body):
            if isinstance(node, typed.Carry) and node.axis is scan.axis and node.offset < 0:
                return False
        if not _reads_at(state.body, action, scan.axis):
            return False
    return True


def _reads_at(root: Expr, name: str, axis: typed.Axis) -> bool:
    """Whether a value reads an array at the index of the axis alone."""
    stack = [root]
    while stack:
        node = stack.pop()
        match node:
            case Pick(base=Read(name=found)) if found == name:
                first = node.subscripts[0]
                if not (isinstance(first, Position) and first.axis is axis):
                    return False
                stack.extend(node.children()[1:])
            case Read(name=found) if found == name:
                return False
            case _:
                stack.extend(node.children())
    return True


# --- stage costs --------------------------------------------------------------------------------


def _of_one_time(lifted: Dependence, part: Expr) -> bool:
    """Whether a summand is a sum of functions of states and actions of one time each."""
    if not lifted(part):
        return True
    match part:
        case Apply(function="mul", arguments=(a, b)) if not lifted(a):
            return all(_of_one_time(lifted, p) for _, p in pieces(b))
        case Apply(function="mul" | "div", arguments=(a, b)) if not lifted(b):
            return all(_of_one_time(lifted, p) for _, p in pieces(a))
        case Fold(function="sum", body=body, guard=guard) if guard is None or not lifted(guard):
            return all(_of_one_time(lifted, p) for _, p in pieces(body))
        case Apply(function="norm_squared" | "sum", arguments=(inner,)) if part.type.scalar:
            if inner.type.shape and _row_start(lifted, inner) is not None:
                return True
    return len(_times(lifted, part) or ()) == 1


def _entries_of_one_time(lifted: Dependence, value: Expr) -> bool:
    """Whether each entry of a constraint reads states and actions of one time."""
    return _row_start(lifted, value) is not None or len(_times(lifted, value) or ()) == 1


def _times(lifted: Dependence, root: Expr) -> frozenset[Affine] | None:
    """The indices at which states and actions are read; None where one is read in another way."""
    found: set[Affine] = set()
    bound: set[typed.Axis] = set()
    seen: set[int] = set()
    stack = [root]
    while stack:
        node = stack.pop()
        if id(node) in seen or not lifted(node):
            continue
        seen.add(id(node))
        if isinstance(node, Pick) and isinstance(node.base, Read):
            first = node.subscripts[0]
            form = affine(first) if isinstance(first, Expr) else None
            if form is None or any(lifted(s) for s in node.subscripts if isinstance(s, Expr)):
                return None
            found.add(form)
        elif isinstance(node, Read | typed.Carry | Scan | typed.OverExamples | typed.Solve):
            return None
        else:
            if isinstance(node, Fold | typed.Tabulate):
                bound.update(node.over)
            stack.extend(node.children())
    # An index that runs inside of the summand brings several times together.
    meets = any(axis in bound for form in found for axis, _ in form[0])
    return None if meets else frozenset(found)


def _row_start(lifted: Dependence, node: Expr) -> object | None:
    """Where the rows of an array that is computed row by row begin; None when rows meet."""
    match node:
        case Read(name=name) if name in lifted.sought:
            return ZERO
        case Pick(base=Read(name=name), subscripts=(SliceOf(start=start), *rest)) if name in lifted.sought:
            return start if all(isinstance(s, SliceOf) for s in rest) else None
        case Apply(function="matmul", arguments=(a, b)) if not lifted(b) and a.type.rank == 2:
            return _row_start(lifted, a)
        case Apply(function=name, arguments=arguments) if name in _ROWWISE:
            moving = [a for a in arguments if lifted(a)]
            if any(a.type.shape != node.type.shape for a in moving):
                return None
            starts = {_row_start(lifted, a) for a in moving}
            return starts.pop() if len(starts) == 1 else None
    return None


# --- what the matrices are computed from -------------------------------------------------------


def _bend(lifted: Dependence, node: Expr) -> Level:
    """How far the coefficients in front of states and actions reach, those added to them aside."""
    if not lifted(node):
        return Level.CONSTANT
    if isinstance(node, Read | typed.Carry):
        return Level.CONSTANT
    children = node.children()
    bends = [_bend(lifted, c) for c in children]
    if isinstance(node, Apply) and node.function in _ADDING:
        return max(bends)
    if isinstance(node, typed.Pack | typed.Tabulate | Apply) and (
        not isinstance(node, Apply) or node.function in ("square", "norm_squared")
    ):
        return max(bends)
    return max([*bends, *(c.level for c in children if not lifted(c))])
