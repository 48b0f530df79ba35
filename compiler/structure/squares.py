"""Rule: an energy that is a sum of squares, or of losses of residuals."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ebmlang.compiler import notation
from ebmlang.compiler.curvature.losses import loss_of
from ebmlang.compiler.curvature.obligation import Proof, both, folded
from ebmlang.compiler.curvature.same import same
from ebmlang.compiler.curvature.signs import nonnegative
from ebmlang.compiler.facts import number
from ebmlang.compiler.sizes import ONE, Size
from ebmlang.compiler.structure.block import Block, Summand
from ebmlang.compiler.structure.finding import Finding, LossPart
from ebmlang.compiler.structure.pieces import divided, negated, one, pieces, weighted
from ebmlang.compiler.typed import Apply, Axes, Expr, Fold, Level, Read, SizeOf
from ebmlang.compiler.types import INT, Shape


class _NotSquares(Exception):
    """A part of the energy is no sum of losses."""


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a part of a term stands: what it is multiplied by and added up over."""

    weight: Expr
    axes: Axes
    guard: Expr | None
    summand: str


def find_squares(block: Block) -> tuple[Finding, ...]:
    """`sum of squares`, or `sum of losses` where some residuals have a robust loss.

    The parts add up to the energy apart from what the block does not move.
    """
    if not block.touching or any(v.type.kind != "real" for v in block.sought):
        return ()
    parts: list[LossPart] = []
    try:
        for summand in block.touching:
            parts += _Search(block).summand(summand)
    except _NotSquares:
        return ()
    proof = both(*(_weight_proof(block, part) for part in parts))
    if proof is None or not parts:
        return ()
    names = tuple(v.name for v in block.sought)
    kind = "sum of squares" if all(p.loss is None for p in parts) else "sum of losses"
    return (Finding(kind, names, _shown(parts), proof, losses=tuple(parts)),)


def is_sum_of_losses(block: Block, summand: Summand) -> bool:
    """Whether one summand is a sum of losses, on conditions or without."""
    try:
        parts = _Search(block).summand(summand)
    except _NotSquares:
        return False
    return both(*(_weight_proof(block, part) for part in parts)) is not None


def least_squares(block: Block, values: tuple[Expr, ...]) -> bool:
    """Whether a sum of values is proven a squared length of residuals that are affine in the block, without
    conditions and with nothing left over."""
    try:
        parts = [p for v in values for p in _Search(block).scalar(v, _Place(one(v), (), None, ""))]
    except _NotSquares:
        return False
    affine = all(p.loss is None and block.calculus.degrees.affine(p.residual) for p in parts)
    return affine and both(*(_weight_proof(block, part) for part in parts)) == ()


def _weight_proof(block: Block, part: LossPart) -> Proof | None:
    return folded(nonnegative(part.weight, block.calculus.ranges), part.axes, part.guard)


def _shown(parts: list[LossPart]) -> str:
    texts = dict.fromkeys(f"`{notation.text(p.residual)}`" for p in parts)
    short = [t for t in texts if len(t) <= 40]
    if len(short) == len(texts) <= 3:
        return f"residuals {', '.join(texts)}"
    count = "one kind of residual" if len(texts) == 1 else f"{len(texts)} kinds of residuals"
    return f"{count} in {', '.join(dict.fromkeys(p.summand for p in parts))}"


@dataclass(frozen=True, slots=True)
class _Search:
    block: Block

    def summand(self, summand: Summand) -> list[LossPart]:
        if summand.mask is not None and self.block.depends(summand.mask):
            raise _NotSquares
        start = _Place(one(summand.value), summand.axes, summand.mask, summand.name)
        self._fixed_axes(summand.axes)
        return self.scalar(summand.value, start)

    def _fixed_axes(self, axes: Axes) -> None:
        if any(self.block.depends.moves(a) for a in axes):
            raise _NotSquares

    # --- scalars ---

    def scalar(self, node: Expr, place: _Place) -> list[LossPart]:
        """The parts of a scalar."""
        found: list[LossPart] = []
        for sign, part in pieces(node):
            if not self.block.depends(part):
                continue
            start = place.weight if sign > 0 else negated(place.weight)
            weight, rest = weighted(self.block.depends, part, start)
            found += self._scalar(rest, _Place(weight, place.axes, place.guard, place.summand))
        return found

    def _scalar(self, node: Expr, place: _Place) -> list[LossPart]:
        lets = self.block.graph.lets
        match node:
            case Read(name=name) if name in lets:
                return self.scalar(lets[name].value, place)
            case Apply(function="add" | "sub" | "neg"):
                return self.scalar(node, place)
            case Apply(function="norm_squared", arguments=(r,)):
                return [self._part(r, None, place)]
            case Apply(function="dot", arguments=(a, b)) if same(a, b):
                return [self._part(a, None, place)]
            case Apply(function="matmul", arguments=(a, b)) if a.type.rank == 1 and same(a, b):
                return [self._part(a, None, place)]
            case Apply(function="sum" | "mean" as name, arguments=(body,)) if node.option("dims") is not None:
                if name == "mean":
                    place = _divided(place, _count(body.type.shape))
                return self.entries(body, place, body.type.shape)
            case Fold(function="sum" | "mean" as name, body=body, over=over, guard=guard):
                return self._folded(name, body, over, guard, place)
        return self.entries(node, place, ())

    def _folded(self, name: str, body: Expr, over: Axes, guard: Expr | None, place: _Place) -> list[LossPart]:
        self._fixed_axes(over)
        if guard is not None and (place.guard is not None or self.block.depends(guard)):
            raise _NotSquares
        if not body.type.scalar:
            raise _NotSquares
        if name == "mean":
            sizes = tuple(a.size for a in over if a.size is not None)
            if guard is not None or len(sizes) < len(over):
                raise _NotSquares
            place = _divided(place, _count(sizes))
        axes = (*place.axes, *over)
        return self.scalar(body, _Place(place.weight, axes, place.guard or guard, place.summand))

    # --- entries of an array that are added up ---

    def entries(self, node: Expr, place: _Place, shape: Shape) -> list[LossPart]:
        """The parts of a sum of entries; every one of them must have the shape of the whole."""
        found: list[LossPart] = []
        for sign, part in pieces(node):
            if not self.block.depends(part):
                continue
            start = place.weight if sign > 0 else negated(place.weight)
            weight, rest = weighted(self.block.depends, part, start)
            lets = self.block.graph.lets
            here = _Place(weight, place.axes, place.guard, place.summand)
            if rest.type.shape != shape:
                raise _NotSquares
            if isinstance(rest, Read) and rest.name in lets:
                found += self.entries(lets[rest.name].value, here, shape)
                continue
            if rest is not part and isinstance(rest, Apply) and rest.function in ("add", "sub"):
                found += self.entries(rest, here, shape)
                continue
            residual = square_root(rest)
            if residual is not None:
                found.append(self._part(residual, None, here))
                continue
            loss = loss_of(rest, self.block.calculus)
            if loss is None:
                raise _NotSquares
            if loss[2] < 0:
                here = replace(here, weight=negated(here.weight))
            found.append(self._part(loss[0], loss[1], here))
        return found

    def _part(self, residual: Expr, loss: Expr | None, place: _Place) -> LossPart:
        rank = place.weight.type.rank
        if rank and rank != residual.type.rank:
            raise _NotSquares
        return LossPart(residual, place.weight, loss, place.axes, place.guard, place.summand)


def square_root(node: Expr) -> Expr | None:
    """The r of `r^2` in any spelling, entry by entry."""
    match node:
        case Apply(function="square", arguments=(r,)):
            return r
        case Apply(function="pow", arguments=(r, p)) if number(p) == 2:
            return r
        case Apply(function="mul", arguments=(a, b)) if same(a, b):
            return a
    return None


def _count(sizes: Shape) -> Size:
    total = ONE
    for size in sizes:
        total = total * size
    return total


def _divided(place: _Place, count: Size) -> _Place:
    number_of = SizeOf(INT, (), Level.CONSTANT, False, place.weight.span, count)
    return _Place(divided(place.weight, number_of), place.axes, place.guard, place.summand)
