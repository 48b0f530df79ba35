"""Frames around the parts of a model: what `use`, `part` and `solve` brought in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from ebmlang.compiler.typed import Axes, Model, Placed, Tabulate
from ebmlang.draw.frames import Place, place
from ebmlang.draw.picture import Edge, Frame, Node, Picture


def plates_of_parts(model: Model) -> Iterator[Place]:
    """The plates that parts stand in, as far as something of the part stands in them too."""
    for part in model.parts:
        axes = next((a for a in _axes_in(model, part) if len(a) >= part.plates), ())
        if part.plates and axes:
            yield place(axes[: part.plates], None)


def _axes_in(model: Model, part: Placed) -> Iterator[Axes]:
    start = f"{part.name}."
    yield from (t.axes for t in model.terms if t.name.startswith(start))
    for let in model.lets:
        if let.name.startswith(start) and isinstance(let.value, Tabulate):
            yield let.value.over


def with_parts(picture: Picture, parts: Sequence[Placed]) -> Picture:
    """The picture with a frame around each part, inside the plates that it stands in. Names lose the prefix
    that the frame says."""
    if not parts:
        return picture
    made = _Frames(picture)
    nodes: list[Node] = []
    prefixes: dict[str, str] = {}
    for node in picture.nodes:
        frame, prefix = made.of(node, parts)
        prefixes[node.id] = prefix
        nodes.append(replace(node, frame=frame, label=node.label.removeprefix(prefix)))
    edges = tuple(_shorter(e, prefixes[e.reader]) for e in picture.edges)
    return replace(picture, frames=tuple(made.frames), nodes=tuple(nodes), edges=edges)


def _shorter(edge: Edge, prefix: str) -> Edge:
    return replace(edge, subscripts=tuple(text.removeprefix(prefix) for text in edge.subscripts))


@dataclass(slots=True)
class _Frames:
    """Plates and parts around nodes, each made once; the same plate inside a part is another frame."""

    picture: Picture
    frames: list[Frame] = field(default_factory=list)
    known: dict[tuple[str, ...], Frame] = field(default_factory=dict)

    def of(self, node: Node, parts: Sequence[Placed]) -> tuple[str | None, str]:
        """The innermost frame of a node, and the beginning of its name that the frames around say."""
        plates = self._plates(node.frame)
        own = sorted((p for p in parts if node.id.startswith(f"{p.name}.")), key=lambda p: len(p.name))
        path: tuple[str, ...] = ()
        prefix, passed = "", 0
        for part in own:
            while plates and len(plates[0].indices) <= part.plates:
                passed = len(plates[0].indices)
                path = self._plate(path, plates.pop(0))
            if passed < part.plates:
                break  # it stands outside of the plates of the part
            path = self._part(path, part)
            prefix = f"{part.name}."
        for plate in plates:
            path = self._plate(path, plate)
        return (self.known[path].id if path else None), prefix

    def _plates(self, frame: str | None) -> list[Frame]:
        """The plates around a place, from the outermost one."""
        frames = {f.id: f for f in self.picture.frames}
        found: list[Frame] = []
        while frame is not None:
            found.insert(0, frames[frame])
            frame = frames[frame].parent
        return found

    def _plate(self, path: tuple[str, ...], plate: Frame) -> tuple[str, ...]:
        around = self.known[path].id if path else None
        inside = any(self.known[path[: k + 1]].part for k in range(len(path)))
        name = f"{around}_{plate.id}" if inside else plate.id
        return self._add(path, plate.id, replace(plate, id=name, parent=around))

    def _part(self, path: tuple[str, ...], part: Placed) -> tuple[str, ...]:
        around = self.known[path] if path else None
        indices = around.indices if around is not None else ()
        parent = around.id if around is not None else None
        label = f"{part.name.rsplit('.', 1)[-1]} : {part.model}"
        name = f"part_{part.name.replace('.', '_')}"
        return self._add(path, f"part {part.name}", Frame(name, label, indices, "", parent, part.name))

    def _add(self, path: tuple[str, ...], key: str, frame: Frame) -> tuple[str, ...]:
        full = (*path, key)
        if full not in self.known:
            self.known[full] = frame
            self.frames.append(frame)
        return full
