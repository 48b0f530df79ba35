"""Rules: energies with a closed-form step - linear minus entropy, log-sum-exp plus quadratic."""

from __future__ import annotations

from ebmlang.compiler.curvature.obligation import Proof, both, folded
from ebmlang.compiler.curvature.same import same
from ebmlang.compiler.curvature.signs import nonnegative
from ebmlang.compiler.graph import summed
from ebmlang.compiler.structure.block import Block, Summand
from ebmlang.compiler.structure.finding import Finding, MixturePart, SoftmaxPart
from ebmlang.compiler.structure.pieces import negated, one, pieces, weighted
from ebmlang.compiler.typed import Apply, Expr, Fold, Read


def find_softmax(block: Block) -> tuple[Finding, ...]:
    """`linear minus entropy`: one simplex variable whose minimiser is a softmax."""
    if len(block.sought) != 1 or block.sought[0].domain.name != "simplex":
        return ()
    name = block.sought[0].name
    temperatures: list[Expr] = []
    linear: list[Expr] = []
    for summand, sign, part in _moving_pieces(block):
        weight, value = weighted(block.depends, part, one(part) if sign > 0 else negated(one(part)))
        temperature = _entropy_of(value, name, weight)
        if temperature is not None and not summand.axes and temperature.type.scalar:
            if not block.calculus.ranges(temperature).positive:
                return ()
            temperatures.append(temperature)
            continue
        total = _whole(summand, sign, part)
        if not block.calculus.degrees.affine(total):
            return ()
        linear.append(total)
    if not temperatures:
        return ()
    part_of = SoftmaxPart(name, tuple(temperatures), tuple(linear))
    why = f"{name} enters linearly apart from its entropy"
    return (Finding("linear minus entropy", (name,), why, softmax=part_of),)


def _entropy_of(value: Expr, name: str, weight: Expr) -> Expr | None:
    """The temperature when `weight * value` is minus a multiple of the entropy of a variable."""
    match value:
        case Apply(function="entropy", arguments=(Read(name=x),)) if value.option("dims") is not None:
            return negated(weight) if x == name else None
        case Apply(function="sum", arguments=(Apply(function="xlogy", arguments=(Read(name=x) as a, b)),)):
            whole = value.option("dims") is not None and same(a, b)
            return weight if whole and x == name else None
    return None


def find_mixture(block: Block) -> tuple[Finding, ...]:
    """`log-sum-exp plus quadratic`: a convex quadratic minus logarithms of sums of exponentials.

    Every term -w * logsumexp(s(x)) lies below its linearisation in the scores s, so that each step
    minimises a convex quadratic (Yuille & Rangarajan 2003; the update of Ramsauer et al. 2021).
    """
    if any(v.type.kind != "real" for v in block.sought):
        return ()
    mixtures: list[MixturePart] = []
    rest: list[Expr] = []
    proofs: list[Proof | None] = []
    for summand, sign, part in _moving_pieces(block):
        weight, value = weighted(block.depends, part, one(part) if sign < 0 else negated(one(part)))
        value = _followed(block, value)
        scores = _scores(block, value)
        if scores is not None:
            proofs.append(folded(nonnegative(weight, block.calculus.ranges), summand.axes, summand.mask))
            proofs.append(folded(_scores_proof(block, value, scores), summand.axes, summand.mask))
            mixtures.append(MixturePart(value, scores, weight, summand.axes, summand.mask, summand.name))
            continue
        total = _whole(summand, sign, part)
        if not block.calculus.quadratic(total):
            return ()
        proofs.append(block.calculus.convex(total))
        rest.append(total)
    proof = both(*proofs)
    if not mixtures or proof is None:
        return ()
    names = tuple(v.name for v in block.sought)
    where = ", ".join(dict.fromkeys(m.summand for m in mixtures))
    why = f"{where}: minus a log-sum-exp of concave quadratics"
    if rest:
        why += ", the rest is a convex quadratic"
    found = tuple(mixtures), tuple(rest)
    return (Finding("log-sum-exp plus quadratic", names, why, proof, mixtures=found[0], rest=found[1]),)


def _followed(block: Block, value: Expr) -> Expr:
    """What a let stands for."""
    while isinstance(value, Read) and value.name in block.graph.lets:
        value = block.graph.lets[value.name].value
    return value


def _scores_proof(block: Block, value: Expr, scores: Expr) -> Proof | None:
    proof = block.calculus.concave(scores)
    return folded(proof, value.over, value.guard) if isinstance(value, Fold) else proof


def _scores(block: Block, value: Expr) -> Expr | None:
    """The argument of a logsumexp whose entries are at most quadratic."""
    match value:
        case Apply(function="logsumexp", arguments=(scores,)) if value.type.scalar:
            return scores if block.calculus.quadratic(scores) else None
        case Fold(function="logsumexp", body=scores, over=over, guard=guard):
            fixed = guard is None or not block.depends(guard)
            moving = any(block.depends.moves(a) for a in over)
            return scores if fixed and not moving and block.calculus.quadratic(scores) else None
    return None


def _moving_pieces(block: Block) -> list[tuple[Summand, int, Expr]]:
    return [
        (summand, sign, part)
        for summand in block.touching
        for sign, part in pieces(summand.value)
        if block.depends(part)
    ]


def _whole(summand: Summand, sign: int, part: Expr) -> Expr:
    total = summed(part, summand.axes, summand.mask)
    return total if sign > 0 else negated(total)
