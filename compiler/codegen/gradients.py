"""The generated methods that differentiate: gradients, and products with the Hessian."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from ebmlang.compiler.builtins import BUILTINS
from ebmlang.compiler.choose import Plan
from ebmlang.compiler.choose_blocks import IN_TURN
from ebmlang.compiler.codegen.energies import ARGUMENTS, Energies, per_row
from ebmlang.compiler.codegen.entries import Entries
from ebmlang.compiler.codegen.expressions import Emitter
from ebmlang.compiler.codegen.functions import Functions, simplified
from ebmlang.compiler.codegen.layout import ATOM, SUM, UNARY, Code, trailing
from ebmlang.compiler.codegen.lines import Line
from ebmlang.compiler.codegen.methods import Method
from ebmlang.compiler.codegen.names import local_name
from ebmlang.compiler.codegen.reciprocals import Reciprocals
from ebmlang.compiler.codegen.scatters import Scatters
from ebmlang.compiler.derivatives import Adjoint, NoDerivativeError, Tangent, algebra
from ebmlang.compiler.derivatives.entries import HessianEntry, hessian_entries
from ebmlang.compiler.derivatives.gauss_newton import gauss_newton
from ebmlang.compiler.facts import Dependence, direction_name
from ebmlang.compiler.structure.block import Summand
from ebmlang.compiler.structure.finding import LossPart
from ebmlang.compiler.structure.sameness import hessian_facts
from ebmlang.compiler.typed import Apply, Expr, Fold, Level, Pick, Read, Scan, Scatter, Variable, walk

Parts = dict[str, list[Expr]]
"""For each sought variable the summands of its gradient."""

WITH_MATRIX = frozenset({"newton", "projected_newton", "quadratic", "trust_region"})
"""Methods that factorise the Hessian."""

OF_RESIDUALS = frozenset({"gauss_newton", "projected_gauss_newton", IN_TURN})
"""Methods that take the squared Jacobian of residuals, and the one in place of which they may be taken."""

WITHOUT_ENERGY = frozenset({"accelerated_gradient"})
"""Methods with steps that need the gradient alone; most steps of samplers do too."""

_PAIR = "EnergyAndGradient"
_TABLE = "dict[str, Tensor]"


@dataclass(slots=True)
class Gradients:
    """Writes the methods that differentiate the energy of a plan.

    `gradient`, `smooth_gradient` and `product` are None where an operation has no derivative row: then the
    generated class lacks the method, and automatic differentiation stands in. `alone` is the gradient for
    steps that need no energy, where there are such steps, and `gauss_newton` is there for the methods that
    take it.
    """

    plan: Plan
    functions: Functions
    energies: Energies
    gradient: Parts | None = field(init=False)
    smooth_gradient: Parts | None = field(init=False, default=None)
    product: Parts | None = field(init=False, default=None)
    gauss_newton: Parts | None = field(init=False, default=None)
    alone: Parts | None = field(init=False, default=None)
    hessian_entries: list[HessianEntry] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        block = self.plan.block
        if not block.sought:
            self.gradient = None
            return
        one = algebra.constant(1.0, block.graph.model.span)
        seeds = [(simplified(s.total), one) for s in block.summands]
        self.gradient = self._gradient(seeds)
        if self._without_energy():
            self.alone = self._quickly(self.gradient or self._past_nets(seeds))
        split = self.plan.split
        if split is not None:
            owners = {s.name: s for s in block.summands}
            parts = zip(self.energies.smooth_parts(), split.smooth_of, strict=True)
            self.smooth_gradient = self._gradient([(p, self._share(p, owners[name])) for p, name in parts])
        self.product = self._product(self.gradient)
        self.hessian_entries = self._entries_of(self.product)
        if self.plan.method is not None and self.plan.method.name in OF_RESIDUALS:
            self.gauss_newton = self._gauss_newton()

    def _gauss_newton(self) -> Parts | None:
        block = self.plan.block
        found = self.plan.structure.find("sum of losses")
        if found is None:
            return None
        owners = {s.name: s for s in block.summands}

        def share(part: LossPart, seed: Expr) -> Expr:
            return algebra.times(seed, self._share(seed, owners[part.summand]))

        if self.gradient is None:
            return None
        try:
            return gauss_newton(found.losses, block.depends, self.functions.canonical, share)
        except NoDerivativeError:
            return None

    def _share(self, part: Expr, owner: Summand) -> Expr:
        """How often a part of a summand counts: once for every example in a joint problem."""
        one = algebra.constant(1.0, part.span)
        repeated = self.plan.block.joint is not None and per_row(owner) and part.level is not Level.EXAMPLE
        return algebra.sum_examples(one) if repeated else one

    def _gradient(self, seeds: list[tuple[Expr, Expr]]) -> Parts | None:
        """Not where a net lies between what is sought and a value: automatic differentiation remembers the
        layers of its one forward pass, and a written gradient beside the energy would pass forward again."""
        depends = self.plan.block.depends
        if calls_of_nets([value for value, _ in seeds], depends):
            return None
        return self._adjoint(seeds)

    def _past_nets(self, seeds: list[tuple[Expr, Expr]]) -> Parts | None:
        """The gradient without the energy, where it passes forward through every net once."""
        found = self._adjoint(seeds)
        if found is None:
            return None
        nets = [call.arguments[0] for call in calls_of_nets(_all(found), self.plan.block.depends)]
        names = [net.name for net in nets if isinstance(net, Read)]
        return found if len(set(names)) == len(nets) else None

    def _adjoint(self, seeds: list[tuple[Expr, Expr]]) -> Parts | None:
        try:
            return Adjoint(self.plan.block.depends, self.functions.canonical).gradient(seeds)
        except NoDerivativeError:
            return None

    def _quickly(self, found: Parts | None) -> Parts | None:
        quick = Reciprocals(self.plan.block.depends)
        return found and {name: [quick(part) for part in parts] for name, parts in found.items()}

    def _without_energy(self) -> bool:
        """Whether there are steps that need the gradient alone."""
        method, question = self.plan.method, self.plan.block.query.question
        sampled = question is not None and question.verb == "sample"
        return method is not None and (sampled or method.name in WITHOUT_ENERGY)

    def _product(self, gradient: Parts | None) -> Parts | None:
        if gradient is None:
            return None
        tangent = Tangent(self.plan.block.depends, self.functions.canonical)
        moves = self.plan.block.depends
        try:
            return {name: [tangent(p) for p in parts if moves(p)] for name, parts in gradient.items()}
        except NoDerivativeError:
            return None

    def _entries_of(self, product: Parts | None) -> list[HessianEntry]:
        """The entries of the Hessian where its matrix is used; not where one row holds many examples."""
        block, method = self.plan.block, self.plan.method
        if product is None or method is None or method.name not in WITH_MATRIX or block.joint is not None:
            return []
        names = frozenset(direction_name(v.name) for v in block.sought)
        along = Dependence(block.graph, names)
        table = [(_direction(v), product.get(v.name, [])) for v in block.sought]
        found = hessian_entries(table, along)
        return [] if any(_wanders(entry, block.depends) for entry in found) else found

    @property
    def hessian_facts(self) -> tuple[bool, bool]:
        """Whether all examples share the Hessian, and whether it is the same everywhere."""
        if self.product is None:
            return False, False
        return hessian_facts(_all(self.product), self.plan.block.depends)

    def roots(self) -> list[tuple[str, Expr]]:
        """Everything that will be written, for what can be computed once."""
        found = []
        for table in (self.gradient, self.alone, self.smooth_gradient):
            for name, parts in (table or {}).items():
                found += [(f"{local_name(name)}_gradient", part) for part in parts]
        found += [("entry", entry.value) for entry in self.hessian_entries]
        for products in (self.product, self.gauss_newton):
            for name, parts in (products or {}).items():
                found += [(f"{local_name(name)}_product", part) for part in parts]
        return found

    def methods(self) -> list[Method]:
        made = [self._energy_and_gradient(), self._gradient_alone(), self._smooth_and_gradient()]
        sought = self.energies.sought_text
        hessian = f"The Hessian of the energy along {sought}, times a direction."
        made.append(self._times("hessian_times", self.product, hessian))
        squares = f"The normal matrix of the residuals along {sought}, weighted, times a direction."
        made.append(self._times("normal_times", self.gauss_newton, squares))
        made += Entries(self.functions, self.hessian_entries, self.guarded()).methods()
        return [method for method in made if method is not None]

    # --- methods ---

    def _energy_and_gradient(self) -> Method | None:
        if self.gradient is None:
            return None
        e = self.functions.method()
        e.guards += self.guarded()
        block = self.plan.block
        totals = [(s, simplified(s.total)) for s in block.summands]
        e.count(*(total for _, total in totals), *_all(self.gradient))
        names = [(s, self.energies.scalar(e, s.name, total)) for s, total in totals]
        e.line((total := e.fresh("energy"),), self.energies.total(e, names))
        entries = self._entries(e, self.gradient, "gradient")
        doc = f"The energy and its gradient along {self.energies.sought_text}."
        return self._method("energy_and_gradient", _PAIR, doc, e, f"{total}, {entries}")

    def _gradient_alone(self) -> Method | None:
        """The gradient for steps that need no energy."""
        if self.alone is None:
            return None
        e = self.functions.method()
        e.guards += self.guarded()
        e.in_place = True
        e.count(*_all(self.alone))
        entries = self._entries(e, self.alone, "gradient")
        doc = f"The gradient of the energy along {self.energies.sought_text}; not to be differentiated."
        return self._method("gradient", _TABLE, doc, e, entries)

    def _smooth_and_gradient(self) -> Method | None:
        if self.smooth_gradient is None:
            return None
        e = self.functions.method()
        e.guards += self.guarded()
        parts = self.energies.smooth_parts()
        e.count(*parts, *_all(self.smooth_gradient))
        e.line((total := e.fresh("energy"),), self.energies.smooth_total(e, parts))
        entries = self._entries(e, self.smooth_gradient, "gradient")
        doc = f"The energy without its absolute values, and its gradient along {self.energies.sought_text}."
        return self._method("smooth_and_gradient", _PAIR, doc, e, f"{total}, {entries}")

    def _times(self, name: str, products: Parts | None, doc: str) -> Method | None:
        """A method that multiplies a matrix with a direction."""
        if products is None:
            return None
        e = self.functions.method()
        e.guards += self.guarded()
        for v in self.plan.block.sought:
            local = e.fresh(f"{local_name(v.name)}_direction")
            e.available[direction_name(v.name)] = local
        e.count(*_all(products))
        entries = self._entries(e, products, "product", along=True)
        arguments = f"{ARGUMENTS}, direction: Values"
        heads = []
        for v in self.plan.block.sought:
            local = e.available[direction_name(v.name)]
            heads.append(Line((local,), f'direction["{v.name}"]'))
        lines = [*self.functions.prologue(e), *heads, *e.lines, Line((), entries)]
        return Method(name, arguments, _TABLE, doc, lines)

    def _method(self, name: str, result: str, doc: str, e: Emitter, value: str) -> Method:
        lines = [*self.functions.prologue(e), *e.lines, Line((), value)]
        return Method(name, ARGUMENTS, result, doc, lines)

    def guarded(self) -> bool:
        """Whether a mask stands somewhere: where it is false, subscripts need not be in range."""
        block = self.plan.block
        roots = [*(s.total for s in block.summands), *(let.value for let in block.graph.model.lets)]
        nodes = [n for root in roots for n in walk(root)]
        return any(
            n.guard is not None if isinstance(n, Fold) else isinstance(n, Scan) and n.guarded for n in nodes
        )

    # --- entries ---

    def _entries(self, e: Emitter, table: Parts, word: str, along: bool = False) -> str:
        shown = []
        for v in self.plan.block.sought:
            like = e.available[direction_name(v.name)] if along else local_name(v.name)
            shown.append(f'"{v.name}": {self._entry(e, v, table.get(v.name, []), word, like)}')
        return f"{{{', '.join(shown)}}}"

    def _entry(self, e: Emitter, v: Variable, parts: list[Expr], word: str, like: str) -> str:
        """The name of the sum of the parts; what is added by slices is added in place."""
        e.used[like] = None
        hint = f"{local_name(v.name)}_{word}"
        placed: list[Line] = []
        rest: list[Expr] = []
        for part in parts:
            line = self._placed(e, part, v, hint)
            if line is None:
                rest.append(part)
            else:
                placed.append(line)
        name = self._whole(e, v, rest, hint, like, bool(placed))
        e.lines += [replace(line, targets=(name,)) for line in placed]
        return name

    def _placed(self, e: Emitter, part: Expr, v: Variable, hint: str) -> Line | None:
        """The line that adds a part by slices; None when it needs more than slices."""
        factor, scatter = algebra.taken_apart(part)
        if not isinstance(scatter, Scatter):
            return None
        value = scatter.value if factor is None else algebra.times(factor, scatter.value)
        subtracts, value = algebra.signed(value)
        e.hint(hint)
        scale, rest = algebra.taken_apart(value)
        number = None if scale is None or rest is None else e.code(scale)
        if number is None or rest is None or not number.python:
            number, rest = None, value
        found = Scatters(e).place(replace(scatter, value=self.functions.canonical(rest)), v.per_example)
        alpha = "" if number is None else number.text
        return None if found is None else Line((), found[1], "", found[0], subtracts, alpha)

    def _whole(self, e: Emitter, v: Variable, parts: list[Expr], hint: str, like: str, grows: bool) -> str:
        if not parts:
            name = e.fresh(hint)
            e.line((name,), f"torch.zeros_like({like})")
            return name
        total = self.functions.canonical(algebra.total(parts))
        if grows:
            total = self.functions.canonical(algebra.widened(total, v.type.shape))
        code = e.tensor(e.converted(e.emit(total, hint), "real"))
        if grows:
            code = self._own(code, total, v, like)
        elif v.per_example and code.batch:
            code = trailing(code, v.type.rank)
        return e.assign(hint, code, total.type.shape).text

    def _own(self, code: Code, total: Expr, v: Variable, like: str) -> Code:
        """A tensor that nothing else uses, with all its rows there."""
        moves = self.plan.block.depends(total)
        if code.batch == v.per_example and moves:
            shared = code.text.isidentifier()
            return Code(f"{code.text}.clone()", ATOM, code.batch, (), code.rank, "real") if shared else code
        text = f"torch.zeros_like({like}) + {code.at(UNARY)}"
        return Code(text, SUM, v.per_example, (), v.type.rank, "real")


def _direction(v: Variable) -> Read:
    level = Level.EXAMPLE if v.per_example else Level.CONSTANT
    return Read(v.type, (), level, False, v.span, direction_name(v.name))


def _wanders(entry: HessianEntry, depends: Dependence) -> bool:
    """Whether the place of an entry depends on what is sought."""
    picks = [place for place in (entry.row, entry.column) if isinstance(place, Pick)]
    subscripts = [s for place in picks for s in place.subscripts if isinstance(s, Expr)]
    axes = (*entry.over, *entry.value.axes, *entry.row.axes, *entry.column.axes)
    return any(map(depends, subscripts)) or any(map(depends.moves, axes))


def _all(table: Parts) -> list[Expr]:
    return [part for parts in table.values() for part in parts]


def calls_of_nets(values: list[Expr], depends: Dependence) -> list[Apply]:
    """The different calls of nets, and derivatives of nets, that lie between what is sought and some
    values."""
    seen: set[str] = set()
    found: dict[int, Apply] = {}
    stack = list(values)
    while stack:
        for node in walk(stack.pop()):
            if isinstance(node, Apply) and BUILTINS[node.function].form == "net" and depends(node):
                found[id(node)] = node
            if isinstance(node, Read) and node.name in depends.graph.lets and node.name not in seen:
                seen.add(node.name)
                stack.append(depends.graph.lets[node.name].value)
    return list(found.values())
