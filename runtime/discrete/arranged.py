"""Methods for orders and subsets: linear assignment, and exchanges of entries.

Where every entry has costs of its own, the best order of n things is a linear assignment problem (Kuhn
1955), and the best subset of k entries those k whose cost of being true is least. Everything else is
searched by exchanges, which keep an arrangement an arrangement.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ebmlang.runtime.discrete.local import Local
from ebmlang.runtime.discrete.network import Field, Network
from ebmlang.runtime.discrete.question import Question

Floats = NDArray[np.float64]

EVALUATED = 2**16
"""Assignments that are evaluated at once, over all rows."""


# --- assignment ---------------------------------------------------------------------------------


def single_entries(question: Question) -> bool:
    """Whether every table of the energy is over one entry."""
    return all(len(spec.variables) <= 1 for spec in question.bound.module.TABLES)


def least_arrangements(question: Question) -> tuple[Tensor, Tensor]:
    """The assignment of lowest energy int64 [rows, N] and its energy float64 [rows], inf where every one
    is impossible. Every table is over one entry."""
    free = question.without_given()
    networks = free.networks()
    found = torch.zeros(question.rows, len(question.cases), dtype=torch.int64)
    energy = torch.zeros(question.rows, dtype=torch.float64)
    for own in question.fields:
        costs = np.concatenate([_costs(network, own) for network in networks])
        given = None
        if question.fixed is not None:
            given = question.fixed[:, own.offset : own.offset + own.count].cpu().numpy()
            costs = _restricted(costs, given)
        best, least = _field_minimum(own, costs)
        found[:, own.offset : own.offset + own.count] = torch.from_numpy(best).expand(question.rows, -1)
        energy += torch.from_numpy(least).expand(question.rows)
    constant = [_constant(network) for network in networks]
    return found.to(question.bound.settings.device), energy + torch.cat(constant).cpu()


def _costs(network: Network, own: Field) -> Floats:
    """What each case of each entry of a field costs, [rows or 1, entries, cases]."""
    tables = [p for p in network.potentials if p.scope.shape[1] == 1 and p.table.shape[2] == own.cases]
    rows = max((p.table.shape[0] for p in tables), default=1)
    total = np.zeros((rows, own.count, own.cases))
    for p in tables:
        entries = p.scope[:, 0]
        inside = (entries >= own.offset) & (entries < own.offset + own.count)
        total[:, entries[inside] - own.offset] += p.table.detach().cpu().numpy()[:, inside]
    return total


def _constant(network: Network) -> Tensor:
    """The part of the energy that reads no entry, [rows]."""
    total = torch.zeros(network.batch, dtype=torch.float64, device=network.device)
    for p in network.potentials:
        if p.scope.shape[1] == 0:
            total = total + p.table.detach().reshape(p.table.shape[0], -1).sum(1)
    return total


def _restricted(costs: Floats, given: NDArray[np.int64]) -> Floats:
    """Costs [rows, entries, cases] with inf for what differs from the given cases [rows, entries]."""
    other = np.arange(costs.shape[2]) != given[..., None]
    return np.where((given[..., None] >= 0) & other, math.inf, costs)


def _field_minimum(own: Field, costs: Floats) -> tuple[NDArray[np.int64], Floats]:
    """The best cases [rows, entries] of one unknown and what they cost [rows]."""
    if not own.stock:
        return costs.argmin(2), costs.min(2).sum(1)
    rows, width = costs.shape[0], len(own.stock)
    groups = costs.reshape(-1, width, own.cases)
    solve = _ordered if own.kind == "class" else _chosen
    best = np.empty((len(groups), width), np.int64)
    for number, group in enumerate(groups):
        best[number] = solve(group, own.stock)
    least = np.take_along_axis(groups, best[..., None], 2)[..., 0].sum(1)
    return best.reshape(rows, -1), least.reshape(rows, -1).sum(1)


def _ordered(costs: Floats, stock: tuple[int, ...]) -> NDArray[np.int64]:
    """The order of least cost; any one where all are impossible, which costs inf."""
    from scipy.optimize import linear_sum_assignment  # here: it takes a fifth of a second to import

    try:
        return np.asarray(linear_sum_assignment(costs)[1], np.int64)
    except ValueError:
        return np.asarray(stock, np.int64)


def _chosen(costs: Floats, stock: tuple[int, ...]) -> NDArray[np.int64]:
    """The subset of least cost: what must be true, then those whose price of being true is least. Infinite
    costs count before finite ones."""
    off, on = costs[:, 0], costs[:, 1]
    forced = np.where(np.isinf(off), -1, 0) + np.where(np.isinf(on), 1, 0)
    both = np.isinf(off) & np.isinf(on)
    with np.errstate(invalid="ignore"):
        price = np.where(np.isinf(off) | np.isinf(on), 0.0, on - off)
    order = np.lexsort((price, np.where(both, 0, forced)))
    found = np.zeros(len(costs), np.int64)
    found[order[: sum(stock)]] = 1
    return found


# --- exchanges ----------------------------------------------------------------------------------


def exchanges(question: Question) -> tuple[Tensor, Tensor, Tensor]:
    """The moves of a search: pairs of entries to be exchanged int64 [M, 2], and single changes as entries
    [K] with cases [K]."""
    pairs: list[NDArray[np.int64]] = [np.zeros((0, 2), np.int64)]
    single: list[tuple[int, int]] = []
    free = np.ones(len(question.cases), bool)
    if question.fixed is not None:
        free = ~(question.fixed >= 0).all(0).cpu().numpy()
    for own in question.fields:
        entries = np.arange(own.offset, own.offset + own.count)
        if not own.stock:
            single += [(e, c) for e in entries[free[entries]].tolist() for c in range(own.cases)]
            continue
        first, second = np.triu_indices(len(own.stock), 1)
        for group in entries.reshape(-1, len(own.stock)):
            both = np.stack([group[first], group[second]], 1)
            pairs.append(both[free[both].all(1)])
    device = question.bound.settings.device
    changes = torch.tensor(single, dtype=torch.int64, device=device).reshape(-1, 2)
    return torch.from_numpy(np.concatenate(pairs)).to(device), changes[:, 0], changes[:, 1]


def descend(question: Question, start: Tensor, starts: int, steps: int) -> Local:
    """The best exchange or change again and again, from assignments int64 [rows * starts, N], until none
    lowers the energy."""
    device = start.device
    runs = start.shape[0]
    row = torch.arange(runs, device=device) // starts
    moves = exchanges(question)
    count = len(moves[0]) + len(moves[1])
    current = start.clone()
    energy = question.energies(current, row)
    taken = torch.zeros(runs, dtype=torch.int64, device=device)
    running = torch.arange(runs if count else 0, device=device)
    for _ in range(steps):
        if not len(running):
            break
        best, least = _best_move(question, current[running], row[running], moves)
        now = energy[running]
        # Only a real decrease counts, or rounding would move entries to and fro.
        lower = least < now - 1e-6 * now.abs().clamp(min=1.0).nan_to_num(posinf=0.0)
        moved = running[lower]
        current[moved] = _moved(current[moved], best[lower], moves)
        energy[moved] = least[lower]
        taken[running] += 1
        running = moved
    settled = torch.ones(runs, dtype=torch.bool, device=device)
    settled[running] = False
    return Local(current, energy, taken, settled)


def _best_move(
    question: Question, current: Tensor, row: Tensor, moves: tuple[Tensor, Tensor, Tensor]
) -> tuple[Tensor, Tensor]:
    """The move [R] after which the energy [R] is lowest, in parts that fit."""
    runs, count = len(current), len(moves[0]) + len(moves[1])
    best = torch.zeros(runs, dtype=torch.int64, device=current.device)
    least = torch.full((runs,), math.inf, dtype=torch.float64, device=current.device)
    step = max(1, EVALUATED // runs)
    for first in range(0, count, step):
        numbers = torch.arange(first, min(first + step, count), device=current.device)
        trial = current.repeat_interleave(len(numbers), 0)
        trial = _moved(trial, numbers.repeat(runs), moves)
        found = question.energies(trial, row.repeat_interleave(len(numbers))).reshape(runs, -1)
        found = found.nan_to_num(nan=math.inf, posinf=math.inf, neginf=-math.inf)
        if question.fixed is not None:
            fixed = question.fixed[row][:, None]
            wrong = (trial.reshape(runs, len(numbers), -1) != fixed) & (fixed >= 0)
            found = found.masked_fill(wrong.any(2), math.inf)
        value, place = found.min(1)
        lower = value < least
        least = torch.where(lower, value, least)
        best = torch.where(lower, numbers[place], best)
    return best, least


def _moved(current: Tensor, move: Tensor, moves: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    """Assignments [R, N] after a move [R] each."""
    pairs, entries, cases = moves
    found = current.clone()
    swaps = torch.nonzero(move < len(pairs))[:, 0]
    a, b = pairs[move[swaps]].unbind(1)
    found[swaps, a], found[swaps, b] = current[swaps, b], current[swaps, a]
    changes = torch.nonzero(move >= len(pairs))[:, 0]
    which = move[changes] - len(pairs)
    found[changes, entries[which]] = cases[which]
    return found
