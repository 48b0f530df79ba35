"""A picture as text for Graphviz: stable, indented, readable."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

from ebmlang.draw import look
from ebmlang.draw.order import downward
from ebmlang.draw.picture import (
    ConstraintNode,
    Edge,
    FactorNode,
    Frame,
    LetNode,
    Mark,
    NetNode,
    Node,
    Picture,
    VariableNode,
)
from ebmlang.draw.positions import Point, positions, split

MOST_PARALLEL = 2
"""More subscripts than this share one edge, with their texts below each other."""


LONGEST_IN_CIRCLE = 7
"""Letters; a longer name makes an ellipse."""

MOST_NAMED = 24
"""Squares that carry their indices; in a larger grid the place says them."""

MOST_BESIDE = 60
"""Squares that carry their names in a graph without layers; in a larger one tooltips say them."""

LONGEST_TOOLTIP = 300
"""Letters of a formula."""

LONGEST_LINE = 5
"""Letters of a name with its subscripts on one line."""


def dot_text(picture: Picture, dpi: int | None = None) -> str:
    """The drawing in the DOT language. The same picture gives the same text, to the byte.

    `dpi` is for pictures made of points; Graphviz's default suits all others.
    """
    names = {n.id: f"n{i}" for i, n in enumerate(picture.nodes)}
    points = positions(picture)
    if points is not None:
        return _placed(picture, names, points, dpi)
    engine = _engine(picture)
    lines = [f"graph {quoted(picture.model)} {{", *_indented(_header(picture, engine, dpi))]
    if engine == "neato":
        return "\n".join([*lines, *_indented(_free(picture, names)), "}", ""])
    directions = downward(picture)
    lines += _indented(_inside(picture, None, names, _label_sides(picture, directions)))
    ports = {n.id: f"{names[n.id]}:mark" if isinstance(n, Mark) else names[n.id] for n in picture.nodes}
    homes = {n.id: n for n in picture.nodes}
    for edge in picture.edges:
        lines += _indented(_edge(edge, directions[edge], ports, homes[edge.reader]))
    return "\n".join([*lines, "}", ""])


def quoted(text: str) -> str:
    text = "".join(c if c.isprintable() or c == "\n" else " " for c in text)
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def attributes(**values: str | int | float) -> str:
    """`[a=1, b="text"]`; texts in angle brackets are Graphviz's HTML and stay as they are."""
    shown = []
    for name, value in values.items():
        html = isinstance(value, str) and value.startswith("<") and value.endswith(">")
        shown.append(f"{name}={value if html or not isinstance(value, str) else quoted(value)}")
    return f"[{', '.join(shown)}]"


def _indented(lines: list[str]) -> list[str]:
    return [f"  {line}" for line in lines]


# --- the whole ----------------------------------------------------------------------------------


_ENGINES = {
    "dot": 'layout="dot", rankdir="TB", nodesep=0.35, ranksep=0.42, compound="true"',
    "neato": 'layout="neato", overlap="false", sep="+8", splines="line", outputorder="edgesfirst"',
    "placed": 'layout="neato", inputscale=72, splines="line", outputorder="edgesfirst"',
}
"""How Graphviz is asked to lay a picture out."""


def _engine(picture: Picture) -> str:
    """Layers where there is a direction, else springs: a graph of equals should look like one."""
    directed = picture.view == "lifted" or any(isinstance(n, LetNode) for n in picture.nodes)
    return "dot" if directed or len(picture.edges) < len(picture.nodes) else "neato"


def _header(picture: Picture, engine: str, dpi: int | None) -> list[str]:
    shared = attributes(
        label=_title(picture), labelloc="t", labeljust="l", fontname=look.FONT, fontcolor=look.INK,
        pad=0.25, bgcolor="white", tooltip=picture.model,
    )  # fmt: skip
    points = "" if dpi is None else f"dpi={dpi}, "
    graph = f"[{_ENGINES[engine]}, {points}{shared[1:]}"
    node = attributes(
        fontname=look.FONT, fontsize=look.NAME_SIZE, fontcolor=look.INK, color=look.INK, penwidth=1.3
    )
    edge = attributes(
        fontname=look.FONT, fontsize=look.DETAIL_SIZE, fontcolor=look.QUIET, color=look.LINE, penwidth=1.1
    )
    return [f"graph {graph};", f"node {node};", f"edge {edge};"]


_BARE = 'BORDER="0" CELLBORDER="0" CELLSPACING="0"'
"""A table of Graphviz that shows nothing of itself."""


def _title(picture: Picture) -> str:
    signature = _font(escape(picture.signature), look.TITLE_SIZE, look.INK, bold=True)
    sentence = first_sentence(picture.doc)
    rows = [signature, *([_font(escape(sentence), look.DETAIL_SIZE + 1, look.QUIET)] if sentence else [])]
    body = "".join(f'<TR><TD ALIGN="LEFT">{row}</TD></TR>' for row in rows)
    # An empty row keeps the title off the drawing.
    return f'<<TABLE {_BARE} CELLPADDING="1">{body}<TR><TD HEIGHT="8"></TD></TR></TABLE>>'


def first_sentence(doc: str, most: int = 90) -> str:
    """The first sentence of a doc comment, cut at a word when it is long."""
    text = " ".join("".join(c if c.isprintable() else " " for c in doc).split())
    end = next((i for i, c in enumerate(text) if c in ".:" and text[i + 1 : i + 2] in (" ", "")), len(text))
    text = text[:end]
    if len(text) <= most:
        return text
    return text[:most].rsplit(" ", 1)[0] + " ..."


def _font(text: str, size: int, color: str, bold: bool = False) -> str:
    body = f"<B>{text}</B>" if bold else text
    return f'<FONT POINT-SIZE="{size}" COLOR="{color}">{body}</FONT>'


def _label_sides(picture: Picture, directions: Mapping[Edge, tuple[str, str]]) -> dict[str, tuple[str, bool]]:
    """The side of each frame, top or bottom, that fewer edges cross: its label stands there.

    The flag says that edges cross that side too, so that the label has to keep to the right.
    """
    parents = {f.id: f.parent for f in picture.frames}
    homes = {n.id: n.frame for n in picture.nodes}

    def around(node: str) -> set[str]:
        found, at = set(), homes[node]
        while at is not None:
            found.add(at)
            at = parents[at]
        return found

    crossed = {f.id: [0, 0] for f in picture.frames}
    for upper, lower in directions.values():
        for frame in around(lower) - around(upper):
            crossed[frame][0] += 1
        for frame in around(upper) - around(lower):
            crossed[frame][1] += 1
    return {f: ("t" if top < bottom else "b", min(top, bottom) > 0) for f, (top, bottom) in crossed.items()}


def _inside(
    picture: Picture, frame: str | None, names: Mapping[str, str], sides: Mapping[str, tuple[str, bool]]
) -> list[str]:
    """Everything that stands directly in a frame, then the frames inside it."""
    lines = [_node(n, names[n.id]) for n in picture.nodes if n.frame == frame]
    for inner in picture.frames:
        if inner.parent == frame:
            lines += [f"subgraph cluster_{inner.id} {{", f"  graph {_frame(inner, *sides[inner.id])};"]
            lines += _indented(_inside(picture, inner.id, names, sides))
            lines.append("}")
    return lines


def _frame(frame: Frame, side: str, crossed: bool) -> str:
    if frame.part:
        return _part(frame, side)
    room = "\N{NO-BREAK SPACE}" * 18 if crossed else ""
    label = _font(room + escape(frame.label), look.DETAIL_SIZE + 1, look.QUIET)
    return attributes(
        label=f"<{label}>", labelloc=side, labeljust="r",
        style="rounded,filled", color=look.PLATE_LINE, fillcolor=look.PLATE_FILL, penwidth=1.0, margin=12,
        tooltip=f"for {', '.join(frame.indices)}" + (f" if {frame.guard}" if frame.guard else ""),
    )  # fmt: skip


def _part(frame: Frame, side: str) -> str:
    """The frame of a part: its name, and the model that it is a copy of."""
    name, _, model = frame.label.partition(" : ")
    shown = _font(escape(name), look.DETAIL_SIZE + 1, look.INK, bold=True)
    label = f"{shown} {_font(escape(model), look.DETAIL_SIZE, look.QUIET)}"
    return attributes(
        label=f"<{label}>", labelloc=side, labeljust="l",
        style="rounded,dashed,filled", color=look.LINE, fillcolor=look.PART_FILL, penwidth=1.0, margin=12,
        tooltip=f"{frame.part} is a copy of {model}",
    )  # fmt: skip


def _free(picture: Picture, names: Mapping[str, str]) -> list[str]:
    """Nodes and edges without plates, for springs to lay out."""
    lines = []
    crowded = sum(isinstance(n, Mark) for n in picture.nodes) > MOST_BESIDE
    for node in picture.nodes:
        if isinstance(node, Mark):
            words = "" if crowded and _energy(node) is None else f", xlabel=<{_words(node, node.label)}>"
            lines.append(f"{names[node.id]} {_square(node)[:-1]}{words}];")
        else:
            lines.append(_node(node, names[node.id]))
    return lines + [f"{names[e.read]} -- {names[e.reader]};" for e in picture.edges]


# --- with places of their own --------------------------------------------------------------------


def _placed(picture: Picture, names: Mapping[str, str], points: Mapping[str, Point], dpi: int | None) -> str:
    """Squares stand exactly on the lines, and their names beside them as texts of their own."""
    lines = _header(picture, "placed", dpi)
    labelled = sum(isinstance(n, Mark) for n in picture.nodes) <= MOST_NAMED
    for node in picture.nodes:
        name, (x, y) = names[node.id], points[node.id]
        at = f'pos="{x:g},{y:g}!"'
        if not isinstance(node, Mark):
            lines.append(f"{_node(node, name)[:-2]}, {at}];")
            continue
        lines.append(f"{name} {_square(node)[:-1]}, {at}];")
        words = _words(node, node.label if labelled else split(node.label)[0])
        around = [points[e.read] for e in picture.edges if e.reader == node.id]
        below = 20 if _energy(node) is None else 26
        lines.append(f"{name}_name {_beside(words, (x, y), around, below)};")
    for edge in picture.edges:
        lines.append(f"{names[edge.read]} -- {names[edge.reader]};")
    return "\n".join([f"graph {quoted(picture.model)} {{", *_indented(lines), "}", ""])


def _beside(words: str, square: Point, around: list[Point], below: int) -> str:
    """A text below a square on a level line, and to the right of any other."""
    x, y = square
    if all(abs(other[1] - y) < 1 for other in around):
        return (
            f'[shape="plaintext", margin=0, width=0, height=0, label=<{words}>, pos="{x:g},{y - below:g}!"]'
        )
    # The cell has a width of its own, so that the text starts at the same distance from each square.
    size = 'FIXEDSIZE="TRUE" WIDTH="90" HEIGHT="14"'
    table = f'<TABLE {_BARE} CELLPADDING="0" {size}><TR><TD ALIGN="LEFT">{words}</TD></TR></TABLE>'
    return f'[shape="plain", label=<{table}>, pos="{x + 61:g},{y:g}!"]'


def _energy(node: Mark) -> float | None:
    return node.energy if isinstance(node, FactorNode) else None


def _square(node: Mark) -> str:
    if isinstance(node, ConstraintNode):
        side = look.CONSTRAINT_SIDE / 72
        return attributes(
            shape="square", fixedsize="true", width=round(side, 3), height=round(side, 3), margin=0,
            label=look.RELATIONS[node.relation], fontsize=look.NAME_SIZE, style="filled", fillcolor="#ffffff",
            color=look.INK, penwidth=1.6, tooltip=_tooltip(node),
        )  # fmt: skip
    own = look.term_look(node.term)
    side = (own.side - 5 if own.hollow else own.side) / 72  # half of a line stands outside
    return attributes(
        shape="square", fixedsize="true", width=round(side, 3), height=round(side, 3), label="",
        style="filled", fillcolor="#ffffff" if own.hollow else look.RED, color=look.RED,
        penwidth=5 if own.hollow else 1, peripheries=2 if node.batch else 1,
        tooltip=_about(node.label, node.formula, node.doc),
    )  # fmt: skip


# --- nodes --------------------------------------------------------------------------------------


def _node(node: Node, name: str) -> str:
    match node:
        case VariableNode():
            return f"{name} {_variable(node)};"
        case NetNode():
            return f"{name} {_net(node)};"
        case LetNode():
            return f"{name} {_let(node)};"
        case FactorNode() | ConstraintNode():
            return f"{name} {_factor(node)};"


def _variable(node: VariableNode) -> str:
    own = look.variable_look(node.role)
    style, fill = own.style, own.fill
    if node.missing:
        fill = f"{own.fill};0.5:white"  # half filled: the rest is sought
    return attributes(
        shape="circle" if len(node.label.partition("[")[0]) <= LONGEST_IN_CIRCLE else "ellipse",
        style=style, fillcolor=fill, gradientangle=90, peripheries=own.rings, width=0.5, height=0.5,
        margin="0.02,0.02", label=_named(node.label, node.dims), tooltip=_about_variable(node),
    )  # fmt: skip


def _about_variable(node: VariableNode) -> str:
    words = [
        "shared" if node.role == "observed" and not node.per_example else "",
        node.role,
        node.label,
        ":",
        node.type,
    ]
    domain = "" if node.domain in ("reals", "permutation") else f" in {node.domain}"
    return " ".join(w for w in words if w) + domain + (f"\n{node.doc}" if node.doc else "")


def _net(node: NetNode) -> str:
    return attributes(
        shape="box", style="rounded,filled", fillcolor=look.variable_look("param").fill, peripheries=2,
        margin="0.12,0.06", height=0.42, label=_named(node.label, ""),
        tooltip=f"net {node.label} : {node.type}" + (f"\n{node.doc}" if node.doc else ""),
    )  # fmt: skip


def _let(node: LetNode) -> str:
    return attributes(
        shape="box", style="rounded,filled", fillcolor=look.LET_FILL, color=look.LET_LINE,
        margin="0.12,0.06", height=0.42,
        label=_named(node.label, node.dims), tooltip=_about(node.label, node.formula, node.doc),
    )  # fmt: skip


def _about(label: str, formula: str, doc: str) -> str:
    shown = formula if len(formula) <= LONGEST_TOOLTIP else formula[:LONGEST_TOOLTIP] + " ..."
    return f"{label} = {shown}" + (f"\n{doc}" if doc else "")


def _named(label: str, dims: str) -> str:
    name, bracket, inside = label.partition("[")
    rows = [f"<I>{escape(label)}</I>"]
    if len(name) > LONGEST_LINE and not bracket:
        rows = [_font(rows[0], look.NAME_SIZE - 2, look.INK)]
    if bracket and len(label) > LONGEST_LINE:
        rows = [f"<I>{escape(name)}</I>", _font(f"<I>[{escape(inside)}</I>", look.DETAIL_SIZE + 2, look.INK)]
    if dims:
        rows.append(_font(escape(dims), look.DETAIL_SIZE - 1, look.QUIET))
    return f"<{'<BR/>'.join(rows)}>"


def _tooltip(node: Mark) -> str:
    if isinstance(node, FactorNode):
        return _about(node.label, node.formula, node.doc)
    return f"{node.label}: {node.formula}" + (f"\n{node.doc}" if node.doc else "")


def _factor(node: Mark) -> str:
    mark = _box(node) if isinstance(node, ConstraintNode) else _mark(look.term_look(node.term), node.batch)
    words = _words(node, node.label)
    table = (
        f'<TABLE {_BARE} CELLPADDING="0">'
        f'<TR>{mark}<TD WIDTH="5"></TD><TD ALIGN="LEFT">{words}</TD></TR></TABLE>'
    )
    return attributes(shape="plain", label=f"<{table}>", tooltip=_tooltip(node))


def _words(node: Mark, label: str) -> str:
    words = _font(escape(label), look.DETAIL_SIZE + 1, look.INK)
    energy = _energy(node)
    if energy is not None:
        words += f"<BR/>{_font(number(energy), look.DETAIL_SIZE, look.RED, bold=True)}"
    return words


def _box(node: ConstraintNode) -> str:
    """The white box of a constraint, with its relation inside."""
    side = look.CONSTRAINT_SIDE
    sign = _font(look.RELATIONS[node.relation], look.NAME_SIZE - 1, look.INK, bold=True)
    size = f'FIXEDSIZE="TRUE" WIDTH="{side}" HEIGHT="{side}"'
    return f'<TD PORT="mark" {size} BGCOLOR="#ffffff" BORDER="2" COLOR="{look.INK}">{sign}</TD>'


def _mark(own: look.TermLook, batch: bool) -> str:
    """The square of a term; one for the whole batch has a ring around it."""
    fill, border, side = ("#ffffff", 6, own.side) if own.hollow else (look.RED, 1, own.side)
    size = f'FIXEDSIZE="TRUE" WIDTH="{side}" HEIGHT="{side}"'
    square = f'{size} BGCOLOR="{fill}" BORDER="{border}" COLOR="{look.RED}"'
    if not batch:
        return f'<TD PORT="mark" {square}></TD>'
    inner = f'<TABLE {_BARE} CELLPADDING="0"><TR><TD {square}></TD></TR></TABLE>'
    return f'<TD PORT="mark" BORDER="1" COLOR="{look.RED}" CELLPADDING="3">{inner}</TD>'


def number(value: float) -> str:
    """Four digits, for a label."""
    return f"{value:.4g}"


# --- edges --------------------------------------------------------------------------------------


def _edge(edge: Edge, ends: tuple[str, str], ports: Mapping[str, str], reader: Node) -> list[str]:
    upper, lower = (ports[end] for end in ends)
    arrow = isinstance(reader, LetNode)
    texts = edge.subscripts
    if arrow or len(texts) > MOST_PARALLEL:
        texts = ("\n".join(texts),) if texts else ()
    lines = []
    for text in texts or ("",):
        extra: dict[str, str | int | float] = {}
        if text:
            extra["label"] = f" {text} "
        if arrow:
            extra |= {"dir": "forward", "arrowsize": 0.7}
        if edge.rows:
            extra |= {"style": "dotted"} | ({"lhead": f"cluster_{reader.frame}"} if reader.frame else {})
        lines.append(f"{upper} -- {lower}{' ' + attributes(**extra) if extra else ''};")
    return lines
