"""What a drawing shows, before anything is laid out: nodes, edges and the frames of plates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

View = Literal["lifted", "unrolled"]


@dataclass(frozen=True, slots=True)
class Frame:
    """A plate, or a part of the model. `label` says what this frame adds to the frame `parent` that it stands
    in. `part` is the name of a part, and empty for a plate."""

    id: str
    label: str
    indices: tuple[str, ...]
    guard: str
    parent: str | None
    part: str = ""


@dataclass(frozen=True, slots=True)
class VariableNode:
    """A variable, or one entry of it. `dims` is the shape that is left, as text."""

    id: str
    label: str
    dims: str
    frame: str | None
    role: str
    type: str
    domain: str
    per_example: bool
    missing: bool
    doc: str


@dataclass(frozen=True, slots=True)
class LetNode:
    """A deterministic value, or one cell of it."""

    id: str
    label: str
    dims: str
    frame: str | None
    doc: str
    formula: str


@dataclass(frozen=True, slots=True)
class NetNode:
    """A net: a function with parameters, read by what calls it. `type` is the rest of its declaration."""

    id: str
    label: str
    frame: str | None
    type: str
    doc: str


@dataclass(frozen=True, slots=True)
class FactorNode:
    """A term of the energy, or the summand of it at one position of its plates."""

    id: str
    label: str
    frame: str | None
    term: str
    batch: bool
    formula: str
    doc: str
    energy: float | None = None


@dataclass(frozen=True, slots=True)
class ConstraintNode:
    """A hard constraint, or its demand at one position of its plates."""

    id: str
    label: str
    frame: str | None
    relation: str
    formula: str
    doc: str


Mark = FactorNode | ConstraintNode
"""What reads variables and is no value itself: a mark with its name beside it."""

Node = VariableNode | NetNode | LetNode | FactorNode | ConstraintNode


@dataclass(frozen=True, slots=True)
class Edge:
    """`reader` reads `read`, with these subscripts; none means the whole value.

    `rows` marks the variable whose rows the plate of the reader runs over.
    """

    read: str
    reader: str
    subscripts: tuple[str, ...] = ()
    rows: bool = False


@dataclass(frozen=True, slots=True)
class Picture:
    """A drawing of one model. `sizes` holds what an unrolled view was made with."""

    model: str
    signature: str
    doc: str
    view: View
    sizes: tuple[tuple[str, int], ...]
    frames: tuple[Frame, ...]
    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
