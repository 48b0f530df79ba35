"""Claims of the calculus beside values of the slow evaluator, for every part of a model.

The points lie on a line p0, p1, p2, p3 with equal steps, so that p1 is the middle of p0 and p2, and
third differences of a polynomial of degree 2 vanish.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ebmlang.compiler import notation, pipeline, typed
from ebmlang.compiler.curvature.calculus import Calculus
from ebmlang.compiler.curvature.obligation import Obligation, Proof
from ebmlang.compiler.query import Query
from ebmlang.compiler.structure.block import Block
from ebmlang.compiler.structure.majorant import majorant_of
from ebmlang.compiler.typed import Expr, Model
from tests.reference import Reference

Values = Mapping[str, Any]

TOL = 1e-8


class Remembering(Reference):
    """The slow evaluator, which works out every part once."""

    def value(self, node: Expr, row: int, at: Mapping[int, int]) -> Any:
        known: dict[Any, Any] = self.__dict__.setdefault("known", {})
        key = (id(node), row, tuple(sorted(at.items())))
        if key not in known:
            known[key] = (node, super().value(node, row, at))
        return known[key][1]


@dataclass
class Line:
    """A model at four points of a line in its sought variables."""

    model: Model
    sought: frozenset[str]
    sizes: Mapping[str, int]
    points: Sequence[Reference]
    seen: Counter[str] = field(default_factory=Counter)

    def check(self) -> None:
        """Every claim about every part of the model."""
        graph = pipeline.graph_of(self.model)
        block = Block(graph, Query(tuple(sorted(self.sought))))
        roots = [t.value for t in self.model.terms] + [x.value for x in self.model.lets]
        nodes = {id(n): n for root in roots for n in typed.walk(root)}
        with pipeline.room_for_passes(), np.errstate(all="ignore"):
            for node in nodes.values():
                if node.type.kind in ("real", "int", "bool"):
                    self._node(node, block)

    def _node(self, node: Expr, block: Block) -> None:
        calculus = block.calculus
        place = self._place(node)
        if place is None:
            return
        for row in range(len(self.points[0].rows)):
            try:
                values = [np.asarray(p.value(node, row, place), dtype=float) for p in self.points]
            except (AssertionError, IndexError, ValueError, OverflowError):
                return  # a subscript outside of its array, or an integer too large: refused by binding
            self._range(node, calculus, values[0])
            if not calculus.depends(node):
                continue
            self._degree(node, calculus, values)
            self._majorant(node, block, values, row, place)
            for sign, want in ((1.0, "convex"), (-1.0, "concave")):
                proof = calculus.prove(node, "convex" if want == "convex" else "concave")
                if proof is not None and self._met(proof, row, place):
                    self.seen[want] += 1
                    bends(sign, values, f"{notation.text(node)} is not {want}")

    def _range(self, node: Expr, calculus: Calculus, value: Any) -> None:
        found = calculus.ranges(node)
        finite = value[np.isfinite(value)]
        slack = TOL * (1 + np.abs(finite))
        shown = f"{notation.text(node)} leaves [{found.low}, {found.high}]"
        assert (finite >= found.low - slack).all(), f"{shown}: {finite}"
        assert (finite <= found.high + slack).all(), f"{shown}: {finite}"
        if found.low > -np.inf or found.high < np.inf:
            self.seen["range"] += 1
        if found.nonzero:
            self.seen["nonzero"] += 1

    def _degree(self, node: Expr, calculus: Calculus, values: list[Any]) -> None:
        degree = calculus.degrees(node)
        if degree is None or degree > 2 or not all(np.isfinite(v).all() for v in values):
            return
        self.seen[f"degree {degree}"] += 1
        scale = 1 + max(float(np.abs(v).max(initial=0.0)) for v in values)
        second = values[0] - 2 * values[1] + values[2]
        third = values[3] - 3 * values[2] + 3 * values[1] - values[0]
        found = np.abs(second if degree <= 1 else third).max(initial=0.0)
        assert found <= 1e-7 * scale, f"{notation.text(node)} has no degree {degree}: {found}"

    def _majorant(
        self, node: Expr, block: Block, values: list[Any], row: int, place: Mapping[int, int]
    ) -> None:
        """A majorant is at most quadratic and bends at least as much, entry by entry."""
        found = majorant_of(block, (node,))[0] if node.type.kind == "real" else ()
        if not found or block.calculus.quadratic(node) or not all(np.isfinite(v).all() for v in values):
            return
        above = [np.asarray(p.value(found[0], row, place), dtype=float) for p in self.points]
        if not all(np.isfinite(v).all() for v in above):
            return
        self.seen["majorant"] += 1
        self._degree(found[0], block.calculus, above)
        assert block.calculus.quadratic(found[0]), notation.text(found[0])
        scale = 1 + max(float(np.abs(v).max(initial=0.0)) for v in (*values, *above))
        for k in (0, 1):
            excess = [v[k] - 2 * v[k + 1] + v[k + 2] for v in (values, above)]
            least = (excess[1] - excess[0]).min(initial=np.inf)
            assert least >= -TOL * scale, f"{notation.text(found[0])} bends less than {notation.text(node)}"

    def _met(self, proof: Proof, row: int, place: Mapping[int, int]) -> bool:
        return all(self._holds(o, row, place) for o in proof)

    def _holds(self, obligation: Obligation, row: int, place: Mapping[int, int]) -> bool:
        value = np.asarray(self.points[0].value(obligation.value, row, place), dtype=float)
        if obligation.kind == "psd":
            return bool(np.linalg.eigvalsh((value + value.T) / 2).min() >= 0)
        return bool((value >= 0).all())

    def _place(self, node: Expr) -> dict[int, int] | None:
        """The first position of every open axis; None where one has no position."""
        place = {}
        for axis in node.axes:
            if axis.size is not None and axis.size.evaluate(self.sizes) < 1:
                return None
            place[axis.order] = 0
        return place


def bends(sign: float, values: Sequence[Any], message: str) -> None:
    """The middle lies below (sign 1) or above the chord, wherever both ends are defined."""
    for low, middle, high in ((values[0], values[1], values[2]), (values[1], values[2], values[3])):
        defined = np.isfinite(low) & np.isfinite(high)
        excess = sign * (middle - (low + high) / 2)
        slack = TOL * (1 + np.abs(low) + np.abs(high) + np.abs(middle))
        wrong = defined & ~(excess <= slack)
        assert not wrong.any(), f"{message}: {low}, {middle}, {high}"


def line_of(
    model: Model,
    sought: frozenset[str],
    sizes: Mapping[str, int],
    shared: Values,
    rows: Sequence[Values],
    step: Mapping[str, Any],
) -> Line:
    """A line from given values; `step` is added to the sought ones, times 0, 1, 2 and 3."""
    points = []
    for t in range(4):
        at = [_moved(row, sought, step, t) for row in rows]
        points.append(Remembering(model, sizes, _moved(shared, sought, step, t), at))
    return Line(model, sought, sizes, points)


def _moved(values: Values, sought: frozenset[str], step: Mapping[str, Any], t: int) -> dict[str, Any]:
    return {k: np.asarray(v) + t * step[k] if k in sought else v for k, v in values.items()}
