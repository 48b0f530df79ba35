"""Findings about discrete unknowns to method. Sizes decide the rest when values are bound."""

from __future__ import annotations

from ebmlang.compiler.methods import DISCRETE_METHODS, MethodRow, find_method, method_names
from ebmlang.compiler.needs import has, missing_text
from ebmlang.compiler.structure import Structure
from ebmlang.compiler.structure.finding import Finding


def fitting_rows(structure: Structure) -> tuple[list[MethodRow], list[tuple[MethodRow, str]]]:
    """The methods whose needs are met in order of preference, and the others with the reason."""
    fitting, rejected = [], []
    arranged = structure.find("arranged") is not None
    for row in DISCRETE_METHODS:
        reason = _reason(structure, row)
        if not reason:
            fitting.append(row)
        elif arranged or "arranged" not in row.needs:
            rejected.append((row, reason))
    return fitting, rejected


def _reason(structure: Structure, row: MethodRow) -> str:
    """Why a method does not fit, or ""."""
    for need in row.needs:
        if has(structure, need):
            continue
        whole = structure.find("whole terms")
        if need == "tables":
            return whole.because if whole is not None else "no tables were found"
        return missing_text(structure, need)
    return ""


def misfit(structure: Structure, discrete: Finding, name: str | None) -> str:
    """Why nothing fits, or an empty string."""
    if name is None:
        return ""
    row = find_method(name)
    if row is None:
        return f"there is no method `{name}`; methods are {', '.join(method_names())}"
    if row not in DISCRETE_METHODS:
        return f"{name} does not fit: {discrete.because}"
    reason = _reason(structure, row)
    return f"{name} does not fit: {reason}" if reason else ""
