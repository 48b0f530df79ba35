"""The losses that are expressions: each is written in the language, as a person would write it after `of`.

A row makes the text from the name of the variable whose energy is shaped; E is the total without costs. So a
named loss is the written one by construction, and what is known of expressions holds for it without a rule of
its own.
"""

from __future__ import annotations

from ebmlang.compiler.losses.contrasts import CONTRASTS
from ebmlang.compiler.losses.neighbours import NEIGHBOURS
from ebmlang.compiler.losses.slopes import SLOPES
from ebmlang.compiler.losses.words import LossRow

WRITTEN: tuple[LossRow, ...] = (*SLOPES, *NEIGHBOURS, *CONTRASTS)


def find_written(name: str) -> LossRow | None:
    return next((row for row in WRITTEN if row.name == name), None)
