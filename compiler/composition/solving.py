"""`solve M as p with u = e`: M's unknowns as values, minimised over M's energy alone."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from ebmlang.compiler import ast, typed
from ebmlang.compiler.catalogue.parts import PartMisplaced
from ebmlang.compiler.composition.placing import Placing
from ebmlang.compiler.diagnostics import Label, Report
from ebmlang.compiler.domains import Domain
from ebmlang.compiler.methods import OptionKind
from ebmlang.compiler.naming import read_method, read_options
from ebmlang.compiler.nested import UNROLLED, inner_plan, problem_reads
from ebmlang.compiler.source import Span
from ebmlang.compiler.typed import Expr, LentNet, Level, Nested, Solve
from ebmlang.compiler.types import INT


@dataclass(slots=True)
class Solving:
    """One nested part: its unknowns in closed form where there is one, else as the answer of a search."""

    placing: Placing
    node: ast.Compose
    formula: tuple[tuple[str, Expr], ...] = ()
    search: Solve | None = None
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
        # Minimisers are formulas of what is known without them, and all other lets may read minimisers.
        late = self._late()
        for let in (let for let in self.model.lets if let.name not in late):
            placing.value(let.name, placing.copy.expr(let.value), let.doc)
        for name, value in self._minimisers().items():
            placing.value(name, value)
        for let in (let for let in self.model.lets if let.name in late):
            placing.value(let.name, placing.copy.expr(let.value), let.doc)
        placing.define(self.kept())
        self.names.extend(let.name for let in self.model.lets)

    def _late(self) -> set[str]:
        """Lets that are computed from the unknowns."""
        names = {v.name for v in self.sought()}
        late: set[str] = set()
        for let in self.model.lets:
            if typed.reads(let.value) & (names | late):
                late.add(let.name)
        return late

    def arrays(self) -> None:
        """The same as arrays over the plates, under the part's names."""
        for name in self.names:
            self.placing.array(name)

    # --- the unknowns ---

    def _minimisers(self) -> dict[str, Expr]:
        sought = self.sought()
        if not sought:
            return {}
        closed = None
        if self.node.using is None:
            # Loaded late: only files with `solve` need what the analysis imports.
            from ebmlang.compiler.composition.closed import closed_forms

            closed = closed_forms(self._bare(), sought)
        if closed is not None:
            self.formula = tuple(closed.items())
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
        given = self._inputs(model, sought)
        names, inputs = tuple(v.name for v in given), tuple(placing.copy.read(v) for v in given)
        sizes = tuple((h.name, placing.copy.sizes[h.name]) for h in model.hypers if h.type == INT)
        unknown = tuple(v.name for v in sought)
        called = problem_reads(model, sought)
        nets = tuple(net.name for net in model.nets if net.name in called)
        nested = Nested(placing.name, model, unknown, names, sizes, self._using(), nets)
        lent = tuple(self._lent(name) for name in nets)
        span = self.node.span
        found: dict[str, Expr] = {}
        for v in sought:
            bare = Solve(
                placing.copy.type(v.type), (), Level.CONSTANT, False, span, nested, inputs, v.name, lent
            )
            found[v.name] = typed.solve_with(bare, inputs, lent)
        search = next(iter(found.values()))
        assert isinstance(search, Solve)
        self.search = search
        self._solvable(search, sought)
        return found

    def _lent(self, name: str) -> LentNet:
        """What stands for a net of the part in the model around it."""
        net = self.placing.copy.values[name]
        assert isinstance(net, typed.Read)
        return LentNet(net, self.placing.copy.indices.get(name, ()))

    def _using(self) -> typed.Method | None:
        """The method that `solve` asks for, else the one of the part's own `infer` line."""
        node = self.node.using
        if node is not None:
            return inner_method(node, self.placing.expressions.report)
        return next((q.using for q in self.model.questions if q.verb == "infer"), None)

    def _solvable(self, search: Solve, sought: list[typed.Variable]) -> None:
        """Report a problem that no method can solve for its rows, or that has no derivative."""
        what = hindrance(search, sought)
        if what:
            place = Label(self.model.span, "declared here", self.model.source)
            join = f"join it: use {self.model.name} as {self.placing.name}"
            advice = "choose another method after `using`" if search.nested.using is not None else join
            text = f"`{self.model.name}` cannot be solved here: {what}"
            self.placing.expressions.report.add(PartMisplaced(self.node.span, text, advice, (place,)))

    def _inputs(self, model: typed.Model, sought: list[typed.Variable]) -> tuple[typed.Variable, ...]:
        """Variables and real hyperparameters that the inner problem reads."""
        found, unknown = problem_reads(model, sought), {v.name for v in sought}
        return tuple(
            v
            for v in model.variables
            if v.name in found and v.name not in unknown and not (v.role == "hyper" and v.type == INT)
        )

    def record(self) -> typed.Solved:
        """What `explain` says of the part."""
        return typed.Solved(self.placing.name, self.model, self.formula, self.search, self.node.span)


def hindrance(search: Solve, sought: list[typed.Variable]) -> str:
    """Why a nested problem cannot be solved, or not be differentiated; empty where it can."""
    using, model = search.nested.using, search.nested.model
    if len({v.type.kind == "real" for v in sought}) == 2:
        return "it has countable and real unknowns at once"
    if any(a.rows is not None and _moving(a.rows, search) for a in _axes_of(model)):
        return "a plate of it runs over a list that differs by row"
    if using is not None and using.name == UNROLLED:
        for v in sought:
            if v.domain.rule.geometry in ("open", "closed") or v.type.kind != "real":
                return f"unroll takes no steps in `{v.name}`"
        return "steps of a gradient method cannot keep its constraints" if model.constraints else ""
    for v in sought:
        if v.domain.rule.geometry == "closed":
            return f"which entries of `{v.name}` are above 0 is a choice among many, not a minimum that moves"
        if model.constraints and (v.domain.rule.geometry == "manifold" or v.domain.name == "psd"):
            return f"`{v.name}` lies on a curved set ({v.domain.name}) and under constraints at once"
    plan = inner_plan(search)
    return plan.because if plan.method is None else ""


def _axes_of(model: typed.Model) -> list[typed.Axis]:
    parts: tuple[typed.Term | typed.Constraint, ...] = (*model.terms, *model.constraints)
    return [a for part in parts for a in (*part.axes, *(x for n in typed.walk(part.value) for x in n.axes))]


def _moving(rows: Expr, search: Solve) -> bool:
    """Whether a list of indices reads an input that differs between rows of the search."""
    inputs = dict(zip(search.nested.given, search.inputs, strict=True))
    return any(inputs[name].axes for name in typed.reads(rows) & inputs.keys())


def inner_method(node: ast.Expr, report: Report) -> typed.Method | None:
    """What follows `using` in `solve`: a method, or the steps that are differentiated through."""
    name = (
        node.function.text if isinstance(node, ast.Call) else node.text if isinstance(node, ast.Name) else ""
    )
    if name != UNROLLED:
        return read_method(node, node.span, report, (UNROLLED,))
    arguments = node.arguments if isinstance(node, ast.Call) else ()
    return typed.Method(UNROLLED, read_options(UNROLLED, UNROLL_OPTIONS, arguments, report), node.span)


UNROLL_OPTIONS: tuple[tuple[str, OptionKind], ...] = (
    ("steps", "steps"),
    ("through", "steps"),
    ("step", "positive"),
)
"""Steps that are taken, those at the end that are differentiated through, and their size."""


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
