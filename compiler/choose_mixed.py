"""Questions with countable and real unknowns at once, and integrals over real ones: what they need."""

from __future__ import annotations

from ebmlang.compiler.methods import MIXED_METHODS, MethodRow, find_method, method_names
from ebmlang.compiler.needs import missing_text
from ebmlang.compiler.query import Query
from ebmlang.compiler.structure import Block, Structure
from ebmlang.compiler.structure.finding import Finding


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


def why_not_gaussian(structure: Structure) -> str:
    """Why the integral of exp(-beta E) over a block of real unknowns has no closed form, or ""."""
    if structure.block.limits:
        return "hard constraints bound them"
    if structure.find("unconstrained") is None:
        return missing_text(structure, "unconstrained")
    if structure.find("quadratic") is None:
        return missing_text(structure, "quadratic")
    return ""
