"""What must hold of given values for a claim to be true; checked when values are bound."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from ebmlang.compiler import typed
from ebmlang.compiler.sizes import ZERO
from ebmlang.compiler.typed import Apply, Axes, Expr, Fold, Level, SizeOf
from ebmlang.compiler.types import INT


@dataclass(frozen=True, slots=True)
class Obligation:
    """`value` must be >= 0 entry by entry, or a matrix without negative eigenvalues.

    `says` is the condition in the words of the file.
    """

    value: Expr
    says: str
    kind: Literal["nonnegative", "psd"] = "nonnegative"

    def over(self, axes: Axes, guard: Expr | None) -> Obligation | None:
        """The obligation for every position of the axes where the guard holds, without these axes."""
        own = tuple(a for a in self.value.axes if a in axes)
        if not own:
            return self
        if self.kind == "psd":
            return None
        # The sum of what is negative is 0 exactly when nothing is; it exists over no entries too.
        shared = axes if guard is not None else own
        zero = SizeOf(INT, (), Level.CONSTANT, False, self.value.span, ZERO)
        value = self.value
        negative = Apply(
            value.type, value.axes, value.level, value.coupled, value.span, "minimum", (value, zero)
        )
        level = max(value.level, guard.level) if guard is not None else value.level
        parts = (negative,) if guard is None else (negative, guard)
        free = tuple(a for a in typed.merge_axes(parts) if a not in shared)
        folded = Fold(value.type, free, level, value.coupled, value.span, "sum", negative, shared, guard)
        return replace(self, value=folded)


Proof = tuple[Obligation, ...]
"""The conditions under which something is proven; none of them: it holds."""


def both(*proofs: Proof | None) -> Proof | None:
    """All of several proofs, with each condition once; None when one is missing."""
    found: dict[tuple[str, str], Obligation] = {}
    for proof in proofs:
        if proof is None:
            return None
        for obligation in proof:
            found.setdefault((obligation.kind, obligation.says), obligation)
    return tuple(found.values())


def folded(proof: Proof | None, axes: Axes, guard: Expr | None) -> Proof | None:
    """A proof about the body of a plate, as one about all its positions."""
    if proof is None or not proof:
        return proof
    parts = [o.over(axes, guard) for o in proof]
    return both(*((p,) if p is not None else None for p in parts))
