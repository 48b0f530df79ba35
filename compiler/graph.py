"""The lifted factor graph: one node per variable, let and factor, however large the plates are."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ebmlang.compiler import notation, typed
from ebmlang.compiler.typed import Axes, Expr, Let, Model, Variable

if TYPE_CHECKING:
    import networkx


@dataclass(frozen=True, slots=True, eq=False)
class Factor:
    """One lifted energy term: a scalar for every position of its axes.

    A guard that is known before the unknowns are has become a selection axis; one that differs
    by example stays as `mask`, and the factor is 0 where it is false.
    """

    name: str
    kind: str
    batch: bool
    axes: Axes
    mask: Expr | None
    value: Expr
    term: typed.Term

    @property
    def parts(self) -> tuple[Expr, ...]:
        """Everything that it reads: the term as declared, its guard, the lists its plates run over."""
        rows = tuple(a.rows for a in self.term.axes if a.rows is not None)
        guard = () if self.term.guard is None else (self.term.guard,)
        return (self.term.value, *guard, *rows)

    @property
    def total(self) -> Expr:
        """The factor summed over its axes."""
        return summed(self.value, self.axes, self.mask)


@dataclass(frozen=True, slots=True, eq=False)
class Limit:
    """One lifted constraint: `value <= 0` or `value == 0` for every position of its axes, entry by entry.

    A guard that differs by example stays as `mask`; where it is false nothing is demanded.
    """

    name: str
    relation: typed.Relation
    axes: Axes
    mask: Expr | None
    value: Expr
    constraint: typed.Constraint

    @property
    def parts(self) -> tuple[Expr, ...]:
        """Everything that it reads, as declared."""
        rows = tuple(a.rows for a in self.constraint.axes if a.rows is not None)
        guard = () if self.constraint.guard is None else (self.constraint.guard,)
        return (self.constraint.value, *guard, *rows)

    @property
    def per_example(self) -> bool:
        parts = (self.value,) if self.mask is None else (self.value, self.mask)
        return any(p.level is typed.Level.EXAMPLE for p in parts)


def summed(value: Expr, axes: Axes, mask: Expr | None) -> Expr:
    """A value summed over axes where the mask holds."""
    if not axes:
        return value
    level = value.level if mask is None else max(value.level, mask.level)
    return typed.Fold(value.type, (), level, value.coupled, value.span, "sum", value, axes, mask)


@dataclass(frozen=True)
class FactorGraph:
    """Variables, lets, factors and constraints of one model, and the bipartite graph between them."""

    model: Model
    factors: tuple[Factor, ...]
    limits: tuple[Limit, ...] = ()

    @property
    def variables(self) -> tuple[Variable, ...]:
        return self.model.variables

    @cached_property
    def lets(self) -> dict[str, Let]:
        return {let.name: let for let in self.model.lets}

    @cached_property
    def _inputs(self) -> dict[str, frozenset[str]]:
        """Variables behind each let, through other lets."""
        found: dict[str, frozenset[str]] = {}
        for name, let in self.lets.items():
            direct = typed.reads(let.value)
            found[name] = frozenset().union(*(found[r] if r in found else frozenset((r,)) for r in direct))
        return found

    def inputs(self, expr: Expr) -> frozenset[str]:
        """The hyperparameters and variables that a value is computed from."""
        names = typed.reads(expr)
        return frozenset().union(*(self._inputs.get(n, frozenset((n,))) for n in names))

    def depends(self, expr: Expr, names: frozenset[str]) -> bool:
        return bool(self.inputs(expr) & names)

    @cached_property
    def networkx(self) -> networkx.Graph[str]:
        """A frozen networkx graph. Node attributes: `kind` (variable, net, let, factor or
        constraint) and what `describe` lists; edges run from factors, constraints and lets to what
        they read."""
        import networkx as nx

        graph: networkx.Graph[str] = nx.Graph(name=self.model.name)
        hypers = {v.name for v in self.model.hypers}
        for variable in self.variables:
            if variable.role != "hyper":
                graph.add_node(variable.name, **_variable_attributes(variable))
        for net in self.model.nets:
            graph.add_node(net.name, kind="net", label=net.name, type=str(net), doc=net.doc)
        for let in self.model.lets:
            node = f"let:{let.name}" if let.name in graph else let.name
            graph.add_node(node, kind="let", label=let.name, shape=_dims(let.value), doc=let.doc)
            self._connect(graph, node, (let.value,), hypers)
        for factor in self.factors:
            node = factor.name
            graph.add_node(node, **_factor_attributes(factor))
            self._connect(graph, node, factor.parts, hypers)
        for limit in self.limits:
            graph.add_node(limit.name, **_limit_attributes(limit))
            self._connect(graph, limit.name, limit.parts, hypers)
        return nx.freeze(graph)

    def text(self) -> str:
        """One line per node in the order of the file, with what it reads."""
        lines = [f"graph {self.model.name}"]
        for variable in self.variables:
            if variable.role != "hyper":
                where = "" if not variable.domain.written else f" in {variable.domain.name}"
                lines.append(f"  {variable.role} {variable.name} : {variable.type}{where}")
        lines += [f"  {'extern net' if net.extern else 'net'} {net.name} : {net}" for net in self.model.nets]
        lines += [
            f"  let {let.name} : {let.value.type} reads {self._reads((let.value,))}"
            for let in self.model.lets
        ]
        for factor in self.factors:
            plates = "".join(f" for {axis}" for axis in factor.axes)
            parts = (factor.value,) if factor.mask is None else (factor.value, factor.mask)
            word = f"batch {factor.kind}" if factor.batch else factor.kind
            mask = f" if {notation.text(factor.mask)}" if factor.mask is not None else ""
            lines.append(f"  {word} {factor.name}{plates}{mask} reads {self._reads(parts)}")
        for limit in self.limits:
            plates = "".join(f" for {axis}" for axis in limit.axes)
            parts = (limit.value,) if limit.mask is None else (limit.value, limit.mask)
            mask = f" if {notation.text(limit.mask)}" if limit.mask is not None else ""
            lines.append(f"  subject to {limit.name}{plates}{mask} reads {self._reads(parts)}")
        return "\n".join(lines)

    def _reads(self, parts: tuple[Expr, ...]) -> str:
        hypers = {v.name for v in self.model.hypers}
        names = sorted(frozenset().union(*(typed.reads(p) for p in parts)) - hypers)
        return ", ".join(names) or "nothing"

    def _connect(self, graph: Any, node: str, parts: tuple[Expr, ...], hypers: set[str]) -> None:
        names = sorted(frozenset().union(*(typed.reads(p) for p in parts)) - hypers)
        for name in names:
            graph.add_edge(node, name, subscripts=_subscripts_of(name, parts))


def _dims(value: Expr) -> tuple[str, ...]:
    return tuple(map(str, value.type.shape))


def _variable_attributes(variable: Variable) -> dict[str, Any]:
    return {
        "kind": "variable",
        "label": variable.name,
        "role": variable.role,
        "type": str(variable.type),
        "shape": tuple(map(str, variable.type.shape)),
        "domain": variable.domain.name,
        "per_example": variable.per_example,
        "missing": variable.missing,
        "doc": variable.doc,
    }


def _factor_attributes(factor: Factor) -> dict[str, Any]:
    return {
        "kind": "factor",
        "label": factor.name,
        "term": factor.kind,
        "batch": factor.batch,
        "plates": tuple(str(axis) for axis in factor.axes),
        "formula": notation.text(factor.term.value),
        "doc": factor.term.doc,
    }


def _limit_attributes(limit: Limit) -> dict[str, Any]:
    return {
        "kind": "constraint",
        "label": limit.name,
        "relation": limit.relation,
        "plates": tuple(str(axis) for axis in limit.axes),
        "formula": limit.constraint.written,
        "doc": limit.constraint.doc,
    }


def _subscripts_of(name: str, parts: tuple[Expr, ...]) -> tuple[str, ...]:
    """How a factor reads a variable: the distinct subscripts, for instance `x[t]`, `x[t + 1]`."""
    found: dict[str, None] = {}
    for part in parts:
        for node in typed.walk(part):
            if isinstance(node, typed.Pick) and isinstance(node.base, typed.Read) and node.base.name == name:
                found[notation.text(node)] = None
    return tuple(found)
