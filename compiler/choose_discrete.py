"""Findings about discrete unknowns to method. Sizes decide the rest when values are bound."""

from __future__ import annotations

from ebmlang.compiler.methods import DISCRETE_METHODS, MethodRow, find_method, method_names
from ebmlang.compiler.structure import Structure
from ebmlang.compiler.structure.finding import Finding


def fitting_rows(structure: Structure) -> tuple[list[MethodRow], list[tuple[MethodRow, str]]]:
    """The methods whose needs are met in order of preference, and the others with the reason."""
    fitting, rejected = [], []
    for row in DISCRETE_METHODS:
        if "tables" in row.needs and structure.find("tables") is None:
            whole = structure.find("whole terms")
            rejected.append((row, whole.because if whole is not None else "no tables were found"))
        else:
            fitting.append(row)
    return fitting, rejected


def misfit(structure: Structure, discrete: Finding, name: str | None) -> str:
    """Why nothing fits, or an empty string."""
    if any(v.type.kind == "permutation" for v in structure.block.discrete):
        return f"no method fits, because {discrete.because}: search over permutations is not built yet"
    if name is None:
        return ""
    row = find_method(name)
    if row is None:
        return f"there is no method `{name}`; methods are {', '.join(method_names())}"
    if row not in DISCRETE_METHODS:
        return f"{name} does not fit: {discrete.because}"
    reasons = {r.name: why for r, why in fitting_rows(structure)[1]}
    return f"{name} does not fit: {reasons[name]}" if name in reasons else ""
