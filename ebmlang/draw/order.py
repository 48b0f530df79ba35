"""Which end of an edge stands higher, so that data flow down to the unknowns."""

from __future__ import annotations

from ebmlang.draw.picture import Edge, Mark, Picture, VariableNode


def downward(picture: Picture) -> dict[Edge, tuple[str, str]]:
    """Each edge as (upper node, lower node).

    What is given stands above the terms that read it, the unknowns below the terms that tie them
    to what is given, and terms of unknowns alone below these. Lets stand below what they are
    computed from. This never makes a cycle: an unknown that a let reads stands above everything.
    """
    sought = _sought(picture)
    lets = {n.id for n in picture.nodes} - {n.id for n in picture.nodes if isinstance(n, Mark | VariableNode)}
    early = {e.read for e in picture.edges if e.reader in lets}
    anchored = {e.reader for e in picture.edges if e.read not in sought and not e.rows}
    found: dict[Edge, tuple[str, str]] = {}
    for edge in picture.edges:
        low = edge.read in sought - early and edge.reader in anchored and edge.reader not in lets
        found[edge] = (edge.reader, edge.read) if low else (edge.read, edge.reader)
    return found


def _sought(picture: Picture) -> frozenset[str]:
    """Latents, or the parameters of a model without latents."""
    variables = [n for n in picture.nodes if isinstance(n, VariableNode)]
    for role in ("latent", "param"):
        found = frozenset(n.id for n in variables if n.role == role)
        if found:
            return found
    return frozenset()
