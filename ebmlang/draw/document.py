"""A picture as JSON, for other programs.

Format `ebmlang.graph`, version 1. Names are never dropped and never change their meaning within a
version; new ones may come.

    format, version, model, signature, doc
    view        "lifted" (plates as frames) or "unrolled" (one node per entry)
    sizes       {name: integer}: what an unrolled view was made with; empty otherwise
    plates      [{id, label, indices, guard, parent}]: parent is the id of the plate around, or null
    parts       [{id, name, model, parent}]: copies of other models; parent is the plate or part around
    nodes       [{id, kind, label, plate, part, doc, ...}]; plate and part are those that it stands in, by id;
                kind is
                "variable": role, type, dims, domain, per_example, missing
                "let":      dims, formula
                "constraint": relation, formula
                "factor":   term, batch, formula, energy (a number, or null before inference)
    edges       [{reader, read, subscripts, rows}]: a factor, a constraint or a let reads a
                variable or a let;
                rows is true for the list that the plate of the reader runs over
"""

from __future__ import annotations

import json
import math
from typing import Any

from ebmlang.draw.picture import (
    ConstraintNode,
    Edge,
    FactorNode,
    Frame,
    LetNode,
    NetNode,
    Node,
    Picture,
    VariableNode,
)

FORMAT, VERSION = "ebmlang.graph", 1


def json_text(picture: Picture) -> str:
    return json.dumps(document(picture), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def document(picture: Picture) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "version": VERSION,
        "model": picture.model,
        "signature": picture.signature,
        "doc": picture.doc,
        "view": picture.view,
        "sizes": dict(picture.sizes),
        "plates": [_plate(f, _inside(picture, f.parent)[0]) for f in picture.frames if not f.part],
        "parts": [_part(f) for f in picture.frames if f.part],
        "nodes": [_node(n, *_inside(picture, n.frame)) for n in picture.nodes],
        "edges": [_edge(e) for e in picture.edges],
    }


def _inside(picture: Picture, frame: str | None) -> tuple[str | None, str | None]:
    """The innermost plate and the innermost part around a place."""
    known = {f.id: f for f in picture.frames}
    plate: str | None = None
    part: str | None = None
    while frame is not None and (plate is None or part is None):
        found = known[frame]
        if found.part:
            part = part or found.id
        else:
            plate = plate or found.id
        frame = found.parent
    return plate, part


def _plate(f: Frame, around: str | None) -> dict[str, Any]:
    return {"id": f.id, "label": f.label, "indices": list(f.indices), "guard": f.guard, "parent": around}


def _part(f: Frame) -> dict[str, Any]:
    return {"id": f.id, "name": f.part, "model": f.label.partition(" : ")[2], "parent": f.parent}


def _node(n: Node, plate: str | None, part: str | None) -> dict[str, Any]:
    shared = {"id": n.id, "label": n.label, "plate": plate, "part": part, "doc": n.doc}
    match n:
        case VariableNode():
            return {
                **shared, "kind": "variable", "role": n.role, "type": n.type, "dims": n.dims,
                "domain": n.domain, "per_example": n.per_example, "missing": n.missing,
            }  # fmt: skip
        case NetNode():
            return {**shared, "kind": "net", "type": n.type}
        case LetNode():
            return {**shared, "kind": "let", "dims": n.dims, "formula": n.formula}
        case ConstraintNode():
            return {**shared, "kind": "constraint", "relation": n.relation, "formula": n.formula}
        case FactorNode():
            energy = n.energy if n.energy is not None and math.isfinite(n.energy) else None
            return {
                **shared, "kind": "factor", "term": n.term, "batch": n.batch,
                "formula": n.formula, "energy": energy,
            }  # fmt: skip


def _edge(e: Edge) -> dict[str, Any]:
    return {"reader": e.reader, "read": e.read, "subscripts": list(e.subscripts), "rows": e.rows}
