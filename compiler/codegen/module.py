"""Plan to a PyTorch module: one class with readable methods, stable to the byte."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ebmlang.compiler import typed
from ebmlang.compiler.choose import Plan
from ebmlang.compiler.codegen.expressions import Emitter
from ebmlang.compiler.codegen.functions import Functions, local_name, simplified
from ebmlang.compiler.codegen.layout import Code, Layout
from ebmlang.compiler.codegen.specs import header, specs
from ebmlang.compiler.structure.block import Summand
from ebmlang.compiler.typed import Expr, Level

INDENT = "    "


@dataclass(frozen=True, slots=True)
class Generated:
    """The text of a module and the name of its class."""

    text: str
    class_name: str


def generate(plan: Plan) -> Generated:
    """The module that evaluates a model for one question."""
    return _Writer(plan).module()


class _Writer:
    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.block = plan.block
        self.graph = plan.block.graph
        self.model = plan.block.graph.model
        self.functions = Functions(self.graph, plan.block.depends)
        self.methods: list[str] = []

    def module(self) -> Generated:
        name = class_name(self.model.name)
        summands = [Summand(f.name, f.value, f.axes, f.mask, f) for f in self.graph.factors]
        self.hoist_everything(summands)
        bodies = [self.terms(summands), self.energy(), *self.split(), self.factors(summands), self.lets()]
        bodies = [self.prepare(), *bodies, *self.starts(), *self.domains(), *self.properties()]
        fields = [
            f"{INDENT}{local_name(v.name)}: {'int' if v.type.kind == 'int' else 'bool' if v.type.kind == 'bool' else 'float'}"
            for v in self.model.hypers
            if v.type.scalar
        ]
        fields += [
            f"{INDENT}batch: int",
            f"{INDENT}dtype: torch.dtype",
            f"{INDENT}device: torch.device",
            f"{INDENT}draw: Draws",
        ]
        doc = self.model.doc.replace("\\", "").replace('"""', "'''") or f"The model `{self.model.name}`."
        lines = [
            header(self.plan),
            specs(self.plan, self.functions.row_values()),
            "",
            "",
            "@dataclass(frozen=True)",
            f"class {name}(GeneratedModel):",
            f'{INDENT}"""{_indented(doc)}"""',
            "",
            *fields,
            "",
            "\n\n".join(b for b in bodies if b),
            "",
            "",
            f"MODEL = {name}",
            "",
            'if __name__ == "__main__":',
            f"{INDENT}from ebmlang.commands.standalone import run_file",
            "",
            f"{INDENT}raise SystemExit(run_file(__file__))",
            "",
        ]
        return Generated("\n".join(lines), name)

    # --- what does not depend on the unknowns ---

    def hoist_everything(self, summands: list[Summand]) -> None:
        roots: list[tuple[str, Expr]] = []
        for s in (*summands, *self.block.summands):
            roots.append((s.name, simplified(s.total)))
        split = self.plan.split
        if split is not None:
            roots += [("weights", a.weight) for a in split.absolute]
            roots += [("smooth", simplified(part)) for part in split.smooth]
        roots += [(let.name, let.value) for let in self.model.lets]
        self.functions.hoist(roots)

    def prepare(self) -> str:
        f = self.functions
        e = f.prepare
        names = [*f.results, *dict.fromkeys(n for n in e.index_names.values() if n not in f.results)]
        lines = [*e.lines]
        if names:
            inside = ", ".join(f'"{n}": {n}' for n in names)
            lines.append(f"return {{{inside}}}" if len(inside) < 90 else _dict_return(names))
        else:
            lines.append("return {}")
        doc = f"Values that do not depend on {self.sought_text()}; computed once."
        return self.define("prepare", "held: Values", "dict[str, Tensor]", doc, f.prologue(e), lines)

    def sought_text(self) -> str:
        return ", ".join(self.block.query.sought) or "anything sought"

    # --- energies ---

    def terms(self, summands: list[Summand]) -> str:
        f, e = self.functions, self.functions.method()
        totals = [(s.name, simplified(s.total)) for s in summands]
        e.count(*(value for _, value in totals))
        lines, entries = [], []
        for name, value in totals:
            local = self.scalar(e, name, value)
            entries.append(f'"{name}": {local}')
        lines = [*e.lines, _dict_literal(entries)]
        doc = "Every energy term, summed over its plates: [B], or [] when it is one number for all rows."
        return self.define("terms", _ARGS, "dict[str, Tensor]", doc, f.prologue(e), lines)

    def scalar(self, e: Emitter, name: str, value: Expr) -> str:
        """A line for a scalar per row; the local name of its value."""
        code = e.tensor(e.emit(value, local_name(name)))
        local = local_name(name)
        if code.text == local:
            return local
        return e.assign(local if local not in e.names else f"{local}_energy", code, ()).text

    def energy(self) -> str:
        f, e = self.functions, self.functions.method()
        doc = f"The energy that is lowered over {self.sought_text()}: [B]."
        if self.block.joint is not None:
            doc = f"The energy that is lowered over {self.sought_text()}, of all examples together: []."
        if self.block.query.of is None:
            per_row = {s.name: s.value.level is Level.EXAMPLE or _masked(s) for s in self.block.summands}
            joint = self.block.joint is not None
            parts = [
                f'energies["{n}"]' + (".sum()" if joint and row else "") for n, row in per_row.items()
            ]
            lines = ["energies = self.terms(unknown, held)", f"return {' + '.join(parts)}"]
            return self.define("energy", _ARGS, "Tensor", doc, [], lines)
        value = self.block.query.of
        e.count(value)
        code = e.tensor(e.emit(value, "objective"))
        joint_sum = ".sum()" if self.block.joint is not None and code.batch else ""
        lines = [*e.lines, f"return {code.at(9) if joint_sum else code.text}{joint_sum}"]
        return self.define("energy", _ARGS, "Tensor", doc, f.prologue(e), lines)

    def split(self) -> list[str]:
        """The smooth part and the weights of absolute values, where the plan works on them."""
        split = self.plan.split
        if split is None:
            return []
        f, e = self.functions, self.functions.method()
        parts = [simplified(p) for p in split.smooth]
        e.count(*parts)
        joint = self.block.joint is not None
        texts = []
        for i, part in enumerate(parts):
            code = e.tensor(e.emit(part, f"smooth_{i}" if i else "smooth"))
            texts.append(f"{code.at(9)}.sum()" if joint and code.batch else code.at(5))
        first = next(iter(self.block.query.sought))
        total = " + ".join(texts) or f'unknown["{first}"].flatten(1).sum(-1) * 0.0'
        doc = "The energy without its absolute values: [B]."
        smooth = self.define("smooth", _ARGS, "Tensor", doc, f.prologue(e), [*e.lines, f"return {total}"])
        return [smooth, self.absolute()]

    def absolute(self) -> str:
        split = self.plan.split
        assert split is not None
        f, e = self.functions, self.functions.method()
        weights: dict[str, list[str]] = {}
        shapes = {v.name: v.type.shape for v in self.block.sought}
        for part in split.absolute:
            code = e.tensor(e.emit(part.weight, "weight"))
            rank = len(shapes[part.variable])
            if code.batch and code.rank == 0 and rank:
                code = Code(f"{code.at(9)}[(...,) + (None,) * {rank}]", 9, True, (), rank, "real")
            weights.setdefault(part.variable, []).append(code.at(5))
        entries = [f'"{name}": {" + ".join(texts)}' for name, texts in weights.items()]
        doc = "Weights of |x| per sought variable, entry by entry."
        return self.define("absolute", "held: Values", "dict[str, Tensor]", doc, f.prologue(e), [*e.lines, _dict_literal(entries)])

    def factors(self, summands: list[Summand]) -> str:
        """Energies of every position of a plate."""
        plated = [s for s in summands if s.axes]
        if not plated:
            return ""
        f, e = self.functions, self.functions.method()
        e.count(*(s.value for s in plated))
        entries = []
        for s in plated:
            batch = s.value.level is Level.EXAMPLE or _masked(s)
            if s.mask is not None:
                e.clamps += 1
            code = e.materialize(s.value, Layout(s.value.level is Level.EXAMPLE, s.axes, 0))
            if s.mask is not None:
                mask = e.emit(s.mask)
                e.clamps -= 1
                from ebmlang.compiler.codegen.layout import align

                where = Layout(batch, s.axes, 0)
                code = Code(f"torch.where({align(mask, where)}, {align(code, where)}, 0.0)", 9, batch, s.axes, 0, "real")
            name = e.assign(local_name(s.name), code, ()).text
            entries.append(f'"{s.name}": {name}')
        doc = "Energies of plated terms at every position: [B, plate sizes...]."
        return self.define("factors", _ARGS, "dict[str, Tensor]", doc, f.prologue(e), [*e.lines, _dict_literal(entries)])

    def lets(self) -> str:
        if not self.model.lets:
            return ""
        f, e = self.functions, self.functions.method()
        values = [typed.Read(x.value.type, (), x.value.level, x.value.coupled, x.span, x.name) for x in self.model.lets]
        e.count(*values)
        entries = [
            f'"{value.name}": {e.tensor(e.emit(value, value.name)).text}' for value in values
        ]
        doc = "The named values of the model."
        return self.define("lets", _ARGS, "dict[str, Tensor]", doc, f.prologue(e), [*e.lines, _dict_literal(entries)])

    # --- starts, domains, properties: functions of values that are known ---

    def starts(self) -> list[str]:
        methods = []
        for v in self.model.variables:
            if v.init is None:
                continue
            e = self.functions.standalone(v.name, v.per_example)
            e.count(v.init)
            code = e.emit(v.init, local_name(v.name))
            doc = {
                "hyper": f"The default of {v.name}.",
                "observed": f"The value of {v.name} where none is given.",
                "random": f"A draw of {v.name}.",
            }.get(v.role, f"Where the search for {v.name} begins.")
            result = code.text if code.python else e.tensor(code).text
            methods.append(
                self.define(f"start_{v.name}", "held: Values", "Tensor | float", doc, self.functions.prologue(e, False), [*e.lines, f"return {result}"])
            )
        return methods

    def domains(self) -> list[str]:
        methods = []
        for v in self.model.variables:
            domain = v.domain
            values = [*domain.arguments, *((domain.where,) if domain.where is not None else ())]
            if not values:
                continue
            e = self.functions.standalone(v.name, v.per_example)
            e.count(*values)
            parts = []
            for value in values:
                code = e.tensor(e.emit(value, local_name(v.name)))
                rank = v.type.rank
                if code.batch and code.rank == 0 and rank:
                    code = Code(f"{code.at(9)}[(...,) + (None,) * {rank}]", 9, True, (), rank, code.kind)
                parts.append(code.text)
            doc = f"Bounds of {v.name}." if domain.where is None else f"Entries of {v.name} that may differ from 0."
            methods.append(
                self.define(f"domain_{v.name}", "held: Values", "tuple[Tensor, ...]", doc, self.functions.prologue(e, False), [*e.lines, f"return ({', '.join(parts)},)"])
            )
        return methods

    def properties(self) -> list[str]:
        methods = []
        for p in self.model.properties:
            e = self._property_emitter(p)
            values = [p.left] + ([p.right] if p.right is not None else [])
            e.count(*values)
            texts = [e.tensor(e.emit(value, "side")).text for value in values]
            lines = [f"{local_name(q.name)} = held[\"{q.name}\"]" for q in p.quantified if self.model.variable(q.name) is None]
            doc = f"Both sides of the property {p.name}."
            methods.append(
                self.define(f"property_{p.name}", "held: Values", "tuple[Tensor, ...]", doc, self.functions.prologue(e, False), [*lines, *e.lines, f"return ({', '.join(texts)},)"])
            )
        return methods

    def _property_emitter(self, p: typed.Property) -> Emitter:
        e = self.functions.standalone(p.name, False)
        for q in p.quantified:
            e.available.setdefault(q.name, local_name(q.name))
        return e

    # --- layout of a method ---

    def define(
        self, name: str, arguments: str, result: str, doc: str, prologue: list[str], lines: list[str]
    ) -> str:
        text = "\n".join(lines)
        prologue = [p for p in prologue if re.search(rf"\b{re.escape(p.split(' = ')[0])}\b", text)]
        body = "\n".join(f"{INDENT * 2}{line}".rstrip() for part in (*prologue, *lines) for line in part.split("\n"))
        return f'{INDENT}def {name}(self, {arguments}) -> {result}:\n{INDENT * 2}"""{doc}"""\n{body}'


_ARGS = "unknown: Values, held: Values"


def _masked(s: Summand) -> bool:
    return s.mask is not None and s.mask.level is Level.EXAMPLE


def _dict_literal(entries: list[str]) -> str:
    inside = ", ".join(entries)
    if len(inside) < 90:
        return f"return {{{inside}}}"
    body = "".join(f"\n{INDENT}{entry}," for entry in entries)
    return f"return {{{body}\n}}"


def _dict_return(names: list[str]) -> str:
    return _dict_literal([f'"{n}": {n}' for n in names])


def _indented(doc: str) -> str:
    lines = doc.split("\n")
    return lines[0] if len(lines) == 1 else "\n".join([lines[0], *(f"{INDENT}{x}" for x in lines[1:]), INDENT])


def class_name(name: str) -> str:
    """`sparse_coding` as `SparseCoding`."""
    camel = "".join(part[:1].upper() + part[1:] for part in name.split("_") if part)
    return camel if camel.isidentifier() and camel not in ("GeneratedModel", "Draws", "Values") else f"Model{camel}"
