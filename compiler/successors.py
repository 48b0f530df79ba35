"""Which arrays of states begin at an observed variable, so that a later state is its next value."""

from __future__ import annotations

from ebmlang.compiler.typed import Model, Read, Scan


def successors(model: Model) -> dict[str, tuple[str, int]]:
    """Observed variable -> (array of states, dimension of time) where `let s[0] = VARIABLE` begins it."""
    observed = {v.name for v in model.variables if v.role == "observed"}
    found: dict[str, tuple[str, int]] = {}
    for let in model.lets:
        if not isinstance(let.value, Scan) or let.value.backward or len(let.value.state.starts) != 1:
            continue
        start = let.value.state.starts[0]
        if isinstance(start, Read) and start.name in observed:
            found.setdefault(start.name, (let.name, let.value.state.dim))
    return found
