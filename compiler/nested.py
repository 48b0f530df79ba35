"""The problem behind a `solve` without a closed form: a model of its own, and its method.

What is bound to the part is observed there, at the level of what is bound: an input that is the same
for all rows is shared, so that rows can share a Hessian.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING

from ebmlang.compiler import typed
from ebmlang.compiler.domains import Domain
from ebmlang.compiler.typed import Expr, Level, Nested, Solve, Variable
from ebmlang.compiler.types import INT

if TYPE_CHECKING:
    from ebmlang.compiler.choose import Plan
    from ebmlang.compiler.structure import Block

UNROLLED = "unroll"
"""What follows `using` to differentiate through the steps of a gradient method."""


def searches(model: typed.Model, more: tuple[Expr, ...] = ()) -> tuple[Solve, ...]:
    """One node for every nested search of a model and of `more`, in the order of the text."""
    found: dict[int, Solve] = {}
    roots: list[Expr] = [let.value for let in model.lets]
    parts: tuple[typed.Term | typed.Constraint, ...] = (*model.terms, *model.constraints)
    for part in parts:
        roots += [part.value, *([part.guard] if part.guard is not None else [])]
    roots += [q.of for q in model.questions if q.of is not None]
    for claim in model.properties:
        roots += [claim.left, *([claim.right] if claim.right is not None else [])]
    seen: set[int] = set()
    for root in (*roots, *more):
        for node in typed.walk(root) if id(root) not in seen else ():
            seen.add(id(node))
            if isinstance(node, Solve):
                found.setdefault(id(node.nested), node)
    return tuple(found.values())


def moving_searches(block: Block) -> bool:
    """Whether the energy of a block holds a nested minimum that moves with what the block seeks."""
    of = block.query.of
    return any(block.depends(s) for s in searches(block.graph.model, () if of is None else (of,)))


@lru_cache(maxsize=256)
def grade(solve: Solve) -> str:
    """How smooth an answer is in the inputs, as a grade of `facts.ROUGHNESS`.

    Where the energy is convex and twice differentiable in everything, and nothing but affine equations bounds
    the unknowns, the answer is differentiable wherever the system for its derivative is not singular.
    Otherwise it bends where a bound is reached, or jumps.
    """
    from ebmlang.compiler.facts import Dependence, smoothness
    from ebmlang.compiler.structure.block import Summand
    from ebmlang.compiler.structure.convex import energy_is

    block = inner_plan(solve).block
    if any(v.type.kind != "real" for v in block.sought):
        return "steps"
    graph = block.graph
    bounded = any(v.domain.rule.geometry not in ("everywhere", "open") for v in block.sought)
    flat = all(c.relation == "==" and block.calculus.degrees.affine(c.value) for c in graph.limits)
    if bounded or not flat or energy_is(block, "convex") is None:
        return "kink"
    everything = Dependence(graph, frozenset((*solve.nested.sought, *solve.nested.given)))
    grades = (
        smoothness(graph, s.total, everything, lambda x: block.calculus.ranges(x).positive).grade
        for s in (*block.summands, *(Summand(c.name, c.value, c.axes, c.mask) for c in graph.limits))
    )
    return "piecewise" if all(g == "smooth" for g in grades) else "kink"


def inner_plan(solve: Solve) -> Plan:
    """Findings and method for the nested problem."""
    from ebmlang.compiler.choose import choose
    from ebmlang.compiler.elaborate import elaborate
    from ebmlang.compiler.query import Query
    from ebmlang.compiler.structure import Block

    nested = solve.nested
    using = None if nested.using is not None and nested.using.name == UNROLLED else nested.using
    return choose(Block(elaborate(inner_model(solve)), Query(nested.sought, using=using)))


def inner_model(solve: Solve) -> typed.Model:
    """The nested model with what is given as observed variables."""
    nested, model = solve.nested, solve.nested.model
    inputs = dict(zip(nested.given, solve.inputs, strict=True))
    levels = {n: Level.EXAMPLE if _by_row(i) else Level.SHARED for n, i in inputs.items()}
    levels |= dict.fromkeys(nested.sought, Level.EXAMPLE)
    move = _Levels(levels)
    lets = tuple(replace(let, value=move.let(let)) for let in _needed(model, nested.sought))
    return replace(
        model,
        variables=tuple(_variable(v, nested, move) for v in model.variables if _kept(v, nested)),
        lets=lets,
        terms=tuple(replace(t, value=move(t.value), guard=move.maybe(t.guard)) for t in model.terms),
        constraints=tuple(
            replace(c, value=move(c.value), guard=move.maybe(c.guard)) for c in model.constraints
        ),
        questions=(),
        properties=(),
        requirements=(),
        nets=(),
        solved=(),
    )


def _by_row(value: Expr) -> bool:
    """Whether a bound value differs by example or along the plates around the part."""
    return value.level is Level.EXAMPLE or bool(value.axes)


@dataclass(slots=True)
class _Levels:
    """Moves expressions to other levels of what they read."""

    levels: dict[str, Level]
    coupled: dict[str, bool] = field(default_factory=dict)
    done: dict[int, Expr] = field(default_factory=dict)

    def __call__(self, root: Expr) -> Expr:
        return typed.mapped(root, self._read, self.done)

    def maybe(self, root: Expr | None) -> Expr | None:
        return None if root is None else self(root)

    def let(self, let: typed.Let) -> Expr:
        value = self(let.value)
        self.levels[let.name] = value.level
        self.coupled[let.name] = value.coupled
        return value

    def _read(self, node: Expr) -> Expr | None:
        if not isinstance(node, typed.Read) or node.name not in self.levels:
            return None
        return replace(node, level=self.levels[node.name], coupled=self.coupled.get(node.name, False))


def _kept(v: Variable, nested: Nested) -> bool:
    return v.name in nested.sought or v.name in nested.given or (v.role == "hyper" and v.type == INT)


def _variable(v: Variable, nested: Nested, move: _Levels) -> Variable:
    if v.name in nested.sought:
        domain = _domain(v.domain, move)
        return replace(v, role="latent", level=Level.EXAMPLE, domain=domain, init=move.maybe(v.init))
    if v.name not in nested.given:
        return replace(v, init=None, domain=Domain("reals", ()))
    # What a domain of an input reads need not be an input itself.
    known = all(typed.reads(a) <= {*nested.given, *(n for n, _ in nested.sizes)} for a in v.domain.arguments)
    domain = _domain(v.domain, move) if known and v.domain.where is None else Domain("reals", ())
    return replace(v, role="observed", level=move.levels[v.name], missing=False, init=None, domain=domain)


def _domain(domain: Domain, move: _Levels) -> Domain:
    return Domain(domain.name, tuple(move(a) for a in domain.arguments), move.maybe(domain.where))


# --- what the nested problem reads ---------------------------------------------------------------


def problem_reads(model: typed.Model, sought: Iterable[Variable]) -> frozenset[str]:
    """Every name that the terms, the constraints and the unknowns themselves read, also through lets."""
    found: set[str] = set()
    parts: tuple[typed.Term | typed.Constraint, ...] = (*model.terms, *model.constraints)
    for part in parts:
        found |= _reads([part.value, part.guard, *(a.rows for a in part.axes)])
    for v in sought:
        found |= _reads([v.init, v.domain.where, *v.domain.arguments])
    lets: Mapping[str, typed.Let] = {let.name: let for let in model.lets}
    queue = list(found)
    while queue:
        let = lets.get(queue.pop())
        if let is not None:
            new = _reads([let.value]) - found
            found |= new
            queue.extend(new)
    return frozenset(found)


def _needed(model: typed.Model, sought: tuple[str, ...]) -> tuple[typed.Let, ...]:
    names = problem_reads(model, [v for v in model.variables if v.name in sought])
    return tuple(let for let in model.lets if let.name in names)


def _reads(parts: Iterable[Expr | None]) -> frozenset[str]:
    return frozenset().union(*(typed.reads(p) for p in parts if p is not None))
