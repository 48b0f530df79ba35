"""Rule: where the Hessian may have entries that are not 0, and what is independent of what."""

from __future__ import annotations

from dataclasses import dataclass

from ebmlang.compiler.couplings import ROWS, Computed, Coupling, LiftedPattern
from ebmlang.compiler.sizes import Size
from ebmlang.compiler.structure.block import Block
from ebmlang.compiler.structure.finding import Finding
from ebmlang.compiler.structure.pattern_calculus import couplings_of
from ebmlang.compiler.structure.pattern_chain import (
    Chain,
    Chains,
    Shapes,
    block_size,
    distance,
    hollow,
    narrow,
    plain,
    shapes_of,
)

MOST_SHOWN = 2
"""Couplings that a finding names as its evidence."""


@dataclass(frozen=True, slots=True)
class Sparsity:
    """The finding in words: its property, its evidence, what separates, and the chain if there is one."""

    name: str
    because: str
    separable: str = ""
    chain: Chain | None = None


def find_pattern(block: Block) -> tuple[Finding, ...]:
    """One of `diagonal`, `block-diagonal`, `block-banded`, `tree`, `arrow`, `bipartite`, `sparse` and `dense`
    (each with the word Hessian), and `separable` where the energy is a sum of independent problems.

    Says nothing where an unknown has no derivatives.
    """
    if not block.sought or any(v.type.kind != "real" for v in block.sought):
        return ()
    names = tuple(v.name for v in block.sought)
    found = sparsity(block, couplings_of(block))
    findings = [Finding(f"{found.name} Hessian", names, found.because)]
    # A domain may tie entries that no term couples, as a simplex does; so may a constraint.
    tied = any(v.domain.rule.rank for v in block.sought)
    limited = bool(block.graph.model.constraints)
    if found.separable and not limited and not (tied and found.separable.startswith("over")):
        findings.append(Finding("separable", names, found.separable))
    return tuple(findings)


def lifted_pattern(block: Block) -> LiftedPattern:
    """The couplings of a block, and how to lay its variables along a chain where that is proven."""
    couplings = couplings_of(block)
    chain = sparsity(block, couplings).chain
    if chain is None or chain.fixed:
        return LiftedPattern(couplings)
    return LiftedPattern(couplings, tuple(chain.along.items()))


def sparsity(block: Block, couplings: tuple[Coupling, ...]) -> Sparsity:
    """What the couplings look like together."""
    shapes = shapes_of(block)
    apart = _groups(shapes, couplings)
    if not couplings:
        return Sparsity("diagonal", "no term couples two entries")
    search = Chains(shapes, couplings)
    chain = search.best()
    blocks = chain is not None and not hollow(chain, couplings)
    if chain is not None and blocks and not chain.fixed:
        return _chained(shapes, couplings, chain, apart)
    separable = apart or _separated(shapes, chain)
    if not blocks:
        sides = _bipartite(search)
        if sides is not None:
            left, right = ("{" + ", ".join(s) + "}" if len(s) > 1 else s[0] for s in sides)
            why = f"{left} and {right} meet each other, and each is block-diagonal; {_shown(couplings)}"
            return Sparsity("bipartite", why, separable, _larger_side(search, sides))
        if _tree(couplings):
            return Sparsity("tree", f"{_shown(couplings)}, its parent", apart)
    for found in search.with_hubs():
        if (found.hubs or found.fixed) and not hollow(found, couplings) and _small(shapes, found):
            return _arrow(shapes, couplings, found, apart)
    wide = tuple(sorted((c for c in couplings if not narrow(c)), key=lambda c: -len(set(c.running()))))
    if wide:
        return Sparsity("dense", _shown(wide), separable)
    return Sparsity("sparse", _shown(couplings), separable)


# --- chains -------------------------------------------------------------------------------------


def _chained(shapes: Shapes, couplings: tuple[Coupling, ...], chain: Chain, apart: str) -> Sparsity:
    size = block_size(shapes, chain.along)
    separable = apart or _separated(shapes, chain)
    if chain.bandwidth == 0:
        if size.constant == 1:
            return Sparsity("diagonal", "no term couples two entries", "", chain)
        return Sparsity("block-diagonal", f"blocks of {size}: {_shown(couplings)}", separable, chain)
    moving = sorted((c for c in couplings if _reach(c, chain)), key=lambda c: -_reach(c, chain))
    why = f"blocks of {size}, bandwidth {chain.bandwidth}: {_shown(tuple(moving))}"
    return Sparsity("block-banded", why, separable, chain)


def _reach(coupling: Coupling, chain: Chain) -> int:
    """How far apart the two entries are along the chain."""
    first, second = (e.index[chain.along[e.variable][-1]] for e in (coupling.first, coupling.second))
    return distance(first, second) or 0


def _arrow(shapes: Shapes, couplings: tuple[Coupling, ...], chain: Chain, apart: str) -> Sparsity:
    size = block_size(shapes, chain.along)
    names = _listed(tuple(chain.along))
    inner = f"bandwidth {chain.bandwidth}" if chain.bandwidth else "each block alone"
    crossing = chain.fixed or tuple(c for c in couplings if _crosses(c, chain))
    what = (
        f"{names} in blocks of {size}, {inner}"
        if size.constant != 1 or chain.bandwidth
        else f"{names} entry by entry"
    )
    why = f"{what}; beside it {_shown(crossing)}"
    return Sparsity("arrow", why, apart, chain)


def _crosses(coupling: Coupling, chain: Chain) -> bool:
    return (coupling.first.variable in chain.hubs) != (coupling.second.variable in chain.hubs)


def _small(shapes: Shapes, chain: Chain) -> bool:
    """Whether the hubs have fewer dimensions of open size than what they stand beside."""
    rank = max(_rank(shapes[n]) for n in chain.along)
    return all(_rank(shapes[n]) <= rank for n in chain.hubs) and rank > 0


def _rank(shape: tuple[Size, ...]) -> int:
    return sum(size.constant is None for size in shape)


# --- other forms --------------------------------------------------------------------------------


def _bipartite(search: Chains) -> tuple[tuple[str, ...], tuple[str, ...]] | None:
    """Two groups of variables, each block-diagonal once the other one is given."""
    names = tuple(search.shapes)
    if not 2 <= len(names) <= 5:
        return None
    for bits in range(1, 2 ** (len(names) - 1)):
        right = tuple(n for k, n in enumerate(names) if bits >> k & 1)
        left = tuple(n for n in names if n not in right)
        sides = (search.best(right), search.best(left))
        if all(s is not None and s.bandwidth == 0 and not s.fixed for s in sides):
            return right, left
    return None


def _larger_side(search: Chains, sides: tuple[tuple[str, ...], tuple[str, ...]]) -> Chain | None:
    """The side of more open dimensions, where one has more: the other one stands beside it."""
    ranks = [max(_rank(search.shapes[n]) for n in side) for side in sides]
    if ranks[0] == ranks[1]:
        return None
    return search.best(sides[ranks[0] > ranks[1]])


def _tree(couplings: tuple[Coupling, ...]) -> bool:
    """Every entry is coupled with one entry before it: x[i] with x[(i - a) // b]."""
    if len(couplings) != 1:
        return False
    coupling = couplings[0]
    if coupling.first.variable != coupling.second.variable or len(coupling.first.index) != 1:
        return False
    for child, parent in ((coupling.first, coupling.second), (coupling.second, coupling.first)):
        own, other = child.index[0], parent.index[0]
        match other.terms:
            case ((Computed(function="floordiv", arguments=(a, b)), 1),) if other.rest.constant == 0:
                step, back = b.constant, (own - a).constant
                if plain(own) and step is not None and step >= 1 and back is not None and back >= 1:
                    return True
    return False


def _groups(shapes: Shapes, couplings: tuple[Coupling, ...]) -> str:
    """Variables that no term joins, in words; empty when all hang together."""
    group = {n: n for n in shapes}
    for coupling in couplings:
        a, b = group[coupling.first.variable], group[coupling.second.variable]
        if a != b:
            group = {n: a if g == b else g for n, g in group.items()}
    parts: dict[str, list[str]] = {}
    for name, own in group.items():
        parts.setdefault(own, []).append(name)
    if len(parts) < 2:
        return ""
    return f"no term couples {' with '.join(_listed(tuple(p)) for p in parts.values())}"


def _separated(shapes: Shapes, chain: Chain | None) -> str:
    if chain is None or chain.fixed or chain.separating == 0:
        return ""
    parts = [
        _dimension(shapes, name, k) for name, dims in chain.along.items() for k in dims[: chain.separating]
    ]
    return f"over {_listed(tuple(dict.fromkeys(parts)))}"


def _dimension(shapes: Shapes, name: str, k: int) -> str:
    shape = shapes[name]
    if shape[k] == Size.of(ROWS):
        return "examples"
    own = [d for d, size in enumerate(shape) if size != Size.of(ROWS)]
    place = own.index(k)
    if len(own) == 1:
        return f"the entries of {name}"
    if len(own) == 2:
        return f"the {('rows', 'columns')[place]} of {name}"
    return f"dimension {place} of {name}"


# --- words --------------------------------------------------------------------------------------


def _listed(names: tuple[str, ...]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _shown(couplings: tuple[Coupling, ...]) -> str:
    """`smooth couples x[t] with x[t + 1]`, for the first couplings of different terms."""
    texts: dict[str, None] = {}
    terms: set[str] = set()
    for coupling in couplings:
        if coupling.term not in terms and len(terms) < MOST_SHOWN:
            terms.add(coupling.term)
            pair = sorted((str(coupling.first), str(coupling.second)), key=lambda t: (len(t), t))
            texts[f"{coupling.term} couples {pair[0]} with {pair[1]}"] = None
    return ", ".join(texts)
