"""Rule: where the sought variables live."""

from __future__ import annotations

from ebmlang.compiler.structure.block import Block
from ebmlang.compiler.structure.finding import Finding

_SEPARABLE = ("reals", "interval", "nonnegative")


def find_domains(block: Block) -> tuple[Finding, ...]:
    """`unconstrained`, `constrained`, `separable bounds` and `discrete`.

    Open domains count as unconstrained: they are searched in transformed coordinates.
    """
    found: list[Finding] = []
    names = tuple(v.name for v in block.sought)
    discrete = tuple(v.name for v in block.sought if v.type.kind != "real")
    if discrete:
        kinds = ", ".join(f"{v.name} is {v.type}" for v in block.sought if v.name in discrete)
        found.append(Finding("discrete", discrete, kinds))
    closed = [v for v in block.sought if v.domain.rule.geometry in ("closed convex", "manifold")]
    where = ", ".join(f"{v.name} in {_spelled(v.domain.name)}" for v in block.sought if v.domain.name != "reals")
    if closed:
        found.append(Finding("constrained", tuple(v.name for v in closed), where))
    else:
        found.append(Finding("unconstrained", names, f"open domain: {where}" if where else "no domain is declared"))
    if all(v.domain.name in _SEPARABLE for v in block.sought):
        why = "every entry has its own bounds" if closed else "no entry is bounded"
        found.append(Finding("separable bounds", names, why))
    return tuple(found)


def _spelled(name: str) -> str:
    return "[lo, hi]" if name == "interval" else name
