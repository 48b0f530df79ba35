"""The table of ways to sum unknowns out that are asked for by name; without a name a sum is exact."""

from __future__ import annotations

from dataclasses import dataclass

from ebmlang.compiler.methods import OptionKind


@dataclass(frozen=True, slots=True)
class SummerRow:
    """A way to sum: `implementation` is a dotted path, which a test resolves; `certificate` says what its
    answer is known to be."""

    name: str
    implementation: str
    options: tuple[tuple[str, OptionKind], ...]
    title: str
    certificate: str
    reference: str


SUMMERS: tuple[SummerRow, ...] = (
    SummerRow(
        "ais",
        "ebmlang.runtime.samplers.estimating:estimate",
        (("chains", "whole"), ("temperatures", "whole"), ("leapfrogs", "whole")),
        "annealed importance sampling: chains that walk from a law with a known normaliser to the model",
        "estimated: without bias in Z, so that log Z is too low on average; with a standard error",
        "Neal 2001; Salakhutdinov & Murray 2008",
    ),
)


def find_summer(name: str) -> SummerRow | None:
    return next((row for row in SUMMERS if row.name == name), None)


def summer_names() -> tuple[str, ...]:
    """What may follow `marginalize ... using`."""
    return tuple(row.name for row in SUMMERS)
