"""Plan to a PyTorch module: one class with readable methods, stable to the byte."""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass, replace
from functools import cached_property

from ebmlang.compiler import typed
from ebmlang.compiler.choose import Plan
from ebmlang.compiler.codegen.closed import ClosedForm
from ebmlang.compiler.codegen.energies import Energies, number
from ebmlang.compiler.codegen.expressions import Emitter
from ebmlang.compiler.codegen.functions import Functions, simplified
from ebmlang.compiler.codegen.gradients import Gradients
from ebmlang.compiler.codegen.layout import Code, trailing
from ebmlang.compiler.codegen.lines import INDENT, Line
from ebmlang.compiler.codegen.maxima import Maxima
from ebmlang.compiler.codegen.methods import Method, quoted
from ebmlang.compiler.codegen.mixtures import Mixtures
from ebmlang.compiler.codegen.names import class_name, field_name, local_name
from ebmlang.compiler.codegen.nets import nets_text
from ebmlang.compiler.codegen.obligations import obligations
from ebmlang.compiler.codegen.rollouts import Rollouts
from ebmlang.compiler.codegen.specs import header, size_code, specs
from ebmlang.compiler.codegen.tables import table_methods, table_specs
from ebmlang.compiler.nested import UNROLLED, inner_plan, searches
from ebmlang.compiler.typed import Expr, Variable

_HELD = re.compile(r'held\["(\w+)"\]')

_FIELD_TYPES = {"int": "int", "bool": "bool"}

_STARTS = {
    "hyper": "The default of {}.",
    "observed": "The value of {} where none is given.",
    "random": "A draw of {}.",
}


@dataclass(frozen=True, slots=True)
class Generated:
    """The text of a module and the name of its class."""

    text: str
    class_name: str


def generate(plan: Plan) -> Generated:
    """The module that evaluates a model for one question."""
    name = class_name(plan.block.graph.model.name)
    whole, nets = _contents(plan), nets_text(plan.block.graph.model, size_code)
    parts = [
        header(plan, whole.tables, f"{whole.tables}\n{whole.text}", nets),
        f"{whole.text}\n",
        f'if __name__ == "__main__":\n{INDENT}from ebmlang.commands.standalone import run_file\n',
        f"{INDENT}raise SystemExit(run_file(__file__))\n",
    ]
    return Generated("\n".join(parts), name)


@dataclass(frozen=True, slots=True)
class _Contents:
    """What stands in a module or a namespace; `tables` are all tables in it, those of nested ones too."""

    tables: str
    text: str


def _contents(plan: Plan) -> _Contents:
    """Tables, class, and a namespace with the same for every nested search."""
    writer = _Writer(plan)
    tables, body = writer.module()
    nests = [(_namespace_name(s), _namespace(s), s) for s in writer.searches]
    nets = nets_text(plan.block.graph.model, size_code)
    parts = [tables, "\n", *([f"{nets}\n"] if nets else []), body, ""]
    parts += [f"{text.text}\n\n" for _, text, _ in nests]
    if nests:
        table = ", ".join(f'"{s.nested.part}": {name}' for name, _, s in nests)
        parts.append(f"NESTED = {{{table}}}")
    parts.append(f"MODEL = {class_name(plan.block.graph.model.name)}")
    return _Contents("\n".join([tables, *(text.tables for _, text, _ in nests)]), "\n".join(parts))


def _namespace_name(solve: typed.Solve) -> str:
    return f"Part_{local_name(solve.nested.part)}"


def _namespace(solve: typed.Solve) -> _Contents:
    """A class that holds for a nested search what a module holds for the question."""
    plan, nested = inner_plan(solve), solve.nested
    inside = _contents(plan)
    unrolled = nested.using is not None and nested.using.name == UNROLLED
    facts = [
        f"PER_EXAMPLE = {solve.level is typed.Level.EXAMPLE}",
        *([f"UNROLL = {dict(nested.using.options)!r}"] if unrolled and nested.using is not None else []),
    ]
    how = (
        "steps of a gradient method" if unrolled else plan.method.title if plan.method is not None else "none"
    )
    doc = f"The minimum of {nested.model.name} over {', '.join(nested.sought)}: {how}."
    lines = [
        f"class {_namespace_name(solve)}:",
        f"{INDENT}{quoted(doc, INDENT)}",
        "",
        *(f"{INDENT}{fact}" for fact in facts),
        textwrap.indent(inside.text.replace("\n\n\n", "\n\n"), INDENT),
    ]
    return _Contents(inside.tables, "\n".join(lines))


def _searching(values: tuple[typed.Expr, ...]) -> bool:
    return any(isinstance(n, typed.Solve) for value in values for n in typed.walk(value))


class _Writer:
    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.model = plan.block.graph.model
        self.functions = Functions(plan.block.graph, plan.block.depends)
        self.energies = Energies(plan, self.functions)
        self.gradients = Gradients(plan, self.functions, self.energies)
        self.mixtures = Mixtures(plan, self.functions)
        self.maxima = Maxima(plan, self.functions)

    @cached_property
    def searches(self) -> tuple[typed.Solve, ...]:
        """One node for every nested search, in the order of the text."""
        of = self.plan.block.query.of
        written = replace(self.model, properties=self.claims)
        return searches(written, () if of is None else (of,))

    @cached_property
    def claims(self) -> tuple[typed.Property, ...]:
        """Properties that can be asked for: those of answers only where no line of the file is answered."""
        if self.plan.block.query.question is None:
            return self.model.properties
        sides = {p: (p.left, *(() if p.right is None else (p.right,))) for p in self.model.properties}
        return tuple(p for p, both in sides.items() if not _searching(both))

    def module(self) -> tuple[str, str]:
        """The tables, and the class."""
        name = class_name(self.model.name)
        self.hoist_everything()
        derivatives = self.gradients.methods()
        checks = obligations(self.plan, self.functions)
        checks += Rollouts(self.plan, self.functions).methods()
        checks += ClosedForm(self.plan, self.functions).methods()
        checks += [*self.mixtures.methods(), *self.maxima.methods()]
        known = [*self.starts(), *self.domains(), *self.properties()]
        methods = [*self.energies.methods(), *derivatives, *checks, *known, *self.tables()]
        bodies = [method.text() for method in methods]
        prepare, kept = self.prepare(frozenset(_HELD.findall("\n".join(bodies))))
        body = "\n\n".join([prepare.text(), *bodies])
        written = tuple(method.name for method in derivatives)
        tables = specs(self.plan, self.functions.row_values(kept), written, self.gradients.hessian_facts)
        if self.plan.block.discrete:
            tables = "\n".join([tables, *table_specs(self.plan.block.tables)])
        doc = quoted(self.model.doc or f"The model `{self.model.name}`.", INDENT)
        parts = [
            f"@dataclass(frozen=True)\nclass {name}(GeneratedModel):\n{INDENT}{doc}\n",
            "\n".join(self.fields()) + "\n",
            f"{body}\n",
        ]
        return tables, "\n".join(parts)

    def fields(self) -> list[str]:
        own = [
            f"{INDENT}{field_name(v.name)}: {_FIELD_TYPES.get(v.type.kind, 'float')}"
            for v in self.model.hypers
            if v.type.scalar
        ]
        common = ["batch: int", "dtype: torch.dtype", "device: torch.device", "draw: Draws"]
        common += ["nets: Nets"] if self.model.nets else []
        common += ["solves: Solves"] if self.searches else []
        return [*own, *(f"{INDENT}{c}" for c in common)]

    def tables(self) -> list[Method]:
        if not self.plan.block.discrete:
            return []
        return table_methods(self.plan.block.tables, self.functions)

    # --- what does not depend on the unknowns ---

    def hoist_everything(self) -> None:
        totals = (*self.energies.factors, *self.plan.block.summands)
        limits = [(local_name(s.name), s.value) for s in self.energies.limits]
        roots: list[tuple[str, Expr]] = [(local_name(s.name), simplified(s.total)) for s in totals]
        split = self.plan.split
        if split is not None:
            roots += [("weights", a.weight) for a in split.absolute]
            roots += [("smooth", simplified(part)) for part in split.smooth]
            roots += [("majorant", simplified(part)) for part in split.majorant]
        roots += [*self.mixtures.roots(), *self.maxima.roots()]
        # The answer of a search is named, so that lets and terms do not ask for it again.
        roots = [*self._answers(), *roots]
        derived = self.gradients.roots()
        self.functions.hoist([*roots, *limits], derived, self.gradients.guarded())

    def _answers(self) -> list[tuple[str, Expr]]:
        nodes = (n for let in self.model.lets for n in typed.walk(let.value))
        return [(local_name(n.nested.part), n) for n in nodes if isinstance(n, typed.Solve)]

    def prepare(self, wanted: frozenset[str]) -> tuple[Method, list[str]]:
        lines, kept = self.functions.prepared(wanted)
        doc = f"Values that do not depend on {self.energies.sought_text}; computed once."
        return Method("prepare", "held: Values", "dict[str, Tensor]", doc, lines), kept

    # --- starts, domains, properties: functions of values that are known ---

    def starts(self) -> list[Method]:
        methods = []
        for v in self.model.variables:
            if v.init is None:
                continue
            e = self.functions.standalone(v.name, v.per_example)
            e.count(v.init)
            code = trailing(e.emit(v.init, local_name(v.name)), v.type.rank)
            doc = _STARTS.get(v.role, "Where the search for {} begins.").format(v.name)
            methods.append(self.known("start", v.name, "Tensor | float", doc, e, code.text))
        return methods

    def domains(self) -> list[Method]:
        methods = []
        for v in self.model.variables:
            parts = self._domain_parts(v)
            if not parts:
                continue
            e = self.functions.standalone(v.name, v.per_example)
            e.count(*parts)
            codes = [self._bound(e, value, v) for value in parts]
            what = (
                f"Bounds of {v.name}."
                if v.domain.where is None
                else f"Entries of {v.name} that may differ from 0."
            )
            value = f"({', '.join(c.text for c in codes)},)"
            methods.append(self.known("domain", v.name, "tuple[Tensor, ...]", what, e, value))
        return methods

    @staticmethod
    def _domain_parts(v: Variable) -> tuple[Expr, ...]:
        return (*v.domain.arguments, *((v.domain.where,) if v.domain.where is not None else ()))

    @staticmethod
    def _bound(e: Emitter, value: Expr, v: Variable) -> Code:
        code = e.emit(value, local_name(v.name))
        code = code if code.kind == "bool" else e.converted(code, "real")
        if code.python and code.kind != "bool":
            code = Code(code.text, code.strength, False, (), 0, "real", True)
        return trailing(e.tensor(code), v.type.rank)

    def properties(self) -> list[Method]:
        return [self._property(p) for p in self.claims]

    def _property(self, p: typed.Property) -> Method:
        e = self.functions.standalone(p.name, False)
        own = {q.name: local_name(q.name) for q in p.quantified if self.model.variable(q.name) is None}
        e.available.update(own)
        e.names |= set(own.values())
        sides = [p.left] + ([p.right] if p.right is not None else [])
        e.count(*sides)
        codes = [e.code(side) if side.type.kind == "bool" else number(e, side, "side") for side in sides]
        value = f"({', '.join(e.tensor(code).text for code in codes)},)"
        e.lines[:0] = [Line((local,), f'held["{name}"]') for name, local in own.items()]
        doc = f"Both sides of the property {p.name}."
        return self.known("property", p.name, "tuple[Tensor, ...]", doc, e, value)

    def known(self, kind: str, name: str, result: str, doc: str, e: Emitter, value: str) -> Method:
        lines = [*self.functions.prologue(e, False), *e.lines, Line((), value)]
        return Method(f"{kind}_{local_name(name)}", "held: Values", result, doc, lines)
