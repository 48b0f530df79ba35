"""What is true of the energy as a function of the sought block, with evidence.

`RULES` is the table: each rule looks at a question and returns findings. A finding may carry
obligations, which are discharged when values are bound.
"""

from __future__ import annotations

from collections.abc import Callable

from ebmlang.compiler.structure.absolute import find_absolute
from ebmlang.compiler.structure.barrier import find_barrier
from ebmlang.compiler.structure.block import Block
from ebmlang.compiler.structure.convex import find_blocks, find_bound, find_curvature
from ebmlang.compiler.structure.discrete import find_discrete
from ebmlang.compiler.structure.domains import find_domains
from ebmlang.compiler.structure.finding import Finding, Structure
from ebmlang.compiler.structure.limits import find_limits
from ebmlang.compiler.structure.maxima import find_maxima
from ebmlang.compiler.structure.mixture import find_mixture
from ebmlang.compiler.structure.pattern import find_pattern
from ebmlang.compiler.structure.reach import find_reach
from ebmlang.compiler.structure.rollout import find_rollout
from ebmlang.compiler.structure.smooth import find_smoothness
from ebmlang.compiler.structure.softmax import find_softmax
from ebmlang.compiler.structure.squares import find_squares

Rule = Callable[[Block], tuple[Finding, ...]]

RULES: tuple[Rule, ...] = (
    find_discrete,
    find_barrier,
    find_domains,
    find_reach,
    find_smoothness,
    find_curvature,
    find_bound,
    find_squares,
    find_absolute,
    find_maxima,
    find_rollout,
    find_softmax,
    find_mixture,
    find_blocks,
    find_limits,
    find_pattern,
)


def analyse(block: Block) -> Structure:
    """All findings about a block, in the order of the rules."""
    return Structure(block, tuple(finding for rule in RULES for finding in rule(block)))


__all__ = ["RULES", "Block", "Finding", "Rule", "Structure", "analyse"]
