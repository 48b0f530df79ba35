"""The problem behind a `solve` without a closed form: a model of its own, and its method.

What is bound to the part is observed there, at the level of what is bound: an input that is the same
for all rows is shared, so that rows can share a Hessian.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING

from ebmlang.compiler import typed
from ebmlang.compiler.domains import Domain
from ebmlang.compiler.typed import Expr, LentNet, Level, Nested, Solve, Variable
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
    model = replace(block.graph.model, properties=())
    return any(block.depends(s) for s in searches(model, () if of is None else (of,)))


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
    block = Block(elaborate(inner_model(solve)), Query(nested.sought, using=using))
    plan = choose(block)
    if using is None and plan.method is not None and plan.method.name == "epigraph":
        # Where kinks touch, entries move together as the inputs do, which no derivative here knows.
        settled = choose(block, "adam")
        return replace(settled, because="epigraph has no derivative in what is given")
    return plan


def inner_model(solve: Solve) -> typed.Model:
    """The nested model with what is given as observed variables.

    Where the nets that it is given differ by row, what chooses them is one of these variables.
    """
    nested, model = solve.nested, solve.nested.model
    levels = {n: _level(i) for n, i in zip(nested.given, solve.inputs, strict=True)}
    levels |= dict.fromkeys(nested.sought, Level.EXAMPLE)
    chosen = {n: tuple(index_names(n, x)) for n, x in zip(nested.nets, solve.nets, strict=True)}
    indices = {name: _index(name, value) for name, value in chosen_nets(solve)}
    levels |= {name: v.level for name, v in indices.items()}
    move = _Levels(levels, {n: tuple(indices[i] for i in names) for n, names in chosen.items() if names})
    lets = tuple(replace(let, value=move.let(let)) for let in _needed(model, nested.sought))
    variables = [_variable(v, nested, move) for v in model.variables if _kept(v, nested)]
    return replace(
        model,
        variables=(*variables, *indices.values()),
        lets=lets,
        terms=tuple(replace(t, value=move(t.value), guard=move.maybe(t.guard)) for t in model.terms),
        constraints=tuple(
            replace(c, value=move(c.value), guard=move.maybe(c.guard)) for c in model.constraints
        ),
        questions=(),
        properties=(),
        requirements=(),
        # Whatever made them, here they come from outside.
        nets=tuple(replace(n, build=None, source="", decay=0.0) for n in model.nets if n.name in nested.nets),
        solved=(),
    )


def _level(value: Expr) -> Level:
    """The level inside of a bound value: examples and the plates around the part are rows there."""
    return Level.EXAMPLE if value.level is Level.EXAMPLE or value.axes else Level.SHARED


def index_names(net: str, lent: LentNet) -> Iterator[str]:
    """The names inside of what chooses a net."""
    for k in range(len(lent.indices)):
        yield f"{net}.index{k or ''}"


def chosen_nets(solve: Solve) -> Iterator[tuple[str, Expr]]:
    """What chooses nets, by the names of the variables that stand for it inside."""
    for net, lent in zip(solve.nested.nets, solve.nets, strict=True):
        yield from zip(index_names(net, lent), lent.indices, strict=True)


def _index(name: str, value: Expr) -> Variable:
    domain = Domain("reals", ())
    return Variable(name, "observed", INT, domain, _level(value), False, None, "", value.span)


@dataclass(slots=True)
class _Levels:
    """Moves expressions to other levels of what they read, and gives nets the indices that choose them."""

    levels: dict[str, Level]
    chosen: Mapping[str, tuple[Variable, ...]] = field(default_factory=dict)
    coupled: dict[str, bool] = field(default_factory=dict)
    done: dict[int, Expr] = field(default_factory=dict)

    def __call__(self, root: Expr) -> Expr:
        return typed.mapped(root, self._change, self.done)

    def maybe(self, root: Expr | None) -> Expr | None:
        return None if root is None else self(root)

    def let(self, let: typed.Let) -> Expr:
        value = self(let.value)
        self.levels[let.name] = value.level
        self.coupled[let.name] = value.coupled
        return value

    def _change(self, node: Expr) -> Expr | None:
        match node:
            case typed.Apply(function="net", arguments=(typed.Read(name=name), *_)) if name in self.chosen:
                own, *rest = (self(a) for a in node.arguments)
                return _call(node, own, self._indices(name), tuple(rest))
            case Solve() if any(lent.net.name in self.chosen for lent in node.nets):
                made = typed.rebuilt(node, tuple(self(c) for c in node.children()))
                assert isinstance(made, Solve)
                nets = tuple(replace(x, indices=(*self._indices(x.net.name), *x.indices)) for x in made.nets)
                return typed.solve_with(made, made.inputs, nets)
        return self._read(node)

    def _indices(self, net: str) -> tuple[Expr, ...]:
        return tuple(typed.Read(v.type, (), v.level, False, v.span, v.name) for v in self.chosen.get(net, ()))

    def _read(self, node: Expr) -> Expr | None:
        if not isinstance(node, typed.Read) or node.name not in self.levels:
            return None
        return replace(node, level=self.levels[node.name], coupled=self.coupled.get(node.name, False))


def _call(node: typed.Apply, own: Expr, indices: tuple[Expr, ...], rest: tuple[Expr, ...]) -> typed.Apply:
    """A call of a net with further indices in front."""
    at = node.option("at")
    assert isinstance(at, int)
    static = tuple((k, at + len(indices) if k == "at" else value) for k, value in node.static)
    parts = (own, *indices, *rest)
    level, coupled = max(p.level for p in parts), any(p.coupled for p in parts)
    return replace(
        node, arguments=parts, static=static, axes=typed.merge_axes(parts), level=level, coupled=coupled
    )


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
