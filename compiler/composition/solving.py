"""`solve M as p with u = e`: M's unknowns as values, minimised over M's energy alone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from ebmlang.compiler import ast, typed
from ebmlang.compiler.catalogue.later import NotBuilt
from ebmlang.compiler.catalogue.parts import PartMisplaced
from ebmlang.compiler.composition.placing import Placing
from ebmlang.compiler.diagnostics import Label
from ebmlang.compiler.domains import Domain
from ebmlang.compiler.source import Span
from ebmlang.compiler.typed import Expr, Level, Nested, Solve
from ebmlang.compiler.types import INT


@dataclass(slots=True)
class Solving:
    """One nested part: its unknowns in closed form where there is one, else as the answer of a search."""

    placing: Placing
    node: ast.Compose
    closed: bool = False
    names: list[str] = field(default_factory=list)

    @property
    def model(self) -> typed.Model:
        return self.placing.model

    def sought(self) -> list[typed.Variable]:
        return [v for v in self.placing.own() if v.role == "latent"]

    def kept(self) -> list[typed.Variable]:
        """Parameters and draws: they belong to the model around the part."""
        return [v for v in self.placing.own() if v.role != "latent"]

    def may_stand(self) -> bool:
        if self.node.using is not None:
            self.placing.expressions.report.add(NotBuilt(self.node.using.span, "`using` after `solve`"))
            return False
        if not self.placing.may_own(self.kept()):
            return False
        found: tuple[str, Label] | None = None
        for variable in self.sought():
            if variable.level is not Level.EXAMPLE:
                found = (f"`{variable.name}` is one value for all examples", self._label(variable.span))
        for term in self.model.terms:
            if term.batch:
                found = (f"`{term.name}` joins all examples", self._label(term.span))
        if found is None:
            return True
        what = f"`{self.model.name}` cannot be solved for each example: {found[0]}"
        advice = f"join it: use {self.model.name} as {self.placing.name}"
        self.placing.expressions.report.add(PartMisplaced(self.node.span, what, advice, (found[1],)))
        return False

    def _label(self, span: Span) -> Label:
        return Label(span, "declared here", self.model.source)

    def cells(self) -> None:
        """The values at the indices of the plates around, or for the model as a whole."""
        placing = self.placing
        placing.begin()
        placing.declare(self.kept())
        for variable in self.sought():
            self.names.append(variable.name)
        for name, value in self._minimisers().items():
            placing.value(name, value)
        for let in self.model.lets:
            placing.value(let.name, placing.copy.expr(let.value), let.doc)
        placing.define(self.kept())
        self.names.extend(let.name for let in self.model.lets)

    def arrays(self) -> None:
        """The same as arrays over the plates, under the part's names."""
        for name in self.names:
            self.placing.array(name)

    # --- the unknowns ---

    def _minimisers(self) -> dict[str, Expr]:
        sought = self.sought()
        if not sought:
            return {}
        closed = closed_forms(self._bare(), sought)
        if closed is not None:
            self.closed = True
            return {name: self.placing.copy.expr(value) for name, value in closed.items()}
        return self._searched(sought)

    def _bare(self) -> typed.Model:
        """The model without masks that let every entry through."""
        free = {
            v.name
            for v in self.model.variables
            if v.role == "observed" and v.name not in self.placing.border.values and _true(v.init)
        }
        variables = tuple(
            replace(v, domain=Domain(v.domain.name, v.domain.arguments))
            if v.domain.where is not None and _entries_of(v.domain.where, free)
            else v
            for v in self.model.variables
        )
        return replace(self.model, variables=variables)

    def _searched(self, sought: list[typed.Variable]) -> dict[str, Expr]:
        placing, model = self.placing, self._bare()
        what = "`solve` of unknowns without a closed form"
        placing.expressions.report.add(NotBuilt(self.node.span, what))
        given = self._inputs(model, sought)
        names, inputs = tuple(v.name for v in given), tuple(placing.copy.read(v) for v in given)
        sizes = tuple((h.name, placing.copy.sizes[h.name]) for h in model.hypers if h.type == INT)
        nested = Nested(placing.name, model, tuple(v.name for v in sought), names, sizes, None)
        axes = typed.merge_axes(inputs)
        level = max((i.level for i in inputs), default=Level.CONSTANT)
        coupled = any(i.coupled for i in inputs)
        return {
            v.name: Solve(
                placing.copy.type(v.type), axes, level, coupled, self.node.span, nested, inputs, v.name
            )
            for v in sought
        }

    def _inputs(self, model: typed.Model, sought: list[typed.Variable]) -> tuple[typed.Variable, ...]:
        """Variables and real hyperparameters that the inner problem reads."""
        found: set[str] = set()
        parts: tuple[typed.Term | typed.Constraint, ...] = (*model.terms, *model.constraints)
        for part in parts:
            found |= _all_reads([part.value, part.guard, *(a.rows for a in part.axes)])
        for v in sought:
            found |= _all_reads([v.init, v.domain.where, *v.domain.arguments])
        lets = {let.name: let for let in model.lets}
        queue = list(found)
        while queue:
            let = lets.get(queue.pop())
            if let is not None:
                new = _all_reads([let.value]) - found
                found |= new
                queue.extend(new)
        unknown = {v.name for v in sought}
        return tuple(
            v
            for v in model.variables
            if v.name in found and v.name not in unknown and v.type != INT and not self._by_default(v)
        )

    def _by_default(self, variable: typed.Variable) -> bool:
        return variable.role == "observed" and variable.name not in self.placing.border.values


def closed_forms(model: typed.Model, sought: list[typed.Variable]) -> dict[str, Expr] | None:
    """The minimisers as expressions of the model's own names, where all of them have one."""
    # Loaded late: only files with `solve` need what the analysis imports.
    from ebmlang.compiler.elaborate import elaborate
    from ebmlang.compiler.query import Query
    from ebmlang.compiler.structure.block import Block
    from ebmlang.compiler.structure.softmax import find_softmax, softmax_of

    if model.constraints or any(v.domain.name != "simplex" for v in sought):
        return None
    block = Block(elaborate(model), Query(tuple(v.name for v in sought)))
    for finding in find_softmax(block):
        variables = {v.name: v for v in block.sought}
        return {p.variable: softmax_of(p.logits, variables[p.variable]) for p in finding.softmax}
    return None


def _entries_of(where: Expr, names: set[str]) -> bool:
    """Whether a mask holds entries of the named values and nothing else."""
    match where:
        case typed.Read(name=name):
            return name in names
        case typed.Pick(base=base):
            return _entries_of(base, names)
        case typed.Tabulate(body=body):
            return _entries_of(body, names)
    return False


def _true(init: Expr | None) -> bool:
    return isinstance(init, typed.Constant) and init.value is True


def _all_reads(parts: Iterable[Expr | None]) -> frozenset[str]:
    return frozenset().union(*(typed.reads(p) for p in parts if p is not None))
