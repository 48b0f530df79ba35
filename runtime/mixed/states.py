"""The question over the real unknowns, with the countable ones held at many states side by side."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ebmlang.runtime.bind import Bound, net_specs
from ebmlang.runtime.discrete.question import Question, question_of

Values = Mapping[str, Tensor]


def repeated(bound: Bound, module: ModuleType, count: int) -> Bound:
    """The same values asked by `module`, every row `count` times, the copies of a row together."""
    own: Any = bound.instance
    draw = replace(own.draw, rows=np.repeat(own.draw.rows, count))
    batch = bound.batch * count
    hypers = {
        f.name: getattr(own, f.name)
        for f in fields(own)
        if f.name not in ("batch", "dtype", "device", "draw")
    }
    if net_specs(module):
        hypers["nets"] = own.nets.repeated(count)
    instance = module.MODEL(**hypers, batch=batch, dtype=own.dtype, device=own.device, draw=draw)
    values = {n: copied(v, count) if bound.specs[n].per_example else v for n, v in bound.values.items()}
    rows = bound.settings.rows
    if rows is not None:
        rows = (rows[:, None] * count + np.arange(count)).reshape(-1)
    settings = replace(bound.settings, first_row=bound.settings.first_row * count, rows=rows)
    return replace(
        bound, module=module, instance=instance, values=values, batch=batch, settings=settings, part=None
    )


def copied(value: Tensor, count: int) -> Tensor:
    """Rows [B, ...] each `count` times; a row that all share stays one."""
    return value if value.shape[0] == 1 or count == 1 else value.repeat_interleave(count, 0)


def at_states(bound: Bound, question: Question, assignment: Tensor) -> Bound:
    """The question over the real unknowns at assignments int64 [rows, S, N]: B S rows, or in a joint
    problem, where rows is 1, the B rows at its only state."""
    assert bound.part is not None
    values = question.values(assignment.flatten(0, 1))
    found = repeated(bound, bound.part, 1 if question.joint else assignment.shape[1])
    return replace(found, values={**found.values, **values})


def discrete_question(bound: Bound, observed: Values, held: Values) -> Question:
    """The countable unknowns of a mixed question; masks of real ones are left out."""
    known = {n: m for n, m in observed.items() if bound.specs[n].kind != "real"}
    return question_of(bound, known, held, {})


def real_masks(bound: Bound, observed: Values, count: int) -> dict[str, Tensor]:
    """Masks of the real unknowns that are given in part, for `count` copies of every row."""
    return {n: copied(m, count) for n, m in observed.items() if bound.specs[n].kind == "real"}


def rows_of(chosen: Tensor, count: int) -> Tensor:
    """Where the chosen state of each row [B] stands among B * count rows."""
    return torch.arange(len(chosen), device=chosen.device) * count + chosen
