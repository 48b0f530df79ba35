"""Rule: a convex quadratic minus log-sum-exps, whose every step has a closed form."""

from __future__ import annotations

from ebmlang.compiler.curvature.obligation import Proof, both, folded
from ebmlang.compiler.curvature.signs import nonnegative
from ebmlang.compiler.structure.block import Block
from ebmlang.compiler.structure.finding import Finding, MixtureForm, MixturePart
from ebmlang.compiler.structure.pattern_calculus import Calculus
from ebmlang.compiler.structure.pieces import moving_pieces, negated, one, weighted, whole
from ebmlang.compiler.typed import Apply, Carry, Expr, Fold, Level, OverExamples, Read, Scan, Solve, walk


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
    for summand, sign, part in moving_pieces(block):
        weight, value = weighted(block.depends, part, one(part) if sign < 0 else negated(one(part)))
        value = _followed(block, value)
        scores = _scores(block, value)
        if scores is not None:
            proofs.append(folded(nonnegative(weight, block.calculus.ranges), summand.axes, summand.mask))
            proofs.append(folded(_scores_proof(block, value, scores), summand.axes, summand.mask))
            mixtures.append(MixturePart(value, scores, weight, summand.axes, summand.mask, summand.name))
            continue
        total = whole(summand, sign, part)
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
    finding = Finding("log-sum-exp plus quadratic", names, why, proof, mixtures=found[0], rest=found[1])
    return (finding, *_separate(block, finding))


def _separate(block: Block, finding: Finding) -> tuple[Finding, ...]:
    """`separate scores`: every score is a sum of functions of one entry each, so that a step is explicit."""
    if block.joint is not None or any(block.depends(m.weight) for m in finding.mixtures):
        return ()
    calculus = Calculus(block)
    for m in finding.mixtures:
        over = m.value.over if isinstance(m.value, Fold) else ()
        guarded = m.guard is not None or (isinstance(m.value, Fold) and m.value.guard is not None)
        sized = all(axis.size is not None and axis.guard is None for axis in (*m.axes, *over))
        if guarded or not sized or calculus(m.scores).couplings:
            return ()
    diagonal = not any(calculus.summed(part, (), None).couplings for part in finding.rest)
    shared = not any(_reads_rows(block, v) for m in finding.mixtures for v in (m.scores, m.weight))
    form = MixtureForm(tuple(len(m.axes) for m in finding.mixtures), diagonal, shared)
    names = ", ".join(finding.variables)
    why = f"no score couples two entries of {names}"
    why += "; nor does the rest" if diagonal and finding.rest else ""
    return (
        Finding(
            "separate scores",
            finding.variables,
            why,
            finding.obligations,
            mixtures=finding.mixtures,
            rest=finding.rest,
            form=form,
        ),
    )


def _reads_rows(block: Block, value: Expr) -> bool:
    """Whether a value depends on anything that differs by example, apart from what is sought."""
    stack, seen = [value], set()
    while stack:
        for node in walk(stack.pop()):
            if isinstance(node, Read) and node.name not in block.names and node.name not in seen:
                seen.add(node.name)
                let = block.graph.lets.get(node.name)
                if let is not None:
                    stack.append(let.value)
                elif node.level is Level.EXAMPLE:
                    return True
            if isinstance(node, OverExamples | Carry | Scan | Solve):
                return True
    return False


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
