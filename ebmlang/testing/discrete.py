"""Inference over discrete unknowns: no change of a single entry lowers an answer that is called found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import torch
from torch import Tensor

from ebmlang.runtime import posing
from ebmlang.runtime.bind import Bound
from ebmlang.runtime.discrete.network import Field
from ebmlang.runtime.discrete.question import Question, question_of
from ebmlang.runtime.discrete.stocks import is_arrangement
from ebmlang.runtime.result import Result, Status
from ebmlang.testing.case import CheckFailed
from ebmlang.testing.checks import Remarks

_MOST_ENTRIES = 24
_FOUND = (Status.EXACT.sentence(), Status.LOCAL.sentence(), Status.EXCHANGED.sentence())


def judge_discrete(bound: Bound, found: Result) -> Remarks:
    """Raises CheckFailed when a status and `converged` disagree, or a single change lowers the energy of
    a row that is called exact or local."""
    for sentence, ended in zip(found.status, found.converged.tolist(), strict=True):
        if ended != (sentence in _FOUND):
            raise CheckFailed(f"the status and `converged` disagree: {ended} and `{sentence}`")
    question = question_of(bound, {}, posing.held_values(bound), {})
    rows = torch.arange(question.rows)
    parts = [found.values[f.name].reshape(question.rows, -1) for f in question.fields]
    answer = torch.cat([p.to(torch.int64) for p in parts], 1)
    least = question.energies(answer, rows)
    slack = 1e-9 * (1 + least.abs())
    for trial, what in _near(question, answer):
        lower = question.energies(trial, rows) < least - slack
        if bool((lower & found.converged.all()).any()):
            row = int(lower.nonzero()[0])
            raise CheckFailed(f"row {row} is called found, but {what} lowers the energy")
    return Counter(sentence.split(":")[0] for sentence in found.status)


def _near(question: Question, answer: Tensor) -> Iterator[tuple[Tensor, str]]:
    """Assignments that differ in one entry, or, of orders and subsets, in two that are exchanged."""
    step = max(1, answer.shape[1] // _MOST_ENTRIES)
    for own in question.fields:
        width = len(own.stock)
        if width and not bool(is_arrangement(_part(own, answer).unflatten(1, (-1, width)), own.stock).all()):
            raise CheckFailed(f"`{own.name}` is no {'permutation' if own.kind == 'class' else 'subset'}")
        for entry in range(own.offset, own.offset + own.count, step):
            if not width:
                for case in range(own.cases):
                    trial = answer.clone()
                    trial[:, entry] = case
                    yield trial, f"entry {entry} at {case}"
                continue
            first = own.offset + (entry - own.offset) // width * width
            for other in range(first, first + width, step):
                trial = answer.clone()
                trial[:, entry], trial[:, other] = answer[:, other], answer[:, entry]
                yield trial, f"an exchange of entries {entry} and {other}"


def _part(own: Field, answer: Tensor) -> Tensor:
    return answer[:, own.offset : own.offset + own.count]
