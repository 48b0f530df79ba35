"""The statements `use`, `part` and `solve`: what each of them takes over from the model that it names."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from ebmlang.compiler import ast, notation, typed
from ebmlang.compiler.catalogue.later import NotBuilt
from ebmlang.compiler.catalogue.parts import PartMisplaced, TooManyParts
from ebmlang.compiler.composition.border import Border
from ebmlang.compiler.composition.library import Models
from ebmlang.compiler.composition.names import inner_name
from ebmlang.compiler.composition.owning import open_sizes
from ebmlang.compiler.composition.placing import Around, Placing
from ebmlang.compiler.composition.solving import Solving
from ebmlang.compiler.domains import REALS, Domain
from ebmlang.compiler.dropout import training
from ebmlang.compiler.programmes import Programmes
from ebmlang.compiler.schedules import STEP, TRAINING
from ebmlang.compiler.scope import Bound, PartEntry, Scope, broken
from ebmlang.compiler.sizes import Size
from ebmlang.compiler.source import Span
from ebmlang.compiler.typed import Expr, Pick, Read
from ebmlang.compiler.types import INT

DEEPEST_PARTS = 32
"""Parts inside parts."""

LARGEST_COMPOSITION = 200_000
"""Operations that the parts of one model may have together."""


@dataclass(frozen=True, slots=True)
class Owner:
    """What `part` declares: a model with its sizes, hyperparameters and parameters, to be applied.

    `values` are the hyperparameters and what is bound to the rest, `params` the outer names of the
    parameters: arrays over `plates` plates.
    """

    model: typed.Model
    sizes: dict[str, Size]
    values: dict[str, Expr]
    params: dict[str, str]
    plates: int


@dataclass(slots=True)
class Joined:
    """The parts of one model."""

    around: Around
    models: Models
    programmes: Programmes
    owners: dict[str, Owner] = field(default_factory=dict)
    using: dict[int, Placing] = field(default_factory=dict)
    solving: dict[int, Solving] = field(default_factory=dict)
    solved: list[typed.Solved] = field(default_factory=list)
    placed: list[typed.Placed] = field(default_factory=list)
    spent: int = 0

    @property
    def scope(self) -> Scope:
        return self.around.scope

    # --- statements ---

    def use(self, node: ast.Compose, scope: Scope, guard: Expr | None) -> None:
        """The part's variables, lets, terms and constraints join those of the model."""
        with _Mistakes(self, node.name, node.span):
            placing = self._placing(node, scope, guard)
            if placing is None or not placing.given() or not placing.may_own(placing.own()):
                return
            own, between = placing.own(), self.using.get(id(node))
            if between is None:
                placing.begin()
                placing.declare(own)
            else:
                between.again(placing)
                placing = between
            placing.lets()
            placing.define(own)
            placing.terms()
            self._updates(node, placing)
            self.solved += (placing.copy.solved(s) for s in placing.model.solved)
            self._placed(node, placing)

    def _updates(self, node: ast.Compose, placing: Placing) -> None:
        """The states of a part that joins are states of the model around it."""
        programme, name = placing.model.programme, node.name.text
        if programme.states and placing.plates:
            self.around.expressions.report.add(NotBuilt(node.span, "a part with a `state` in a plate"))
            return
        updates = {u.state: placing.copy.expr(u.value) for u in programme.updates}
        for state in programme.states:
            if state not in placing.border.values:
                episodic = state in programme.episodic
                self.programmes.adopt(inner_name(name, state), updates.get(state), episodic, node.span)

    def part(self, node: ast.Part, scope: Scope) -> None:
        """The parameters and hyperparameters of a part that is applied elsewhere."""
        with _Mistakes(self, node.name, node.span):
            placing = self._placing(node, scope, None)
            if placing is None:
                return
            own = [v for v in placing.own() if v.role == "param"]
            if not placing.may_own(own):
                return
            placing.open = open_sizes(placing.model, own, frozenset(placing.border.sizes))
            placing.begin_owner()
            placing.decays()
            placing.declare(own)
            placing.define(own)
            name, model = node.name.text, placing.model
            values = {h.name: placing.copy.read(h) for h in model.hypers if h.type != INT}
            nets = {net.name for net in model.nets}
            values |= {n: v for n, v in placing.copy.values.items() if n in nets}
            values |= placing.border.values
            if not self._fixed(placing.border, values):
                return
            params = {v.name: inner_name(name, v.name) for v in own}
            sizes = {n: size for n, size in placing.copy.sizes.items() if n not in placing.open}
            self.owners[name] = Owner(model, sizes, values, params, len(placing.plates))
            self._placed(node, placing)

    def _fixed(self, border: Border, values: dict[str, Expr]) -> bool:
        """Whether what is bound to a part that is applied elsewhere is the same for all its copies."""
        moving = next((v.span for v in values.values() if v.axes), None)
        for net, indices in border.indices.items():
            if indices and net in border.bound:
                moving = border.bound[net].value.span
        if moving is not None:
            what = f"what is bound to the copies of `{border.model.name}` may differ between them"
            self._misplaced(moving, what, "bind it where the part is applied")
        return moving is None

    def solve(self, node: ast.Compose, scope: Scope) -> None:
        """The part's unknowns are minimised over its own energy, and its lets become values."""
        if id(node) not in self.solving:
            self.solve_cells(node, scope)
        solving = self.solving.get(id(node))
        if solving is not None:
            with _Mistakes(self, node.name, node.span):
                solving.arrays()

    def cells(self, node: ast.Compose, scope: Scope) -> None:
        """What the steps of a recurrence see of a part at the indices of their plate."""
        if node.word == "solve":
            self.solve_cells(node, scope)
            return
        with _Mistakes(self, node.name, node.span):
            placing = self._placing(node, scope, None)
            if placing is None or not placing.given() or not placing.may_own(placing.own()):
                return
            placing.begin()
            placing.declare(placing.own())
            placing.cells_of_lets()
            self.using[id(node)] = placing

    def solve_cells(self, node: ast.Compose, scope: Scope) -> None:
        """What a plate sees of a nested part at its own indices; arrays of all of them come later."""
        with _Mistakes(self, node.name, node.span):
            placing = self._placing(node, scope, None)
            if placing is None or not placing.given():
                return
            solving = Solving(placing, node)
            if solving.may_stand():
                solving.cells()
                self.solving[id(node)] = solving
                self.solved.append(solving.record())
                self._placed(node, placing)

    def _placed(self, node: ast.Compose | ast.Part, placing: Placing) -> None:
        """Remember what stands where: the part, and the parts inside it."""
        name, plates = node.name.text, len(placing.plates)
        word = node.word if isinstance(node, ast.Compose) else "part"
        self.placed.append(typed.Placed(name, placing.model.name, word, plates))
        self.placed += (
            replace(p, name=inner_name(name, p.name), plates=plates + p.plates) for p in placing.model.parts
        )

    # --- the model that is meant ---

    def _placing(self, node: ast.Compose | ast.Part, scope: Scope, guard: Expr | None) -> Placing | None:
        if self._lost(node.reference):
            self.quiet(node.name)
            return None
        owner = self._owner(node.reference)
        model = owner.model if owner else self.models.find(node.reference, self.around.expressions.report)
        if model is None:
            self.quiet(node.name)
        if model is None or not self._shallow(model, node.span):
            return None
        applied = isinstance(node, ast.Part) or node.word == "solve"
        if model.programme.states and applied:
            what = f"a `state` of a part that is {'owned' if isinstance(node, ast.Part) else 'solved'}"
            self.around.expressions.report.add(NotBuilt(node.span, what, "join it: use ... as ..."))
            return None
        border = Border(self.around.expressions, scope, model, node.span)
        if model.variable(STEP) is not None:
            border.values[STEP] = self.programmes.step(node.span)
        if model.variable(TRAINING) is not None:
            border.values[TRAINING] = training(self.around.expressions, node.span)
        if owner is not None:
            if not self._apply(owner, node, scope, border):
                return None
        elif node.reference.subscripts:
            what = f"`{model.name}` is a model, and has no entries"
            self._misplaced(node.reference.span, what, f"declare them: part p[l] = {model.name}(...)")
            return None
        if not border.read(*_given(node)) or not self._kept(border):
            self.quiet(node.name)  # what is bound may have its mistake elsewhere
            return None
        return Placing(self.around, node, model, scope, guard, border)

    def _kept(self, border: Border) -> bool:
        """Whether unknowns that take the place of those of the part have a domain where these have one.

        What is computed may be anywhere. A bare unknown without a domain would be sought everywhere.
        """
        around = {v.name: v for v in self.around.declarations.variables}
        fine = True
        for name, binding in border.bound.items():
            own, value = border.model.variable(name), border.values.get(name)
            base = value.base if isinstance(value, Pick) else value
            found = around.get(base.name) if isinstance(base, Read) else None
            if own is None or not own.unknown or own.domain.name == REALS.name:
                continue
            if found is not None and found.unknown and found.domain.name == REALS.name:
                type_ = border.type(own.type)
                wanted = f"{type_} in {_shown(own.domain)}"
                advice = f"declare `{found.name}` in that domain"
                border.misfit(name, f"{type_} without a domain", wanted, binding.value.span, None, advice)
                fine = False
        return fine

    def _lost(self, reference: ast.Reference) -> bool:
        """Whether a reference names a part whose declaration holds a mistake."""
        entry = self.scope.find(reference.path[0].text)
        return isinstance(entry, Bound) and entry.value.type.kind == "error"

    def _owner(self, reference: ast.Reference) -> Owner | None:
        return self.owners.get(reference.path[0].text) if len(reference.path) == 1 else None

    def _apply(self, owner: Owner, node: ast.Compose | ast.Part, scope: Scope, border: Border) -> bool:
        """Fill in what a part owns: its sizes, hyperparameters and parameters."""
        reference, name = node.reference, node.reference.path[0].text
        if reference.arguments:
            what = f"the hyperparameters of `{name}` are set where it is declared"
            self._misplaced(reference.span, what, f"part {name} = {owner.model.name}(...)")
            return False
        if len(reference.subscripts) != owner.plates:
            wanted = f"{owner.plates or 'no'} subscript{'s' * (owner.plates != 1)}"
            shown = f"{name}[{', '.join('ijkl'[: owner.plates])}]" if owner.plates else name
            self._misplaced(reference.span, f"the part `{name}` takes {wanted}", shown)
            return False
        border.sizes.update(owner.sizes)
        border.values.update(owner.values)
        for inner, outer in owner.params.items():
            read: ast.Expr = ast.Name(outer, reference.span)
            if owner.plates:
                read = ast.Index(read, reference.subscripts, reference.span)
            value = self.around.expressions.value(read, scope)
            if value.type.kind == "error":
                return False
            border.values[inner] = value
        if owner.plates:
            parts = [s for s in reference.subscripts if isinstance(s, ast.Expr)]
            chosen = [self.around.expressions.value(s, scope) for s in parts]
            if len(chosen) < owner.plates or any(v.type.kind == "error" for v in chosen):
                return False
            border.indices.update({net.name: tuple(chosen) for net in owner.model.nets})
        return True

    def _shallow(self, model: typed.Model, span: Span) -> bool:
        depth = 1 + max((t.name.count(".") for t in model.terms), default=0)
        if depth <= DEEPEST_PARTS:
            return True
        self.around.expressions.report.add(TooManyParts(span, f"nested {depth} deep", str(DEEPEST_PARTS)))
        return False

    def quiet(self, name: ast.Identifier) -> None:
        """No more is said about a part after its mistake, which may stand in the model that it names."""
        entry = self.scope.find(name.text)
        if isinstance(entry, PartEntry) and entry.span == name.span:
            self.scope.entries[name.text] = broken(name.span)

    def _misplaced(self, span: Span, what: str, advice: str) -> None:
        self.around.expressions.report.add(PartMisplaced(span, what, advice))


@dataclass(slots=True)
class _Mistakes:
    """Counts what one statement adds; after a mistake its name stays quiet wherever it is used."""

    joined: Joined
    name: ast.Identifier
    span: Span
    errors: int = 0
    nodes: int = 0

    def __enter__(self) -> None:
        checker = self.joined.around.expressions
        self.errors, self.nodes = len(checker.report.errors), checker.node_count

    def __exit__(self, *_: object) -> None:
        joined, checker = self.joined, self.joined.around.expressions
        joined.spent += checker.node_count - self.nodes
        if joined.spent > LARGEST_COMPOSITION:
            limit = f"{LARGEST_COMPOSITION:,} operations"
            checker.report.add(TooManyParts(self.span, f"{joined.spent:,} operations", limit))
        if len(checker.report.errors) > self.errors:
            joined.quiet(self.name)


def _given(node: ast.Compose | ast.Part) -> tuple[tuple[ast.Argument, ...], tuple[ast.Binding, ...]]:
    return node.reference.arguments, node.bindings


def _shown(domain: Domain) -> str:
    if domain.name == "interval":
        return f"[{', '.join(map(notation.text, domain.arguments))}]"
    return domain.name
