"""Free energies and marginals of discrete unknowns: F = -1/beta log sum exp(-beta E)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ebmlang.errors import DataError
from ebmlang.runtime.bind import Bound
from ebmlang.runtime.discrete.eliminate import Sums, log_sum_exp, sums
from ebmlang.runtime.discrete.methods import Unfit, assignments, chunks, described, planned
from ebmlang.runtime.discrete.network import Field, Network
from ebmlang.runtime.discrete.question import Question, question_of

_KEPT = 40.0
"""Bytes that stay per number of all tables: the way back needs them."""


@dataclass(frozen=True, slots=True, eq=False)
class Summed:
    """log Z, float64 [rows], and the probability of every case: name -> [B, *shape, K]."""

    log_z: Tensor
    marginals: Mapping[str, Tensor]
    method: str
    because: str


def sum_out(bound: Bound, held: Mapping[str, Tensor], observed: Mapping[str, Tensor], beta: float) -> Summed:
    """Sums a bound model over its sought variables, which are all discrete.

    log Z is differentiable in the held values. Raises DataError where the sum is too large: it is
    exact or refused.
    """
    question = question_of(bound, observed, held, {})
    names = ", ".join(f.name for f in question.fields)
    try:
        if question.affine == "together" and (found := _apart(question, beta)) is not None:
            return found
        if bound.module.TABLES and not question.arranged:
            return _by_tables(question, beta)
        return _by_states(question, beta)
    except Unfit as unfit:
        raise DataError(
            f"{names} cannot be summed out exactly: {unfit.because}", "give some of it, or make it smaller"
        ) from None


def _by_tables(question: Question, beta: float) -> Summed:
    return sum_networks(question, question.networks(), beta)


def _apart(question: Question, beta: float) -> Summed | None:
    """Entries that do not meet, by the slopes of the energy: sum over z of exp(-beta (E + g z)) is a product
    over the entries. None where some number is not finite: tables say which term it is."""
    energy, slopes = question.slopes(question.some_assignment())
    if not bool(torch.isfinite(energy).all() & torch.isfinite(slopes).all()):
        return None
    log_z = torch.nn.functional.softplus(-beta * slopes).sum(1) - beta * energy
    share = torch.sigmoid(-beta * slopes)
    found = {}
    for own in question.fields:
        part = share[:, own.offset : own.offset + own.count]
        found[own.name] = torch.stack((1 - part, part), -1)
    return _summed(question, log_z, found, "elimination", f"{slopes.shape[1]:,} entries that do not meet")


def sum_networks(question: Question, networks: Sequence[Network], beta: float) -> Summed:
    """log Z and marginals by elimination of the networks of a question. Raises Unfit."""
    memory = question.bound.settings.chunk_bytes
    logs: list[Tensor] = []
    parts: list[dict[str, Tensor]] = []
    note = ""
    for network in networks:
        plan = planned(network, memory)
        note = described(network, plan.order)
        for part in chunks(network, plan.order, memory, _KEPT):
            found = sums(part, plan, beta)
            logs.append(found.log_z)
            parts.append({f.name: _probabilities(f, found, part.batch) for f in question.fields})
    marginals = {f.name: torch.cat([p[f.name] for p in parts]) for f in question.fields}
    return _summed(question, torch.cat(logs), marginals, "elimination", note)


def _probabilities(own: Field, found: Sums, batch: int) -> Tensor:
    """[B, entries, K] of one unknown; 0 for entries that are given and left the tables."""
    total = torch.zeros(batch, own.count, own.cases, dtype=torch.float64, device=found.log_z.device)
    for entries, probability in found.marginals:
        inside = (entries >= own.offset) & (entries < own.offset + own.count)
        if bool(inside.any()) and probability.shape[2] == own.cases:
            total[:, entries[inside] - own.offset] = probability[:, inside]
    return total


def _by_states(question: Question, beta: float) -> Summed:
    """The same over every assignment, for energies that stay whole."""
    log_z: Tensor | None = None
    marginals: dict[str, Tensor] = {}
    count = 0
    for assignment, energy in assignments(question, graph=True):
        if bool((torch.isnan(energy) | (energy == -math.inf)).any()):
            raise DataError(
                "the energy is NaN or -inf for some assignment", "an impossible case has the energy inf"
            )
        count += assignment.shape[1]
        part = log_sum_exp(-beta * energy, 1)
        total = part if log_z is None else log_sum_exp(torch.stack([log_z, part], 1), 1)
        shift = torch.where(torch.isfinite(total), total, 0.0).detach()
        weight = (-beta * energy.detach() - shift[:, None]).exp()
        before = 0.0 if log_z is None else (log_z.detach() - shift).exp()[:, None, None]
        for own in question.fields:
            mine = assignment[:, :, own.offset : own.offset + own.count]
            added = torch.stack([(weight[..., None] * (mine == c)).sum(1) for c in range(own.cases)], 2)
            marginals[own.name] = added if log_z is None else marginals[own.name] * before + added
        log_z = total
    assert log_z is not None
    return _summed(question, log_z, marginals, "enumeration", f"{count:,} assignments")


def _summed(
    question: Question, log_z: Tensor, marginals: Mapping[str, Tensor], method: str, note: str
) -> Summed:
    """Given entries have their case for sure; values of all examples are laid out by example."""
    found = {}
    for own in question.fields:
        p = marginals[own.name]
        if question.fixed is not None:
            fixed = question.fixed[:, own.offset : own.offset + own.count]
            sure = torch.nn.functional.one_hot(fixed.clamp(min=0), own.cases).to(p.dtype)
            p = torch.where((fixed >= 0)[..., None], sure, p)
        shaped = p.reshape(p.shape[0], *own.shape, own.cases)
        found[own.name] = shaped[0] if question.joint else shaped
    return Summed(log_z, found, method, note)
