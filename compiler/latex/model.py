"""A whole model: its energy with a row for every term, and what surrounds it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from ebmlang.compiler import typed
from ebmlang.compiler.latex.arrays import needs_entries
from ebmlang.compiler.latex.domains import kind_set, membership, power, set_of
from ebmlang.compiler.latex.expressions import Printer
from ebmlang.compiler.latex.symbols import (
    ALSO,
    NEXT_ROW,
    SUM_SIGN,
    TIMES,
    Symbol,
    label,
    shifted,
    size_latex,
    symbols,
)
from ebmlang.compiler.nets.net import Net
from ebmlang.compiler.sizes import Size
from ebmlang.compiler.typed import Axes, Constraint, Expr, Let, Model, Question, Scan, Term, Variable

WIDEST = 90
"""Sets of given values share a row up to this many characters."""

LONGEST = 3500
"""Characters of one display; MathJax stops at 5,120."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line: what stands left of the relation, the formula, a remark."""

    left: str
    right: str
    remark: str = ""

    def text(self) -> str:
        remark = f" && {self.remark}" if self.remark else ""
        return f"{self.left} & {self.right}{remark}".strip()


def model_latex(model: Model) -> str:
    """Energy, constraints, definitions, givens and questions of a model: one `aligned` environment."""
    return _aligned(_rows(model))


def displays(model: Model) -> str:
    """The same between `$$` for Markdown, in several pieces where MathJax could not hold it in one."""
    pieces: list[list[Row]] = [[]]
    for row in _rows(model):
        if pieces[-1] and sum(len(r.text()) for r in (*pieces[-1], row)) > LONGEST:
            pieces.append([])
        pieces[-1].append(row)
    return "\n\n".join(f"$$\n{_aligned(piece)}\n$$" for piece in pieces)


def _rows(model: Model) -> list[Row]:
    printer = printer_of(model)
    return [
        *_energy_rows(printer, "E = {}", model.terms),
        *_under("\\text{subject to}", [_constraint(printer, c) for c in model.constraints]),
        *_under("\\text{where}", [row for let in model.lets for row in _let(printer, let)]),
        *_under("", [row for solve in _solves(model) for row in _inside(printer, solve)]),
        *_under(
            "\\text{random}", [Row("", _draw(printer, v)) for v in model.variables if v.role == "random"]
        ),
        *_under("\\text{given}", _givens(printer, model)),
        *_under("\\text{nets}", [Row("", _net(printer, net)) for net in model.nets]),
        *_under("\\text{find}", [Row("", text) for text in questions(printer, model)]),
    ]


def energy_latex(model: Model) -> str:
    """The sum of the terms alone."""
    return _aligned(_energy_rows(printer_of(model), "E = {}", model.terms))


def printer_of(model: Model) -> Printer:
    names = symbols(
        [*(v.name for v in model.variables), *(t.name for t in model.lets), *(n.name for n in model.nets)]
    )
    indices = {name for root in _roots(model) for name in _index_names(root)}
    letters = {symbol.at() for symbol in names.values()} | {s.base for s in names.values()}
    return Printer(names, frozenset(letters | indices))


def _roots(model: Model) -> Iterator[Expr]:
    yield from (let.value for let in model.lets)
    marks: tuple[Term | Constraint, ...] = (*model.terms, *model.constraints)
    for mark in marks:
        yield mark.value
        if mark.guard is not None:
            yield mark.guard


def _index_names(root: Expr) -> Iterator[str]:
    for node in typed.walk(root):
        if isinstance(node, typed.Position):
            yield from node.axis.names
        elif isinstance(node, typed.Fold | typed.Tabulate):
            yield from (name for axis in node.over for name in axis.names)
        elif isinstance(node, typed.Scan):
            yield from node.axis.names


def _aligned(rows: Sequence[Row]) -> str:
    body = " \\cr\n".join(f"  {row.text()}" for row in rows)
    return f"\\begin{{aligned}}\n{body}\n\\end{{aligned}}"


def _under(title: str, rows: Sequence[Row]) -> list[Row]:
    """Rows with a title left of the first one."""
    return [Row(f"{title} \\quad" if k == 0 and title else "", r.right, r.remark) for k, r in enumerate(rows)]


# --- terms --------------------------------------------------------------------------------------


def _energy_rows(printer: Printer, left: str, terms: Iterable[Term]) -> list[Row]:
    rows: list[Row] = []
    for term in terms:
        text = summed(printer, term.value, term.axes, term.guard)
        if rows:
            text = f"- {text[1:].lstrip()}" if text.startswith("-") else f"+ {text}"
            text = f"\\quad {{}} {text}"
        remark = label(f"{term.name} (of the batch)" if term.batch else term.name)
        rows.append(Row("" if rows else left, text, remark))
    return rows


def summed(printer: Printer, value: Expr, axes: Axes, guard: Expr | None) -> str:
    """The sum over the plates of a term."""
    if not axes:
        text = printer.value(value)
        return f"\\mathbb{{1}}[{printer.condition(guard).text}] {text}" if guard is not None else text
    return printer.summand(printer.big(SUM_SIGN, axes, guard), value)


def _constraint(printer: Printer, c: Constraint) -> Row:
    relation = "\\le" if c.relation == "<=" else "="
    match c.value:
        case typed.Apply(function="sub", arguments=(left, right)):
            text = f"{printer.value(left)} {relation} {printer.value(right)}"
        case _:
            text = f"{printer.value(c.value)} {relation} 0"
    where = [*map(printer.bounds, c.axes)]
    where += [printer.condition(c.guard).text] if c.guard is not None else []
    return Row("", text + (f" \\quad ({ALSO.join(where)})" if where else ""), label(c.name))


# --- definitions --------------------------------------------------------------------------------


def _let(printer: Printer, let: Let) -> Iterator[Row]:
    symbol = printer.names[let.name]
    match let.value:
        case Scan():
            yield from _scan(printer, symbol, let.value)
        case typed.Tabulate(body=body, over=over):
            indices = [name for axis in over for name in _array_index(printer, axis)]
            bounds = ALSO.join(map(printer.bounds, over))
            text, at = printer.entry(body) if needs_entries(body) else (printer.value(body), ())
            yield Row("", f"{symbol.at((*indices, *at))} = {text} \\quad ({bounds})")
        case value:
            text, at = printer.entry(value) if needs_entries(value) else (printer.value(value), ())
            yield Row("", f"{symbol.at(at)} = {text}")


def _array_index(printer: Printer, axis: typed.Axis) -> tuple[str, ...]:
    """The place in the array of a position of its axis: counted from 0."""
    names = printer.axis_names(axis)
    return (shifted(names[0], -axis.start),) if axis.rows is None and axis.guard is None else names


def _scan(printer: Printer, symbol: Symbol, scan: Scan) -> Iterator[Row]:
    state = scan.state
    stop = scan.axis.start + (scan.axis.size or Size.of(0))
    before = [":"] * state.dim
    first = stop + state.offset if scan.backward else Size.of(0)
    for k, start in enumerate(state.starts):
        yield Row("", f"{symbol.at((*before, size_latex(first + k)))} = {printer.value(start)}")
    cell = shifted(printer.axis_names(scan.axis)[0], Size.of(state.offset))
    bounds = printer.bounds(scan.axis)
    yield Row("", f"{symbol.at((*before, cell))} = {printer.value(state.body)} \\quad ({bounds})")


def _solves(model: Model) -> tuple[typed.Nested, ...]:
    found: dict[int, typed.Nested] = {}
    for root in _roots(model):
        for node in typed.walk(root):
            if isinstance(node, typed.Solve):
                found.setdefault(id(node.nested), node.nested)
    return tuple(found.values())


def _inside(printer: Printer, nested: typed.Nested) -> Iterator[Row]:
    """The question that a solved part asks, in the names of the part."""
    inner = printer_of(nested.model)
    sought = [v for v in nested.model.variables if v.name in nested.sought]
    part = symbols([nested.part])[nested.part].at()
    given = ", ".join(inner.names[name].at() for name in nested.given)
    left = ", ".join(f"{inner.names[v.name].base}^{{\\ast}}_{{{part}}}" for v in sought)
    head = f"{left}({given}) = \\underset{{{_below(inner, sought)}}}{{\\mathrm{{argmin}}}} \\ "
    for k, row in enumerate(_energy_rows(inner, "", nested.model.terms)):
        yield Row("", (head if k == 0 else "\\quad ") + row.right, row.remark)
    for let in nested.model.lets:
        yield from _let(inner, let)


# --- values and questions -----------------------------------------------------------------------


def _givens(printer: Printer, model: Model) -> list[Row]:
    """Observed variables and parameters with their sets, several in a row."""
    asked = next((q for q in model.questions if q.verb == "infer"), None)
    sought = set(asked.targets) if asked is not None else set()
    shown = [v for v in model.variables if v.role in ("observed", "param") and v.name not in sought]
    texts = []
    for where, names in _by_set(printer, shown).items():
        gaps = "\\ \\text{(with gaps)}" if any(v.missing for v in names) else ""
        texts.append(f"{', '.join(printer.names[v.name].at() for v in names)} \\in {where.strip()}{gaps}")
    lines: list[str] = []
    for text in texts:
        if lines and len(lines[-1]) + len(text) < WIDEST:
            lines[-1] += f",\\quad {text}"
        else:
            lines.append(text)
    return [Row("", line) for line in lines]


def _net(printer: Printer, net: Net) -> str:
    """`f : R^n \\to R^d`, and what it is made by."""
    domain, codomain = (
        TIMES.join(power(kind_set(t), t.shape) for t in side)
        for side in (net.signature.inputs, net.signature.outputs)
    )
    made = net.build.constructor.replace("_", " ") if net.build is not None else "given from outside"
    made = f"average of {net.source}" if net.source else made
    return f"{printer.names[net.name].at()} : {domain} \\to {codomain} \\quad \\text{{({made})}}"


_DISTRIBUTIONS = {
    "normal": "\\mathcal{N}",
    "uniform": "\\mathcal{U}",
    "bernoulli": "\\mathcal{B}",
    "categorical": "\\mathrm{Cat}",
}


def _draw(printer: Printer, v: Variable) -> str:
    name = printer.names[v.name].at()
    if isinstance(v.init, typed.Apply) and v.init.function in _DISTRIBUTIONS:
        given = [printer.value(a) for a in v.init.arguments]
        if v.init.function in ("normal", "uniform") and not given:
            given = ["0", "1"]
        if v.init.function == "normal" and len(given) == 2 and given[1] != "1":
            plain = given[1].replace(".", "").isalnum()
            given[1] = f"{given[1]}^2" if plain else f"({given[1]})^2"
        return f"{name} \\sim {_DISTRIBUTIONS[v.init.function]}({', '.join(given)})"
    return f"{name} \\sim {printer.value(v.init)}" if v.init is not None else membership(printer, v)


def questions(printer: Printer, model: Model) -> Iterator[str]:
    """What each line of the file asks; a file without lines asks for its unknowns."""
    for question in model.questions:
        text = _question(printer, model, question)
        if text:
            yield text
    if not model.questions:
        unknown = [v for v in model.variables if v.role == "latent"]
        unknown = unknown or [v for v in model.variables if v.missing]
        if unknown:
            yield f"\\min_{{{_below(printer, unknown)}}} \\ E"


def _question(printer: Printer, model: Model, question: Question) -> str:
    chosen = [v for v in model.variables if v.name in question.targets]
    energy = "E" if question.of is None else f"\\left( {printer.value(question.of)} \\right)"
    match question.verb:
        case "infer":
            return f"\\min_{{{_below(printer, chosen)}}} \\ {energy}"
        case "marginalize":
            return _free_energy(printer, chosen, energy, question.beta)
        case "train":
            return _training(printer, model, question, chosen, energy)
    return ""


def _free_energy(printer: Printer, summed_out: Sequence[Variable], energy: str, beta: Expr | None) -> str:
    whole = [v for v in summed_out if v.type.kind == "real"]
    cases = [v for v in summed_out if v.type.kind != "real"]
    sums = f"\\sum_{{{_below(printer, cases)}}} " if cases else ""
    measure = " ".join(f"d{printer.names[v.name].at()}" for v in whole)
    integral = f"\\int_{{{_below(printer, whole)}}} " if whole else ""
    heat = printer.value(beta) if beta is not None else ""
    factor = f"\\frac{{1}}{{{heat}}} " if heat else ""
    power = f"{heat} {energy}" if heat else energy
    return f"-{factor}\\log {sums}{integral}e^{{-{power}}} {measure}".rstrip()


def _training(
    printer: Printer, model: Model, question: Question, chosen: Sequence[Variable], energy: str
) -> str:
    trained = list(chosen)
    if not question.targets:
        trained = [v for v in model.variables if v.role == "param"]
    held = {name for q in model.questions if q.verb == "train" for name in q.given}
    out = {name for q in model.questions if q.verb == "marginalize" for name in q.targets}
    inner = [v for v in model.variables if v.role == "latent" and v.name not in held | out]
    if question.of is None and any(t.kind == "cost" for t in model.terms):
        energy = "(E - \\text{costs})"
    if out:
        summed_out = [v for v in model.variables if v.name in out]
        energy = f"\\left( {_free_energy(printer, summed_out, energy, None)} \\right)"
    minimum = f"\\min_{{{_below(printer, inner)}}} \\ " if inner else ""
    nets = [n for n in model.nets if not n.source and (not question.targets or n.name in question.targets)]
    least = f"\\min_{{{_below(printer, trained, nets)}}} \\ " if trained or nets else ""
    return f"{least}\\frac{{1}}{{N}} \\sum_{{\\text{{data}}}} {minimum}{energy}"


def _below(printer: Printer, variables: Sequence[Variable], nets: Sequence[Net] = ()) -> str:
    """What stands below a minimum: each unknown with its set, and nets by name."""
    texts: list[str] = []
    for where, members in _by_set(printer, variables).items():
        names = [printer.names[v.name].at() for v in members]
        rows = [", ".join(names[k : k + 4]) for k in range(0, len(names), 4)]
        texts += [*(f"{row}," for row in rows[:-1]), f"{rows[-1]} \\in {where}"]
    texts += [", ".join(printer.names[net.name].at() for net in nets)] if nets else []
    return texts[0] if len(texts) == 1 else f"\\substack{{{NEXT_ROW.join(texts)}}}"


def _by_set(printer: Printer, variables: Sequence[Variable]) -> dict[str, list[Variable]]:
    """Variables by the set that they lie in; one with gaps stands alone."""
    sets: dict[str, list[Variable]] = {}
    for v in variables:
        where = set_of(printer, v.type, v.domain, printer.names[v.name].at())
        sets.setdefault(f"{where} " if v.missing else where, []).append(v)
    return sets
