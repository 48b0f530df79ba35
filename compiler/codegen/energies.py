"""The generated methods that evaluate energies: terms, total, split, plated factors, lets."""

from __future__ import annotations

from dataclasses import dataclass, field

from ebmlang.compiler import typed
from ebmlang.compiler.choose import Plan
from ebmlang.compiler.codegen.expressions import Emitter
from ebmlang.compiler.codegen.functions import Functions, simplified
from ebmlang.compiler.codegen.layout import ATOM, PRODUCT, SUM, Code, Layout, aligned, trailing
from ebmlang.compiler.codegen.lines import Line
from ebmlang.compiler.codegen.methods import Method
from ebmlang.compiler.codegen.names import local_name
from ebmlang.compiler.structure.block import Summand
from ebmlang.compiler.typed import Expr, Level

ARGUMENTS = "unknown: Values, held: Values"
_TABLE = "dict[str, Tensor]"
_MOST_SUMMANDS = 50


@dataclass(slots=True)
class Energies:
    """Writes the methods that evaluate the energy of a plan."""

    plan: Plan
    functions: Functions
    factors: tuple[Summand, ...] = field(init=False)
    limits: tuple[Summand, ...] = field(init=False)

    def __post_init__(self) -> None:
        graph = self.plan.block.graph
        self.limits = tuple(Summand(c.name, c.value, c.axes, c.mask) for c in graph.limits)
        self.factors = tuple(Summand(f.name, f.value, f.axes, f.mask) for f in graph.factors)

    @property
    def sought_text(self) -> str:
        return ", ".join(self.plan.block.query.sought) or "anything sought"

    def methods(self) -> list[Method]:
        made = [self.terms(), self.energy(), *self.split(), self.constraints(), self.plated(), self.lets()]
        made.append(self.report())
        return [method for method in made if method is not None]

    def method(self, name: str, result: str, doc: str, e: Emitter | None, value: str) -> Method:
        lines = [] if e is None else [*self.functions.prologue(e), *e.lines]
        arguments = "held: Values" if name == "absolute" else ARGUMENTS
        return Method(name, arguments, result, doc, [*lines, Line((), value)])

    # --- terms and their sum ---

    def terms(self) -> Method:
        e = self.functions.method()
        totals = [(s.name, simplified(s.total)) for s in self.factors]
        e.count(*(value for _, value in totals))
        entries = [f'"{name}": {self.scalar(e, name, value)}' for name, value in totals]
        doc = "Every energy term, summed over its plates: [B], or [] when it is one number for all rows."
        return self.method("terms", _TABLE, doc, e, f"{{{', '.join(entries)}}}")

    @staticmethod
    def scalar(e: Emitter, name: str, value: Expr) -> str:
        """A line for a scalar per row; the local name of its value."""
        code = number(e, value, local_name(name))
        return e.assign(local_name(name), code, (), exact=True).text

    def energy(self) -> Method:
        block = self.plan.block
        joint = block.joint is not None
        doc = f"The energy that is lowered over {self.sought_text}: [B]."
        if joint:
            doc = f"The energy that is lowered over {self.sought_text}, of all examples together: []."
        if block.query.of is None:
            parts = [self._counted(s, f'energies["{s.name}"]') for s in block.summands]
            first = Line(("energies",), "self.terms(unknown, held)")
            return Method("energy", ARGUMENTS, "Tensor", doc, [first, *_sum_lines(parts)])
        e = self.functions.method()
        e.count(block.query.of)
        code = number(e, block.query.of, "objective")
        return self.method(
            "energy", "Tensor", doc, e, _summed(code.text) if joint and code.batch else code.text
        )

    def _counted(self, s: Summand, text: str) -> str:
        """A summand as it counts in the energy: summed over the examples in a joint problem."""
        return _summed(text) if self.plan.block.joint is not None and per_row(s) else text

    def total(self, e: Emitter, values: list[tuple[Summand, str]]) -> str:
        """The sum of summands whose values have names."""
        *most, last = _sum_lines([self._counted(s, name) for s, name in values])
        e.lines += most
        return last.value

    # --- smooth part and absolute values ---

    def split(self) -> list[Method]:
        """The smooth part and the weights of absolute values, where the plan works on them."""
        split = self.plan.split
        if split is None:
            return []
        e = self.functions.method()
        parts = self.smooth_parts()
        e.count(*parts)
        value = self.smooth_total(e, parts)
        doc = "The energy without its absolute values: [B]."
        owners = {s.name: s for s in self.plan.block.summands}
        made = [self.method("smooth", "Tensor", doc, e, value), self.absolute(owners)]
        return (
            [*made, self._majorant([simplified(part) for part in split.majorant])] if split.majorant else made
        )

    def _majorant(self, parts: list[Expr]) -> Method:
        e = self.functions.method()
        e.count(*parts)
        value = self.smooth_total(e, parts)
        doc = "A quadratic whose Hessian is nowhere less than that of the smooth part: [B]."
        return self.method("majorant", "Tensor", doc, e, value)

    def smooth_parts(self) -> list[Expr]:
        """The summands of the smooth part."""
        split = self.plan.split
        return [] if split is None else [simplified(part) for part in split.smooth]

    def smooth_total(self, e: Emitter, parts: list[Expr]) -> str:
        """The sum of the smooth parts, each as it counts in the energy."""
        split = self.plan.split
        assert split is not None
        owners = {s.name: s for s in self.plan.block.summands}
        texts = []
        for i, part in enumerate(parts):
            code = number(e, part, f"smooth_{i}" if i else "smooth")
            texts.append(self._share(code, owners[split.smooth_of[i]]).at(SUM))
        *most, last = _sum_lines(texts or [self._zero()])
        e.lines += most
        return last.value

    def _zero(self) -> str:
        """0 for every example, or once in a joint problem, with a gradient."""
        first = self.plan.block.sought[0]
        entries = ".sum()" if self.plan.block.joint else ".flatten(1).sum(-1)" if first.type.rank else ""
        return f'unknown["{first.name}"]{entries} * 0.0'

    def _share(self, code: Code, owner: Summand) -> Code:
        """A part of a summand as it counts in the energy: once for every example in a joint problem."""
        if self.plan.block.joint is None or not per_row(owner):
            return code
        if code.batch:
            return Code(_summed(code.text), ATOM, False, (), code.rank, "real")
        return Code(f"self.batch * {code.at(PRODUCT)}", PRODUCT, False, (), code.rank, "real")

    def absolute(self, owners: dict[str, Summand]) -> Method:
        split = self.plan.split
        assert split is not None
        e = self.functions.method()
        shared = {v.name for v in self.plan.block.sought if not v.per_example}
        ranks = {v.name: v.type.rank for v in self.plan.block.sought}
        weights: dict[str, list[str]] = {}
        for part in split.absolute:
            code = number(e, part.weight, "weight")
            if part.variable in shared:
                code = self._share(code, owners[part.summand])
            code = trailing(code, ranks[part.variable])
            weights.setdefault(part.variable, []).append(code.at(SUM))
        entries = [f'"{name}": {" + ".join(texts)}' for name, texts in weights.items()]
        doc = "Weights of |x| per sought variable, entry by entry."
        return self.method("absolute", _TABLE, doc, e, f"{{{', '.join(entries)}}}")

    # --- constraints ---

    def constraints(self) -> Method | None:
        """What has to be <= 0 or == 0."""
        if not self.limits:
            return None
        e = self.functions.method()
        entries = limit_entries(e, self.limits)
        doc = "What every constraint bounds, [B, plate sizes..., shape]; 0 where a guard is false."
        return self.method("constraints", _TABLE, doc, e, f"{{{', '.join(entries)}}}")

    # --- every position of a plate, and named values ---

    def plated(self) -> Method | None:
        plated = [s for s in self.factors if s.axes]
        if not plated:
            return None
        e = self.functions.method()
        e.count(*(s.value for s in plated))
        entries = self._positions(e, plated)
        doc = "Energies of plated terms at every position: [B, plate sizes...]."
        return self.method("factors", _TABLE, doc, e, f"{{{', '.join(entries)}}}")

    def _positions(self, e: Emitter, plated: list[Summand], suffix: str = "") -> list[str]:
        entries = []
        for s in plated:
            name = f"{local_name(s.name)}{suffix}"
            code = e.assign(name, every_position(e, s), (), exact=not suffix)
            entries.append(f'"{s.name}": {code.text}')
        return entries

    def lets(self) -> Method | None:
        lets = self.plan.block.graph.model.lets
        if not lets:
            return None
        e = self.functions.method()
        values = self._named()
        e.count(*values)
        entries = self._named_entries(e, values)
        return self.method("lets", _TABLE, "The named values of the model.", e, f"{{{', '.join(entries)}}}")

    def _named(self) -> list[typed.Read]:
        lets = self.plan.block.graph.model.lets
        return [typed.Read(x.value.type, (), x.value.level, x.value.coupled, x.span, x.name) for x in lets]

    @staticmethod
    def _named_entries(e: Emitter, values: list[typed.Read]) -> list[str]:
        return [f'"{value.name}": {e.tensor(e.emit(value, local_name(value.name))).text}' for value in values]

    def report(self) -> Method | None:
        """Terms, factors and lets together, where a loop over a recurrence serves them all."""
        block = self.plan.block
        loops = (x.value for x in block.graph.model.lets if isinstance(x.value, typed.Scan))
        if not any(map(block.depends, loops)):
            return None
        e = self.functions.method()
        totals = [(s.name, simplified(s.total)) for s in self.factors]
        plated = [s for s in self.factors if s.axes]
        values = self._named()
        e.count(*(value for _, value in totals), *(s.value for s in plated), *values)
        tables = (
            [f'"{name}": {self.scalar(e, name, value)}' for name, value in totals],
            self._positions(e, plated, "_each"),
            self._named_entries(e, values),
        )
        doc = "Terms, factors and named values, each as the methods of these names give them."
        result = f"({', '.join('{' + ', '.join(entries) + '}' for entries in tables)})"
        return self.method("report", "Report", doc, e, result)


def _stretched(mask: Code, where: Layout) -> str:
    """A condition on positions beside values of a declared rank."""
    code = aligned(mask, Layout(where.batch, where.axes, 0))
    if not where.rank or not code.dims:
        return code.text
    return f"{code.at(ATOM)}[..., {', '.join(['None'] * where.rank)}]"


def _sum_lines(parts: list[str]) -> list[Line]:
    """A sum of any length: Python cannot read one of thousands in a single line."""
    lines = []
    while len(parts) > _MOST_SUMMANDS:
        lines.append(Line(("total",), " + ".join(parts[:_MOST_SUMMANDS])))
        parts = ["total", *parts[_MOST_SUMMANDS:]]
    return [*lines, Line((), " + ".join(parts))]


def number(e: Emitter, value: Expr, hint: str) -> Code:
    """A value as real numbers in a tensor."""
    code = e.converted(e.emit(value, hint), "real")
    if code.python:
        code = Code(code.text, code.strength, False, (), 0, "real", True)
    return e.tensor(code)


def per_row(s: Summand) -> bool:
    """Whether a summand differs by example."""
    return s.value.level is Level.EXAMPLE or (s.mask is not None and s.mask.level is Level.EXAMPLE)


def _summed(text: str) -> str:
    return f"functions.over_examples_sum({text}, self.batch)"


def limit_entries(e: Emitter, limits: tuple[Summand, ...]) -> list[str]:
    """The constraints as entries of a dictionary."""
    e.count(*(s.value for s in limits))
    entries = []
    for s in limits:
        code = e.assign(local_name(s.name), every_position(e, s), s.value.type.shape, exact=True)
        entries.append(f'"{s.name}": {code.text}')
    return entries


def every_position(e: Emitter, s: Summand) -> Code:
    """The value at all positions of its axes, 0 where its guard is false."""
    rank = s.value.type.rank
    with e.guarded(s.mask):
        value = e.expanded(
            number(e, s.value, local_name(s.name)), Layout(s.value.level is Level.EXAMPLE, s.axes, rank)
        )
        if s.mask is None:
            return value
        mask = e.tensor(e.code(s.mask))
    where = Layout(per_row(s), s.axes, rank)
    text = f"torch.where({_stretched(mask, where)}, {aligned(value, where).text}, 0.0)"
    return Code(text, ATOM, where.batch, s.axes, rank, "real")
