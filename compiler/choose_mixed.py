"""Questions with countable and real unknowns at once, and integrals over real ones: what they need."""

from __future__ import annotations

from ebmlang.compiler.methods import MIXED_METHODS, MethodRow, find_method, method_names
from ebmlang.compiler.needs import missing_text
from ebmlang.compiler.query import Query
from ebmlang.compiler.structure import Block, Structure, analyse
from ebmlang.compiler.structure.finding import Finding
from ebmlang.compiler.typed import Variable


def real_part(block: Block) -> Block:
    """The question over the real unknowns, with the countable ones given."""
    names = tuple(v.name for v in block.sought if v.type.kind == "real")
    return Block(block.graph, Query(names, block.query.of))


def mixed_misfit(mixed: Finding, name: str | None) -> str:
    """Why a method that was asked for by name does not fit, or ""."""
    if name is None or find_method(name) in MIXED_METHODS:
        return ""
    if find_method(name) is None:
        return f"there is no method `{name}`; methods are {', '.join(method_names())}"
    return f"{name} does not fit: the block has {mixed.because}"


def mixed_rows(name: str | None) -> tuple[MethodRow, MethodRow | None]:
    """The method and what takes over where there are too many states."""
    first, last = MIXED_METHODS
    if name is None:
        return first, last
    return (first, None) if name == first.name else (last, None)


FREE = ("projected_lbfgs", "projected_gradient", "lbfgs", "adam")
"""Methods that lower a free energy: they need its values and slopes."""

_CARRIED = (
    "constrained", "unconstrained", "separable bounds",
    "smooth", "piecewise smooth", "differentiable", "kinks", "steps",
)  # fmt: skip
"""What is true of a free energy when it is of the energy for every state that is summed out: a finite sum of
exponentials is as smooth as they are. So is an integral of exponentials of polynomials of degree 2: their
coefficients are as smooth as their values at a few points."""


def searched_part(block: Block) -> Block:
    """The question over what is searched, with what is summed out given."""
    names = tuple(v.name for v in block.sought if v.name not in block.query.summed)
    return Block(block.graph, Query(names, block.query.of))


def carried(outer: Structure) -> Structure:
    """The findings about the searched unknowns that the free energy has too."""
    return Structure(outer.block, tuple(f for f in outer.findings if f.property in _CARRIED))


def why_not_free(block: Block, structure: Structure) -> str:
    """Why a free energy cannot be lowered over the rest of a block, or ""."""
    summed = ", ".join(block.query.summed)
    real = tuple(v for v in block.sought if v.name in block.query.summed and v.type.kind == "real")
    if real:
        return _why_not_integrated(block, real)
    for v in block.sought:
        if v.name in block.query.summed and v.arranged:
            return f"{v.name} is {v.type}: a sum over arrangements beside a search is not built yet"
        if v.name not in block.query.summed and v.type.kind != "real":
            return f"{v.name} is {v.type}: searching it after {summed} is summed out is not built yet"
    if block.limits:
        return f"hard constraints beside a sum over {summed} are not built yet"
    whole = structure.find("whole terms")
    return "" if whole is None else f"{summed} cannot be eliminated: {whole.because}"


def integrates(block: Block) -> bool:
    """Whether what is summed out is real."""
    return any(v.name in block.query.summed and v.type.kind == "real" for v in block.sought)


def _why_not_integrated(block: Block, real: tuple[Variable, ...]) -> str:
    """Why the energy that an integral over real unknowns leaves cannot be lowered over the rest, or ""."""
    names = ", ".join(v.name for v in real)
    other = [v for v in block.sought if v not in real and v.type.kind != "real"]
    if other:
        return f"{other[0].name} is {other[0].type}: countable unknowns beside an integral are not built yet"
    inner = Block(block.graph, Query(tuple(v.name for v in real), block.query.of))
    if inner.joint is not None:
        return f"one integral over {names} of all examples beside a search is not built yet: {inner.joint[1]}"
    reason = why_not_gaussian(analyse(inner))
    if reason:
        return f"{names} cannot be integrated out: {reason}"
    outer = searched_part(block)
    return f"hard constraints beside an integral over {names} are not built yet" if outer.limits else ""


def why_not_gaussian(structure: Structure) -> str:
    """Why the integral of exp(-beta E) over a block of real unknowns has no closed form, or ""."""
    if structure.block.limits:
        return "hard constraints bound them"
    if structure.find("unconstrained") is None:
        return missing_text(structure, "unconstrained")
    if structure.find("quadratic") is None:
        return missing_text(structure, "quadratic")
    return ""
