"""The text of a checked model: what `show typed` and `show names` print, and golden tests compare."""

from __future__ import annotations

from collections.abc import Iterator

from ebmlang.compiler import notation, typed
from ebmlang.compiler.domains import Domain
from ebmlang.compiler.nets.net import Net
from ebmlang.compiler.optimisers import optimiser_text
from ebmlang.compiler.typed import Axes, Expr, Level

_REACH = {Level.CONSTANT: "constant", Level.SHARED: "one for all examples", Level.EXAMPLE: "one per example"}


def dump_model(model: typed.Model) -> str:
    """Everything that the check found out, in the order of the text; stable for the same input."""
    parts = [f"model {model.name}"]
    sections = (
        ("variables", [_variable(v) for v in model.variables]),
        ("nets", [_net(n) for n in model.nets]),
        ("lets", [_let(let) for let in model.lets]),
        ("terms", [_term(t) for t in model.terms]),
        ("constraints", [_constraint(c) for c in model.constraints]),
        ("states", [_state(model, name) for name in model.programme.states]),
        ("stages", [f"{s.name} for {s.steps} steps" for s in model.programme.stages]),
        ("questions", [_question(q) for q in model.questions]),
        ("properties", [_property(p) for p in model.properties]),
        ("requirements", [f"{r.size} >= 0, else {r.reason}" for r in model.requirements]),
    )
    for title, lines in sections:
        if lines:
            parts.append(f"{title}\n" + "\n".join(f"  {line}" for line in lines))
    return "\n\n".join(parts) + "\n"


def dump_names(model: typed.Model) -> str:
    """Every name of the model with what it stands for, one a line."""
    rows: list[tuple[str, str, str]] = []
    rows.extend((v.name, v.role, str(v.type)) for v in model.variables)
    rows.extend((n.name, "extern net" if n.extern else "net", str(n.signature)) for n in model.nets)
    rows.extend((let.name, "let", str(let.value.type)) for let in model.lets)
    for t in model.terms:
        shape = f" over {_axes(t.axes)}" if t.axes else ""
        rows.append((t.name, f"batch {t.kind}" if t.batch else t.kind, f"{t.value.type}{shape}"))
    for c in model.constraints:
        shape = f" over {_axes(c.axes)}" if c.axes else ""
        rows.append((c.name, "constraint", f"{c.value.type}{shape}"))
    for part in model.parts:
        around = f", once for every index of {part.plates} plates" if part.plates > 1 else ""
        around = ", once for every index of its plate" if part.plates == 1 else around
        rows.append((part.name, part.word, f"{part.model}{around}"))
    rows.extend((q.label, "question", q.text) for q in model.questions if q.label is not None)
    rows.extend((p.name, "property", ", ".join(q.name for q in p.quantified)) for p in model.properties)
    width = max((len(name) for name, _, _ in rows), default=0)
    kind = max((len(what) for _, what, _ in rows), default=0)
    lines = [f"  {name:<{width}}  {what:<{kind}}  {found}".rstrip() for name, what, found in rows]
    return "\n".join([f"model {model.name}", *lines]) + "\n"


def _variable(v: typed.Variable) -> str:
    domain = f" in {_domain(v.domain)}" if v.domain.written else ""
    missing = " missing" if v.missing else ""
    sign = "~" if v.role == "random" else "="
    init = f" {sign} {notation.text(v.init)}" if v.init is not None else ""
    return f"{v.role} {v.name} : {v.type}{domain}{missing}{init}    {_REACH[v.level]}"


def _domain(domain: Domain) -> str:
    arguments = ", ".join(notation.text(a) for a in domain.arguments)
    shown = domain.name
    if domain.name == "interval":
        shown = f"[{arguments}]"
    elif arguments:
        shown = f"{domain.name}({arguments})"
    return shown + (f" where {notation.text(domain.where)}" if domain.where is not None else "")


def _net(net: Net) -> str:
    return f"{net.name}{f'[{shown}]' if (shown := ', '.join(map(str, net.at))) else ''} : {net}"


def _let(let: typed.Let) -> str:
    if isinstance(let.value, typed.Scan):
        steps = "".join(f"\n    {line}" for line in notation.scan_lines(let.value, (let.value.state,)))
        return f"{let.name} : {let.value.type}    {_reach(let.value)}{steps}"
    return f"{let.name} : {let.value.type} = {notation.text(let.value)}    {_reach(let.value)}"


def _term(t: typed.Term) -> str:
    guard = f" if {notation.text(t.guard)}" if t.guard is not None else ""
    where = f"for {_axes(t.axes)}{guard} " if t.axes else ""
    kind = f"batch {t.kind}" if t.batch else t.kind
    return f"{where}{kind} {t.name} : {t.value.type} = {notation.text(t.value)}    {_reach(t.value)}"


def _constraint(c: typed.Constraint) -> str:
    guard = f" if {notation.text(c.guard)}" if c.guard is not None else ""
    where = f"for {_axes(c.axes)}{guard} " if c.axes else ""
    return f"{where}{c.name} : {c.value.type} = {notation.text(c.value)} {c.relation} 0    {_reach(c.value)}"


def _axes(axes: Axes) -> str:
    return ", ".join(map(str, axes))


def _reach(value: Expr) -> str:
    return _REACH[value.level] + (", looks at all examples" if value.coupled else "")


def _question(q: typed.Question) -> str:
    return "; ".join(_question_parts(q))


def _question_parts(q: typed.Question) -> Iterator[str]:
    label = f"{q.label}: " if q.label is not None else ""
    yield f"{label}{q.verb} {', '.join(q.targets)}".rstrip()
    if q.of is not None:
        yield f"of {notation.text(q.of)}"
    if q.given:
        yield f"given {', '.join(q.given)}"
    if q.using is not None:
        options = ", ".join(f"{key} = {value}" for key, value in q.using.options)
        yield f"using {q.using.name}({options})" if options else f"using {q.using.name}"
    if q.optimiser is not None:
        yield f"using {optimiser_text(q.optimiser.name, q.optimiser.options)}"

    turn = q.turn
    if turn.on:
        yield f"on {turn.on}"
    if turn.every is not None:
        yield f"every {turn.every}"
    if turn.repeats is not None:
        yield f"steps = {turn.repeats}"
    if turn.stage:
        yield f"in stage {turn.stage}"


def _state(model: typed.Model, name: str) -> str:
    """What a state becomes after a minibatch."""
    update = next((u for u in model.programme.updates if u.state == name), None)
    each = " per episode" if name in model.programme.episodic else ""
    return f"{name}{each}" + (f" = {notation.text(update.value)}" if update is not None else " stays")


def _property(p: typed.Property) -> str:
    names = ", ".join(
        f"{q.name} : {q.type}" + (f" in {_domain(q.domain)}" if q.domain.written else "")
        for q in p.quantified
    )
    claim = notation.text(p.left)
    if p.right is not None:
        claim = f"{notation.text(p.left, 4)} {p.relation} {notation.text(p.right, 4)}"
    return f"{p.name}: forall {names} {{ {claim} }}" if names else f"{p.name}: {claim}"
