"""Which arrays of states begin at an observed variable, so that a later state is its next value."""

from __future__ import annotations

from ebmlang.compiler.training import reached
from ebmlang.compiler.typed import Model, Read, Scan


def successors(model: Model, action: str = "") -> dict[str, tuple[str, int]]:
    """Observed variable -> (array of states, dimension of time) where `let s[0] = VARIABLE` begins it.

    Where several do, the first one that depends on the action, else the first one.
    """
    observed = {v.name for v in model.variables if v.role == "observed"}
    found: dict[str, tuple[str, int]] = {}
    for let in sorted(model.lets, key=lambda let: action not in reached(model, (let.value,))):
        if not isinstance(let.value, Scan) or let.value.backward or len(let.value.state.starts) != 1:
            continue
        start = let.value.state.starts[0]
        if isinstance(start, Read) and start.name in observed:
            found.setdefault(start.name, (let.name, let.value.state.dim))
    return found
