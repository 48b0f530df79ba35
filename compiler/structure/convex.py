"""Rules: degree, curvature and bounds of the energy."""

from __future__ import annotations

import math

from ebmlang.compiler import notation
from ebmlang.compiler.curvature.calculus import Want
from ebmlang.compiler.curvature.interval import Interval
from ebmlang.compiler.curvature.obligation import Proof, both
from ebmlang.compiler.graph import Limit
from ebmlang.compiler.query import Query
from ebmlang.compiler.structure.absolute import find_absolute
from ebmlang.compiler.structure.block import Block
from ebmlang.compiler.structure.domains import domain_text
from ebmlang.compiler.structure.finding import Finding
from ebmlang.compiler.typed import Variable

MOST_BLOCKS = 8
"""Unknowns up to which blocks are looked for."""


def find_curvature(block: Block) -> tuple[Finding, ...]:
    """`affine` or `quadratic`; `convex`, or `convex energy` where the domain is not; `concave`."""
    if not _continuous(block.sought):
        return ()
    names = tuple(v.name for v in block.sought)
    if not block.touching:
        curved = curved_domains(block)
        flat = Finding("constant", names, "no term depends on it: every value is a minimum")
        return () if curved or block.limits else (flat,)
    found = [*_degree(block, names)]
    proof = energy_is(block, "convex")
    if proof is not None:
        found.append(_convex(block, names, proof))
    else:
        concave = energy_is(block, "concave")
        if concave == ():
            found.append(
                Finding("concave", names, f"{_terms(block)}: least at the edge of the domain", concave)
            )
    return tuple(found)


def energy_is(block: Block, want: Want) -> Proof | None:
    """The conditions under which every term is convex (concave) in the block."""
    return both(*(block.calculus.prove(s.total, want) for s in block.touching))


def curved_domains(block: Block) -> tuple[Variable, ...]:
    """Sought variables whose domain is not a convex set."""
    return tuple(v for v in block.sought if v.domain.rule.geometry in ("manifold", "closed", "discrete"))


def why_not_convex(block: Block) -> str:
    """The term that is not proven convex, and the part of it that is to blame."""
    for summand in block.touching:
        if block.calculus.convex(summand.total) is not None:
            continue
        if block.calculus.concave(summand.total) == ():
            return f"{summand.name} is concave"
        part = notation.text(block.calculus.blame(summand.total))
        shown = f"`{part}` in {summand.name}" if len(part) <= 60 else f"a part of {summand.name}"
        return f"{shown} is not proven convex"
    curved = curved_domains(block)
    return f"the domain is not convex: {domain_text(curved)}" if curved else "not proven convex"


def _degree(block: Block, names: tuple[str, ...]) -> tuple[Finding, ...]:
    calculus = block.calculus
    if all(calculus.degrees.affine(s.total) for s in block.touching):
        closed = [v for v in block.sought if v.domain.rule.geometry == "everywhere"]
        why = f"{_terms(block)} has no curvature" if len(block.touching) == 1 else "no term has curvature"
        if closed:
            free = ", ".join(v.name for v in closed)
            why = f"{why}; {free} is unbounded, so there is a minimum only where its slope is 0"
        return (Finding("affine", names, why),)
    if all(calculus.quadratic(s.total) for s in block.touching):
        one = len(block.touching) == 1
        what = "is a polynomial of degree 2" if one else "are polynomials of degree 2"
        return (Finding("quadratic", names, f"{_terms(block)} {what}"),)
    return ()


def _convex(block: Block, names: tuple[str, ...], proof: Proof) -> Finding:
    curved = curved_domains(block)
    why = f"{_terms(block)} is convex" if len(block.touching) == 1 else "every term is convex"
    if curved:
        text = f"{why}; the domain is not, {domain_text(curved)}"
        return Finding("convex energy", names, text, proof)
    if not all(_affine_limit(block, limit) for limit in block.limits):
        return Finding("convex energy", names, f"{why}; the hard constraints are not proven so", proof)
    return Finding("convex", names, why, proof)


def _affine_limit(block: Block, limit: Limit) -> bool:
    switched = limit.mask is not None and block.depends(limit.mask)
    return not switched and block.calculus.degrees.affine(limit.value)


def _terms(block: Block) -> str:
    names = [s.name for s in block.touching]
    if len(names) <= 4:
        return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
    return f"{', '.join(names[:3])} and {len(names) - 3} more"


def _continuous(sought: tuple[Variable, ...]) -> bool:
    return bool(sought) and all(v.type.kind == "real" for v in sought)


def find_bound(block: Block) -> tuple[Finding, ...]:
    """`bounded below`, by the proven ranges of the terms that the block moves."""
    if not _continuous(block.sought) or not block.touching:
        return ()
    total = Interval(0.0, 0.0)
    for summand in block.touching:
        total = total + block.calculus.ranges(summand.total)
    if not math.isfinite(total.low):
        return ()
    names = tuple(v.name for v in block.sought)
    why = f"{_terms(block)} cannot fall below {total.low:g}"
    return (Finding("bounded below", names, why, bound=total.low),)


def find_blocks(block: Block) -> tuple[Finding, ...]:
    """`convex by blocks`: not convex, but in each of some groups of unknowns given the others."""
    sought = block.sought
    if not 2 <= len(sought) <= MOST_BLOCKS or not _continuous(sought) or not block.touching:
        return ()
    if energy_is(block, "convex") is not None:
        return ()
    groups: list[tuple[tuple[str, ...], Proof]] = []
    hard: list[str] = []
    for variable in sought:
        for i, (group, _) in enumerate(groups):
            larger = (*group, variable.name)
            proof = _easy(block, larger)
            if proof is not None:
                groups[i] = (larger, proof)
                break
        else:
            proof = _easy(block, (variable.name,))
            if proof is None:
                hard.append(variable.name)
            else:
                groups.append(((variable.name,), proof))
    if not groups:
        return ()
    names = tuple(v.name for v in sought)
    obligations = both(*(proof for _, proof in groups))
    assert obligations is not None
    parts = tuple(group for group, _ in groups)
    shown = "; ".join(_given(group, names) for group in parts)
    if hard:
        return (Finding("convex in part", names, shown, obligations, blocks=parts),)
    return (Finding("convex by blocks", names, shown, obligations, blocks=parts), *_apart(block, obligations))


def _apart(block: Block, obligations: Proof) -> tuple[Finding, ...]:
    """`kinks apart`: what is stationary in every group given the others is stationary in all of them.

    Neither a kink, nor a bound, nor a condition of the groups may read unknowns of two groups.
    """
    domains = [a for v in block.sought for a in (*v.domain.arguments, v.domain.where) if a is not None]
    if any(map(block.depends, (*domains, *(o.value for o in obligations)))) or block.limits:
        return ()
    names = tuple(v.name for v in block.sought)
    if all(block.smoothness(s.total).grade in ("smooth", "piecewise") for s in block.touching):
        return (Finding("kinks apart", names, "the energy is differentiable"),)
    split = find_absolute(block)
    because = "the only kinks are absolute values of single entries"
    return tuple(Finding("kinks apart", names, because, found.obligations) for found in split)


def _easy(block: Block, group: tuple[str, ...]) -> Proof | None:
    part = Block(block.graph, Query(group, block.query.of, block.query.using, block.query.question))
    return None if curved_domains(part) else energy_is(part, "convex")


def _given(group: tuple[str, ...], names: tuple[str, ...]) -> str:
    others = ", ".join(n for n in names if n not in group)
    return f"convex in {', '.join(group)} given {others}"
