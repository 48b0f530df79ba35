"""Elimination with numbers: the minimum with its assignment, and the log-sum of exponentials."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ebmlang.runtime.discrete.cases import drawn_cases
from ebmlang.runtime.discrete.network import Network, Potential
from ebmlang.runtime.discrete.schedule import Batch, Schedule


def lowest(network: Network, plan: Schedule) -> tuple[Tensor, Tensor]:
    """The least energy of every row [B] and an assignment that has it, int64 [B, N] (min-sum).

    Among equals the lower case wins, entry by entry in the order of elimination.
    """
    stores = [p.table for p in network.potentials]
    choices: list[Tensor] = []
    for batch in plan.batches:
        least, choice = _joined(batch, stores).min(2)
        choices.append(choice.to(torch.uint8 if batch.cases[0] <= 256 else torch.int64))
        stores.append(_collected(batch, least))
    energy = _constant(plan, stores, network)
    assignment = torch.zeros(network.batch, len(network.cases), dtype=torch.int64, device=network.device)
    for batch, choice in zip(reversed(plan.batches), reversed(choices), strict=True):
        index = torch.zeros(network.batch, len(batch.entries), dtype=torch.int64, device=network.device)
        for place, count in enumerate(batch.cases[1:]):
            near = torch.from_numpy(batch.neighbours[:, place]).to(network.device)
            index = index * count + assignment[:, near]
        flat = choice.reshape(*choice.shape[:2], -1).expand(network.batch, -1, -1)
        own = torch.from_numpy(batch.entries).to(network.device)
        assignment[:, own] = flat.gather(2, index[..., None])[..., 0].to(torch.int64)
    return energy, assignment


def log_sum(network: Network, plan: Schedule, beta: float) -> Tensor:
    """log sum exp(-beta E) over all assignments, [B]; differentiable in the tables."""
    stores = [-beta * p.table for p in network.potentials]
    for batch in plan.batches:
        stores.append(_collected(batch, log_sum_exp(_joined(batch, stores), 2)))
    return _constant(plan, stores, network)


def log_sum_exp(x: Tensor, dim: int) -> Tensor:
    """log sum exp along a dimension; -inf where all entries are, with a gradient of 0 there.

    Values and gradients stay exact beside entries of -inf, which torch.logsumexp does not promise.
    """
    top = x.detach().amax(dim, keepdim=True)
    top = torch.where(torch.isfinite(top), top, 0.0)
    total = (x - top).exp().sum(dim)
    empty = total == 0
    log = torch.where(empty, 1.0, total).log()
    return torch.where(empty, -math.inf, log + top.squeeze(dim))


@dataclass(frozen=True, slots=True, eq=False)
class Sums:
    """log Z [B], and the probability of every case of every entry: one tensor [B, n, K] per number of
    cases, beside the numbers of its entries."""

    log_z: Tensor
    marginals: tuple[tuple[Tensor, Tensor], ...]


def sums(network: Network, plan: Schedule, beta: float) -> Sums:
    """log Z and all marginals; the marginals are its derivatives by the tables of single entries.

    log Z stays differentiable when the tables are.
    """
    graph = any(p.table.requires_grad for p in network.potentials)
    leaves: list[tuple[Tensor, Tensor]] = []
    parts: list[Potential] = []
    with torch.enable_grad():
        for p in network.potentials:
            if p.scope.shape[1] == 1:
                extra = torch.zeros(
                    network.batch, *p.table.shape[1:], dtype=torch.float64, device=network.device
                ).requires_grad_(True)
                leaves.append((torch.from_numpy(p.scope[:, 0]).to(network.device), extra))
                # An energy of inf plus the leaf is inf, and has a gradient of 0.
                parts.append(replace(p, table=p.table + extra))
            else:
                parts.append(p)
        log_z = log_sum(replace(network, potentials=tuple(parts)), plan, beta)
        slopes = torch.autograd.grad(log_z.sum(), [leaf for _, leaf in leaves], retain_graph=graph)
    found = tuple(
        (entries, (-slope / beta).clamp(0.0, 1.0)) for (entries, _), slope in zip(leaves, slopes, strict=True)
    )
    return Sums(log_z if graph else log_z.detach(), found)


# --- one batch ----------------------------------------------------------------------------------


def _joined(batch: Batch, stores: list[Tensor]) -> Tensor:
    """The sum of all tables of each entry: [B or 1, G, own cases, neighbours' cases...]."""
    width = len(batch.cases)
    total: Tensor | None = None
    # Small tables first, so that only the last sums fill the whole joined table.
    for operand in sorted(batch.inputs, key=lambda i: math.prod(batch.cases[a] for a in i.axes)):
        table = _gathered(operand.stores, operand.rows, stores)
        table = table.permute(0, 1, *(2 + a for a in operand.permuted))
        shape = [batch.cases[a] if a in operand.axes else 1 for a in range(width)]
        shown = table.reshape(*table.shape[:2], *shape)
        total = shown if total is None else total + shown
    assert total is not None, "every entry has a table of its own"
    return total.expand(-1, -1, *batch.cases)


def _gathered(stores: np.ndarray, rows: np.ndarray, tables: list[Tensor]) -> Tensor:
    """The tables of all tasks side by side: [B or 1, G, ...]."""
    wanted = np.unique(stores)
    if len(wanted) == 1:
        return _selected(tables[int(wanted[0])], rows)
    parts, order = [], []
    for store in wanted.tolist():
        places = np.flatnonzero(stores == store)
        parts.append(_selected(tables[store], rows[places]))
        order.append(places)
    batch = max(p.shape[0] for p in parts)
    together = torch.cat([p.expand(batch, *p.shape[1:]) for p in parts], 1)
    inverse = np.argsort(np.concatenate(order))
    return together.index_select(1, torch.from_numpy(inverse).to(together.device))


def _selected(table: Tensor, rows: np.ndarray) -> Tensor:
    count = len(rows)
    if count and int(rows[-1]) - int(rows[0]) == count - 1 and bool((np.diff(rows) == 1).all()):
        return table[:, int(rows[0]) : int(rows[0]) + count]
    return table.index_select(1, torch.from_numpy(rows).to(table.device))


def _collected(batch: Batch, result: Tensor) -> Tensor:
    """Results of tasks that leave the same neighbours, added up: [B or 1, outputs, ...]."""
    if batch.outputs == len(batch.entries):
        return result
    place = torch.from_numpy(batch.out).to(result.device)
    empty = result.new_zeros(result.shape[0], batch.outputs, *result.shape[2:])
    return empty.index_add(1, place, result)


def _constant(plan: Schedule, stores: list[Tensor], network: Network) -> Tensor:
    total = torch.zeros(network.batch, dtype=torch.float64, device=network.device)
    for store, row in plan.constants:
        total = total + stores[store][:, row]
    return total


# --- draws --------------------------------------------------------------------------------------


def drawn(network: Network, plan: Schedule, beta: float, luck: Tensor) -> Tensor:
    """Independent assignments with probability in proportion to exp(-beta E), int64 [B, S, N], by uniform
    numbers [B, S, N]: entry by entry in the reverse order of elimination, each given those that were left
    beside it."""
    stores = [-beta * p.table for p in network.potentials]
    joined = []
    for batch in plan.batches:
        together = _joined(batch, stores)
        joined.append(together)
        stores.append(_collected(batch, log_sum_exp(together, 2)))
    found = torch.zeros(luck.shape, dtype=torch.int64, device=network.device)
    for batch, logits in zip(reversed(plan.batches), reversed(joined), strict=True):
        index = torch.zeros(*luck.shape[:2], len(batch.entries), dtype=torch.int64, device=network.device)
        for place, count in enumerate(batch.cases[1:]):
            near = torch.from_numpy(batch.neighbours[:, place]).to(network.device)
            index = index * count + found[:, :, near]
        flat = logits.flatten(3) if logits.ndim > 3 else logits[..., None]
        flat = flat.movedim(2, 3).expand(network.batch, -1, -1, -1)  # [B, G, neighbours' cases, own cases]
        wanted = index.transpose(1, 2)[..., None].expand(-1, -1, -1, flat.shape[3])
        own = torch.from_numpy(batch.entries).to(network.device)
        chosen = flat.gather(2, wanted).transpose(1, 2)
        found[:, :, own] = drawn_cases(chosen, luck[:, :, own], torch.zeros_like(index))
    return found
