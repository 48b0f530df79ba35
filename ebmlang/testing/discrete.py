"""Inference over discrete unknowns: no change of a single entry lowers an answer that is called found."""

from __future__ import annotations

from collections import Counter

import torch

from ebmlang.runtime import posing
from ebmlang.runtime.bind import Bound
from ebmlang.runtime.discrete.question import question_of
from ebmlang.runtime.result import Result, Status
from ebmlang.testing.case import CheckFailed
from ebmlang.testing.checks import Remarks

_MOST_ENTRIES = 24
_FOUND = (Status.EXACT.sentence(), Status.LOCAL.sentence())


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
    for entry in range(0, answer.shape[1], max(1, answer.shape[1] // _MOST_ENTRIES)):
        for case in range(int(question.cases[entry])):
            trial = answer.clone()
            trial[:, entry] = case
            lower = question.energies(trial, rows) < least - slack
            if bool((lower & found.converged.all()).any()):
                row = int(lower.nonzero()[0])
                raise CheckFailed(f"row {row} is called found, but entry {entry} at {case} lowers the energy")
    return Counter(sentence.split(":")[0] for sentence in found.status)
