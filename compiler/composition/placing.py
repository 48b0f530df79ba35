"""One part on its way into the model around it: its names, sizes and plates there."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from ebmlang.compiler import ast, typed
from ebmlang.compiler.builtins import BUILTINS
from ebmlang.compiler.catalogue.later import NotBuilt
from ebmlang.compiler.catalogue.parts import BindingMissing, PartMisplaced
from ebmlang.compiler.composition.border import Border
from ebmlang.compiler.composition.instance import Instance
from ebmlang.compiler.composition.names import cell_name, inner_name
from ebmlang.compiler.declarations import Declarations
from ebmlang.compiler.diagnostics import Label
from ebmlang.compiler.domains import Domain
from ebmlang.compiler.expressions import Expressions
from ebmlang.compiler.nets.calls import net_read
from ebmlang.compiler.nets.declare import decay_variable
from ebmlang.compiler.nets.net import Net
from ebmlang.compiler.nets.passing import copied
from ebmlang.compiler.scope import Bound, Declared, LetEntry, NetEntry, Scope, SizeEntry, TermEntry
from ebmlang.compiler.sizes import ZERO, Size
from ebmlang.compiler.typed import Axes, Expr, Level, Pick, Position, SliceOf
from ebmlang.compiler.types import INT, REAL, Type


@dataclass(frozen=True, slots=True)
class Around:
    """The model that parts are put into."""

    expressions: Expressions
    declarations: Declarations
    scope: Scope
    constraints: list[typed.Constraint]
    nets: list[Net]


@dataclass(slots=True)
class Placing:
    """One part on its way into the model around it; `open` are sizes that its applications settle."""

    around: Around
    node: ast.Compose | ast.Part
    model: typed.Model
    scope: Scope
    guard: Expr | None
    border: Border
    open: frozenset[str] = frozenset()
    copy: Instance = field(init=False)

    def __post_init__(self) -> None:
        self.copy = Instance(
            self.expressions, self.name, self.node.span, self.border.sizes, dict(self.border.values),
            dict(self.border.indices),
        )  # fmt: skip

    @property
    def expressions(self) -> Expressions:
        return self.around.expressions

    @property
    def name(self) -> str:
        return self.node.name.text

    @property
    def plates(self) -> Axes:
        return self.scope.axes

    def again(self, later: Placing) -> None:
        """Take over what is bound and the guard, as they are once the arrays of the plate are defined."""
        self.border, self.guard = later.border, later.guard
        self.copy.values.update(later.border.values)
        self.copy.indices.update(later.border.indices)
        self.copy.done.clear()

    def own(self) -> list[typed.Variable]:
        """Unknowns, parameters and draws of the part that nothing is bound to."""
        variables = [v for v in self.model.variables if v.role not in ("hyper", "observed")]
        return [v for v in variables if v.name not in self.border.values]

    def given(self) -> bool:
        """Whether every observed variable has a value or a default."""
        missing = False
        for variable in self.model.variables:
            if variable.role != "observed" or variable.name in self.border.values:
                continue
            if variable.name in self.border.bound:
                missing = True  # the mistake is in what is bound, and was reported there
            elif variable.init is None:
                missing = True
                place = (self.border.declared(variable.name),)
                shown = str(self.border.type(variable.type))
                self.expressions.report.add(
                    BindingMissing(self.node.span, variable.name, self.model.name, shown, place)
                )
        return not missing

    def may_own(self, variables: list[typed.Variable]) -> bool:
        """Whether variables of the part can stand in the plates around it."""
        names = [v.name for v in variables]
        names += [n.name for n in self.model.nets if n.name not in self.border.values]
        if not names or all(a.rows is None for a in self.plates):
            return True
        name = names[0]
        what = f"`{self.name}` has `{name}` of its own, and stands over the rows of a list"
        advice = f"bind `{name}`, or put the part in a plate over a range"
        self.expressions.report.add(
            PartMisplaced(self.node.span, what, advice, (self.border.declared(name),))
        )
        return False

    # --- in the order in which the pieces need each other ---

    def begin_owner(self) -> None:
        """Sizes, plates and hyperparameters."""
        self._sizes()
        self._nets()
        self._axes()
        self._hypers()

    def begin(self) -> None:
        """The same, and the defaults of what is observed."""
        self.begin_owner()
        for variable in self.model.variables:
            if variable.role == "observed" and variable.name not in self.border.values:
                assert variable.init is not None
                value = self.copy.expr(variable.init)
                self.copy.values[variable.name] = self._whole(value, self.copy.type(variable.type))
        self.decays()

    def declare(self, variables: list[typed.Variable]) -> None:
        """Names of variables that belong to the model around the part from now on."""
        for variable in variables:
            self._declare(variable)

    def lets(self) -> None:
        """Lets as the plates see them, and as arrays over the plates."""
        self.cells_of_lets()
        for let in self.model.lets:
            self.array(let.name, let.doc)

    def cells_of_lets(self) -> None:
        """Lets at the indices of the plates around."""
        for let in self.model.lets:
            self.value(let.name, self.copy.expr(let.value), let.doc)

    def value(self, name: str, value: Expr, doc: str = "") -> None:
        """What a name of the part stands for: in plates a value at their indices, else a let."""
        if not self.plates:
            read = typed.Read(
                value.type, (), value.level, value.coupled, self.node.span, inner_name(self.name, name)
            )
            self.copy.values[name] = read
            self._define_let(name, value, doc)
        else:
            self.copy.values[name] = value
            self._local(name, value)

    def array(self, name: str, doc: str = "") -> None:
        """In plates: the values at all indices, as a let of the model around the part."""
        cell = self.scope.entries.get(cell_name(self.name, name))
        if isinstance(cell, Bound) and all(a.rows is None for a in self.plates):
            self._define_let(name, self._array(cell.value), doc)

    def define(self, variables: list[typed.Variable]) -> None:
        """Declarations with starts and domains, which may read lets; and what sizes have to fulfil."""
        for variable in variables:
            self._define(variable)
        for requirement in self.model.requirements:
            if not self.open.intersection(requirement.size.names()):
                self._requirement(requirement)

    def terms(self) -> None:
        for term in self.model.terms:
            self._term(term)
        for constraint in self.model.constraints:
            self._constraint(constraint)

    def _whole(self, value: Expr, type_: Type) -> Expr:
        """A default in the shape that is declared."""
        if type_.kind == "real":
            return self.expressions.filled(self.expressions.as_real(value), type_)
        if type_.kind != "bool" or value.type.shape == type_.shape:
            return value
        number = self.expressions.filled(self.expressions.as_real(value), type_.with_kind("real"))
        half = typed.Constant(REAL, (), Level.CONSTANT, False, self.node.span, 0.5)
        return self.expressions.apply("gt", (number, half), type_, self.node.span)

    # --- hyperparameters and plates ---

    def _sizes(self) -> None:
        """Integer hyperparameters that nothing settles become hyperparameters of the model around it."""
        sizes = dict(self.border.sizes)
        for hyper in self.model.hypers:
            if hyper.type == INT and hyper.name not in sizes:
                sizes[hyper.name] = Size.of(inner_name(self.name, hyper.name))
        self.copy.sizes = sizes

    def _axes(self) -> None:
        model = self.model
        roots = [let.value for let in model.lets]
        parts: tuple[typed.Term | typed.Constraint, ...] = (*model.terms, *model.constraints)
        plates = [axis for part in parts for axis in part.axes]
        for part in parts:
            roots.append(part.value)
            roots += [part.guard] if part.guard is not None else []
        for variable in self.own():
            roots += [variable.init] if variable.init is not None else []
            roots += variable.domain.arguments
            roots += [variable.domain.where] if variable.domain.where is not None else []
        self.copy.adopt_axes(roots, plates)

    def _hypers(self) -> None:
        for hyper in self.model.hypers:
            settled = hyper.name in self.border.sizes or hyper.name in self.border.values
            if settled or hyper.name in self.open:
                continue
            name = inner_name(self.name, hyper.name)
            init = None if hyper.init is None else self.copy.expr(hyper.init)
            domain, type_ = self.copy.domain(hyper.domain), self.copy.type(hyper.type)
            variable = replace(hyper, name=name, type=type_, domain=domain, init=init, span=self.node.span)
            self.around.declarations.variables.append(variable)
            span = self.node.name.span
            whole = hyper.type == INT
            entry = (
                SizeEntry(Size.of(name), span)
                if whole
                else Declared(type_, Level.CONSTANT, "hyper", -1, span)
            )
            self.around.scope.entries[name] = entry

    # --- nets ---

    def _nets(self) -> None:
        """Nets that nothing is bound to become nets of the model around the part."""
        for net in self.model.nets:
            if net.name in self.border.values:
                continue
            name = inner_name(self.name, net.name)
            bound = self.border.nets.get(net.source)
            source = bound.name if bound is not None else net.source and inner_name(self.name, net.source)
            made = copied(net, name, source, self.copy.size, self.node.span)
            if isinstance(net.decay, str):
                made = replace(made, decay=inner_name(self.name, net.decay))
            if bound is not None:
                # The average of a net that is shared is shared with it.
                made = replace(made, at=bound.at)
                self.copy.indices[net.name] = self.border.indices.get(net.source, ())
            elif self.plates:
                made = replace(made, at=(*self._lead(), *made.at))
                self.copy.indices[net.name] = tuple(self._index(axis) for axis in self.plates)
            self.around.nets.append(made)
            self.around.scope.entries[name] = NetEntry(made, self.node.name.span)
            self.copy.values[net.name] = net_read(made, self.node.span)

    def decays(self) -> None:
        """What computes the decays of averages that belong to the part."""
        for net in self.model.nets:
            if net.name in self.border.values or not isinstance(net.decay, str):
                continue
            variable = self.model.variable(net.decay)
            assert variable is not None
            assert variable.init is not None
            value = self.copy.expr(variable.init)
            if value.axes or value.level is Level.EXAMPLE:
                what = f"a decay of `{net.name}` that differs between copies of a part, or by example"
                self.expressions.report.add(NotBuilt(self.node.span, what))
                continue
            name = inner_name(self.name, net.decay)
            self.around.declarations.variables.append(decay_variable(name, value, self.node.span))

    # --- variables ---

    def _declare(self, variable: typed.Variable) -> None:
        """Make the name visible: as a whole outside of the part, each copy's entry inside it."""
        name, inner = inner_name(self.name, variable.name), self.copy.type(variable.type)
        outer = self._outer(variable)
        entry = Declared(
            outer, variable.level, variable.role, len(self.around.declarations.variables), self.node.name.span
        )
        self.around.scope.entries[name] = entry
        read = typed.Read(outer, (), variable.level, False, self.node.span, name)
        cell = self._cell(read, inner)
        self.copy.values[variable.name] = cell
        self._local(variable.name, cell)

    def _outer(self, variable: typed.Variable) -> Type:
        inner = self.copy.type(variable.type)
        return replace(inner, shape=(*self._lead(), *inner.shape))

    def _define(self, variable: typed.Variable) -> None:
        inner, domain = self.copy.type(variable.type), variable.domain
        arguments = tuple(self._bound_of_domain(self.copy.expr(a), inner) for a in domain.arguments)
        declared = replace(
            variable,
            name=inner_name(self.name, variable.name),
            type=self._outer(variable),
            domain=Domain(
                domain.name,
                arguments,
                None if domain.where is None else self._array(self.copy.expr(domain.where)),
            ),
            init=None if variable.init is None else self._start(variable.init, inner),
            span=self.node.span,
        )
        self.around.declarations.variables.append(declared)

    def _start(self, init: Expr, inner: Type) -> Expr:
        """A start or distribution of the part. In plates each copy has draws of its own: the draw is an
        array with the plates in front."""
        value = self.copy.expr(init)
        if not self.plates:
            return value

        def drawn(node: Expr) -> Expr | None:
            if not isinstance(node, typed.Apply) or BUILTINS[node.function].form != "distribution":
                return None
            outer = node.type.with_shape((*self._lead(), *node.type.shape))
            arguments = tuple(self._array(a) if a.axes else a for a in node.arguments)
            return self._cell(self.expressions.apply(node.function, arguments, outer, node.span), node.type)

        value = typed.mapped(value, drawn)
        if value.type.scalar and not value.axes:
            return value
        return self._array(self.expressions.filled(value, inner))

    def _bound_of_domain(self, value: Expr, inner: Type) -> Expr:
        """A bound of every entry: where plates change it, an array that fits the one of all copies."""
        return self._array(self.expressions.filled(value, inner)) if value.axes else value

    def _lead(self) -> tuple[Size, ...]:
        return tuple(a.size for a in self.plates if a.size is not None)

    def _array(self, value: Expr) -> Expr:
        """A value at every position of the plates, as one array with the plates in front."""
        if not self.plates:
            return value
        free = tuple(a for a in value.axes if a not in self.plates)
        type_ = value.type.with_shape((*self._lead(), *value.type.shape))
        return typed.Tabulate(type_, free, value.level, value.coupled, value.span, value, self.plates)

    def _cell(self, array: Expr, inner: Type) -> Expr:
        """The entry of an array that belongs to the indices of the plates."""
        if not self.plates:
            return array
        indices = tuple(self._index(axis) for axis in self.plates)
        whole = tuple(SliceOf(ZERO, size) for size in inner.shape)
        axes = typed.merge_axes((array, *indices))
        return Pick(inner, axes, array.level, array.coupled, array.span, array, (*indices, *whole))

    def _index(self, axis: typed.Axis) -> Expr:
        """Which copy an index of a plate means: copies are counted from 0."""
        at: Expr = Position(INT, (axis,), Level.CONSTANT, False, self.node.span, axis, 0)
        if axis.start == ZERO:
            return at
        start = typed.SizeOf(INT, (), Level.CONSTANT, False, self.node.span, axis.start)
        return self.expressions.apply("sub", (at, start), INT, self.node.span)

    def _local(self, name: str, value: Expr) -> None:
        if self.plates:
            self.scope.entries[cell_name(self.name, name)] = Bound(value, self.node.name.span)

    # --- lets, terms, constraints ---

    def _define_let(self, name: str, value: Expr, doc: str) -> None:
        outer = inner_name(self.name, name)
        self.around.scope.entries[outer] = LetEntry(value, self.node.name.span)
        self.expressions.lets.define(typed.Let(outer, value, doc, self.node.span))

    def _term(self, term: typed.Term) -> None:
        name = inner_name(self.name, term.name)
        axes = (*self.plates, *self.copy.over(term.axes))
        value, guard = self.copy.expr(term.value), self._guard(term.guard)
        if value.coupled and not term.batch:
            what = f"`{name}` belongs to one example, and what is bound to `{self.name}` looks at all of them"
            place = Label(term.span, "the term", self.model.source)
            advice = f"declare it `batch energy` in `{self.model.name}`"
            self.expressions.report.add(PartMisplaced(self.node.span, what, advice, (place,)))
        copied = typed.Term(name, term.kind, term.batch, axes, guard, value, term.doc, self.node.span)
        self.around.scope.entries[name] = TermEntry(copied, self.node.name.span)
        self.expressions.terms.append(copied)

    def _constraint(self, constraint: typed.Constraint) -> None:
        copied = replace(
            constraint,
            name=inner_name(self.name, constraint.name),
            axes=(*self.plates, *self.copy.over(constraint.axes)),
            guard=self._guard(constraint.guard),
            value=self.copy.expr(constraint.value),
            span=self.node.span,
        )
        self.around.constraints.append(copied)

    def _guard(self, inner: Expr | None) -> Expr | None:
        """The guard of the plates around the part and the one inside it, together."""
        if inner is None:
            return self.guard
        copied = self.copy.expr(inner)
        if self.guard is None:
            return copied
        return self.expressions.apply("and", (self.guard, copied), copied.type, copied.span)

    def _requirement(self, requirement: typed.Requirement) -> None:
        size = self.copy.size(requirement.size)
        holds = size.known_positive(0, self.expressions.prover.floors)
        reason = f"in `{self.name}` ({self.model.name}): {requirement.reason}"
        if holds is False:
            place = Label(requirement.span, "needed here", self.model.source)
            self.expressions.report.add(PartMisplaced(self.node.span, reason, "", (place,)))
        elif holds is None:
            self.expressions.requirements.append(typed.Requirement(size, reason, self.node.span))
