"""Coordinate search: one entry after the other takes its best case, until none changes (Besag 1986).

Entries that share no table are changed together, in colours of the graph. Rows and starts are searched
side by side; the certificate is that no change of a single entry lowers the energy.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ebmlang.runtime.discrete.network import Network, Numbers, Potential


@dataclass(frozen=True, slots=True, eq=False)
class Local:
    """Where a search ended: assignments [R, N], energies [R], sweeps [R], and whether no single change
    lowers the energy [R]."""

    assignment: Tensor
    energy: Tensor
    sweeps: Tensor
    settled: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class _Share:
    """What one potential says about the entries of a colour: position `row` of the potential counts for
    entry `target` of the colour; `others` are the remaining entries of its scope."""

    table: Tensor
    target: Tensor
    others: Numbers
    cases: tuple[int, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Colour:
    """Entries with the same number of cases, and what the potentials say about each given all others."""

    entries: Tensor
    cases: int
    shares: tuple[_Share, ...]


def search(network: Network, start: Tensor, sweeps: int) -> Local:
    """Coordinate search from starts int64 [R, N], where R is a multiple of the rows of the network:
    the starts of one row stand together."""
    repeats = start.shape[0] // network.batch
    colours = colours_of(network)
    assignment = start.clone()
    running = torch.arange(start.shape[0], device=start.device)
    taken = torch.zeros(start.shape[0], dtype=torch.int64, device=start.device)
    for _ in range(sweeps):
        current = assignment[running]
        changed = torch.zeros(len(running), dtype=torch.bool, device=start.device)
        for colour in colours:
            local = local_energies(colour, current, running // repeats)
            own = current[:, colour.entries]
            least, best = local.min(2)
            # Only a real decrease moves an entry, or equal cases would change for ever.
            now = local.gather(2, own[..., None])[..., 0]
            lower = least < now - 1e-12 * now.abs().clamp(min=1.0).nan_to_num(posinf=0.0)
            current[:, colour.entries] = torch.where(lower, best, own)
            changed |= lower.any(1)
        assignment[running] = current
        taken[running] += 1
        running = running[changed]
        if not len(running):
            break
    settled = torch.ones(start.shape[0], dtype=torch.bool, device=start.device)
    settled[running] = False
    energy = _total(network, assignment, repeats)
    return Local(assignment, energy, taken, settled)


def _total(network: Network, assignment: Tensor, repeats: int) -> Tensor:
    parts = assignment.reshape(network.batch, repeats, -1)
    return torch.stack([network.energy(parts[:, r]) for r in range(repeats)], 1).reshape(-1)


def colours_of(network: Network) -> tuple[Colour, ...]:
    """Sets of entries of which no two share a table, so that they may change together."""
    around: list[set[int]] = [set() for _ in network.cases]
    for p in network.potentials:
        if p.scope.shape[1] > 1:
            for row in p.scope.tolist():
                for e in row:
                    around[e].update(row)
    colour_of = np.full(len(around), -1, np.int64)
    for entry, near in enumerate(around):
        used = {int(colour_of[n]) for n in near if n != entry}
        colour = 0
        while colour in used:
            colour += 1
        colour_of[entry] = colour
    found = []
    for colour in range(int(colour_of.max(initial=-1)) + 1):
        for count in np.unique(network.cases[colour_of == colour]):
            own = np.flatnonzero((colour_of == colour) & (network.cases == count))
            if count > 1:
                found.append(colour_of_entries(network, own, int(count)))
    return tuple(found)


def colour_of_entries(network: Network, own: Numbers, count: int) -> Colour:
    """Any entries that have `count` cases each, whether they share tables or not."""
    place = np.full(len(network.cases), -1, np.int64)
    place[own] = np.arange(len(own))
    shares = [
        share
        for p in network.potentials
        for at in range(p.scope.shape[1])
        if (share := _share(p, at, place)) is not None
    ]
    return Colour(torch.from_numpy(own).to(network.device), count, tuple(shares))


def _share(p: Potential, at: int, place: Numbers) -> _Share | None:
    rows = np.flatnonzero(place[p.scope[:, at]] >= 0)
    if not len(rows):
        return None
    device = p.table.device
    table = p.table.detach().index_select(1, torch.from_numpy(rows).to(device)).movedim(2 + at, -1)
    cases = tuple(table.shape[2:-1])
    flat = table.reshape(table.shape[0], table.shape[1], -1, table.shape[-1])
    target = torch.from_numpy(place[p.scope[rows, at]]).to(device)
    return _Share(flat, target, np.delete(p.scope[rows], at, 1), cases)


def local_energies(colour: Colour, assignment: Tensor, row: Tensor) -> Tensor:
    """The part of the energy that each entry of the colour decides, by its case: [R, n, K]."""
    runs = assignment.shape[0]
    total = torch.zeros(
        runs, len(colour.entries), colour.cases, dtype=torch.float64, device=assignment.device
    )
    for share in colour.shares:
        index = torch.zeros(runs, len(share.target), dtype=torch.int64, device=assignment.device)
        for place, count in enumerate(share.cases):
            near = torch.from_numpy(share.others[:, place]).to(assignment.device)
            index = index * count + assignment[:, near]
        positions = torch.arange(len(share.target), device=assignment.device)
        own = row[:, None] if share.table.shape[0] > 1 else torch.zeros_like(row)[:, None]
        total.index_add_(1, share.target, share.table[own, positions[None], index])
    return total
