"""The drawing of a factor graph with its plates: one node per variable, let and term."""

from __future__ import annotations

from collections.abc import Mapping

from ebmlang.compiler import notation, typed
from ebmlang.compiler.graph import FactorGraph
from ebmlang.compiler.lifting import over_arrays
from ebmlang.compiler.nets.net import Net
from ebmlang.compiler.pipeline import room_for_passes
from ebmlang.compiler.sizes import Size
from ebmlang.compiler.typed import Constraint, Let, Pick, Scan, Tabulate, Term, Variable
from ebmlang.draw.frames import Frames, Place, frames_of, place
from ebmlang.draw.parts import plates_of_parts, with_parts
from ebmlang.draw.picture import (
    ConstraintNode,
    Edge,
    FactorNode,
    LetNode,
    NetNode,
    Node,
    Picture,
    VariableNode,
)
from ebmlang.draw.uses import Use, picked_text, subscripts, uses

NOWHERE = place((), None)


def lifted(graph: FactorGraph) -> Picture:
    """The picture of a model with plates as frames; hyperparameters are not drawn."""
    model = graph.model
    drawn = {v.name for v in model.variables if v.role != "hyper"} | set(graph.lets)
    drawn |= {net.name for net in model.nets}
    marks: tuple[Term | Constraint, ...] = (*model.terms, *model.constraints)
    readers = [*map(_reading_let, model.lets), *map(_reading_term, marks)]
    readers = [(name, where, tuple(u for u in found if u.name in drawn)) for name, where, found in readers]
    frames = frames_of([*(where for _, where, _ in readers), *plates_of_parts(model)])
    nodes: list[Node] = [
        _variable(v, frames, [(w, u.pick) for _, w, us in readers for u in us if u.name == v.name and u.pick])
        for v in model.variables
        if v.role != "hyper"
    ]
    nodes += [_net(net) for net in model.nets]
    nodes += [_let(let, frames) for let in model.lets]
    nodes += [_factor(term, frames) for term in model.terms]
    nodes += [_constraint(constraint, frames) for constraint in model.constraints]
    homes = {n.id: n for n in nodes}
    edges = tuple(
        e for reader, where, found in readers for e in _edges(reader, frames.path(where), found, homes)
    )
    picture = Picture(
        model.name, signature(model), model.doc, "lifted", (), frames.frames, tuple(nodes), edges
    )
    return with_parts(picture, model.parts)


def signature(model: typed.Model, known: Mapping[str, int | float | bool] | None = None) -> str:
    """The model with its hyperparameters, their values or their defaults: `sparse_coding(n, k = 128)`.

    Those of its parts only stand there with a value that was set.
    """
    shown = []
    for v in model.hypers:
        if "." in v.name and v.name not in (known or ()):
            continue
        if known is not None and v.name in known:
            value = known[v.name]
            shown.append(
                f"{v.name} = {value:g}" if isinstance(value, float) else f"{v.name} = {str(value).lower()}"
            )
        elif "." not in v.name or v.init is None:
            shown.append(v.name if v.init is None else f"{v.name} = {notation.text(v.init)}")
    return f"{model.name}({', '.join(shown)})" if shown else model.name


def formula(value: typed.Expr) -> str:
    """The expression in the language, however deep it is."""
    with room_for_passes():
        return notation.text(value)


def dims(shape: tuple[Size, ...]) -> str:
    return " × ".join(map(str, shape))


def body_of(let: Let) -> tuple[typed.Expr, Place]:
    """What one cell of a let is computed from, and the plates that its cells fill."""
    if isinstance(let.value, Tabulate):
        return let.value.body, place(let.value.over, None)
    if isinstance(let.value, Scan):
        body = over_arrays(let.value, let.value.state.body)
        return body, place((let.value.axis,), None)
    return let.value, NOWHERE


def uses_of_term(term: Term | Constraint) -> tuple[Use, ...]:
    parts = (term.value,) if term.guard is None else (term.value, term.guard)
    return uses(*parts, axes=term.axes)


def _reading_let(let: Let) -> tuple[str, Place, tuple[Use, ...]]:
    body, where = body_of(let)
    starts = let.value.state.starts if isinstance(let.value, Scan) else ()
    return let.name, where, uses(*starts, body, axes=where.axes)


def _reading_term(term: Term | Constraint) -> tuple[str, Place, tuple[Use, ...]]:
    return term.name, place(term.axes, term.guard), uses_of_term(term)


def _variable(v: Variable, frames: Frames, picks: list[tuple[Place, Pick]]) -> VariableNode:
    inside = frames.around(v.type.shape, picks)
    frame, indices = inside if inside is not None else (None, ())
    return VariableNode(
        v.name, picked_text(v.name, indices), dims(v.type.shape[len(indices) :]), frame,
        v.role, str(v.type), v.domain.name, v.per_example, v.missing, v.doc,
    )  # fmt: skip


def _net(net: Net) -> NetNode:
    label = picked_text(net.name, tuple(map(str, net.at)))
    return NetNode(net.name, label, None, str(net), net.doc)


def _let(let: Let, frames: Frames) -> LetNode:
    body, where = body_of(let)
    if isinstance(let.value, Scan):
        state = let.value.state
        label = notation.cell_text(let.name, let.value.axis, state.offset, state.dim)
    else:
        label = picked_text(let.name, tuple(a.names[0] for a in where.axes))
    return LetNode(let.name, label, dims(body.type.shape), frames.of(where), let.doc, formula(body))


def _factor(term: Term, frames: Frames) -> FactorNode:
    where = place(term.axes, term.guard)
    return FactorNode(
        term.name, term.name, frames.of(where), term.kind, term.batch, formula(term.value), term.doc
    )


def _constraint(constraint: Constraint, frames: Frames) -> ConstraintNode:
    where = place(constraint.axes, constraint.guard)
    return ConstraintNode(
        constraint.name,
        constraint.name,
        frames.of(where),
        constraint.relation,
        constraint.written,
        constraint.doc,
    )


def _edges(reader: str, path: tuple[str, ...], found: tuple[Use, ...], homes: dict[str, Node]) -> list[Edge]:
    """One edge per name that is read. A subscript that the frame says already is left out."""
    edges: list[Edge] = []
    for name in dict.fromkeys(u.name for u in found):
        own = [u for u in found if u.name == name]
        picks = dict.fromkeys(subscripts(u.pick) for u in own if u.pick is not None)
        texts = tuple(picked_text(name, parts) for parts in picks if parts)
        whole = () in picks or any(u.pick is None and not u.rows for u in own)
        if whole and texts:
            texts = (name, *texts)
        home = homes[name]
        if isinstance(home, NetNode):
            texts = ()
        if texts == (home.label,) and home.frame in path:
            texts = ()
        edges.append(Edge(name, reader, texts, not whole and not texts and any(u.rows for u in own)))
    return edges
