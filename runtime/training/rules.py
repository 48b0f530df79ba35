"""The rules by which numbers of a run become warnings: one row each.

A rule sees the looks at a run in order, and says what is wrong now, or nothing. A warning is given when it
has said so at `looks` looks in a row, and is over when it says nothing any more.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isnan
from statistics import median

from ebmlang.compiler.diagnostics import did_you_mean

ANY = "any"
"""Stands for all rules where a run is to stop by one."""

SPAN = 20
"""Steps at the beginning, and now, whose losses are compared: all of the last ones have to be higher."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One look: the step, its numbers by name, the losses of the first steps and of the last ones, the share
    of searches since the look before that ended early, whether the loss is one that should not rise, and
    whether negatives are drawn from the model."""

    step: int
    numbers: Mapping[str, float]
    loss: float = 0.0
    first: Sequence[float] = ()
    last: Sequence[float] = ()
    early: float = 0.0
    descends: bool = False
    sampled: bool = False


@dataclass(frozen=True, slots=True)
class Rule:
    """`number` is what is judged, for each thing that there is such a number of; empty: the run as a whole.
    `judge` gets the looks so far, the newest last, and the name of what the number is about; it says what is
    wrong, or nothing. `title` ends "what it means: "; `advice` is one thing to try."""

    name: str
    number: str
    judge: Callable[[Sequence[Reading], str], str]
    title: str
    advice: str
    looks: int = 2


def _at(seen: Reading, what: str, of: str) -> float:
    return seen.numbers.get(f"{what}.{of}" if of else what, float("nan"))


def _known(looks: Sequence[Reading], what: str, of: str) -> list[float]:
    """A number at all looks that have it."""
    return [x for x in (_at(seen, what, of) for seen in looks) if not isnan(x)]


# --- representations ----------------------------------------------------------------------------

_SHRUNK, _GONE, _FLAT = 0.1, 0.01, 0.05
"""Shares of the spread at the beginning, in which it has shrunk, and is gone; and of the size of the
values."""

_FEW_DIRECTIONS, _SOME_DIRECTIONS = 1.5, 3.0


def _collapse(looks: Sequence[Reading], of: str) -> str:
    spreads, size = _known(looks, "std", of), _at(looks[-1], "size", of)
    now, begun = spreads[-1], spreads[0]
    alike = now <= _FLAT * size and now <= _SHRUNK * begun
    if now > _GONE * begun and not alike:
        return ""
    rank = _at(looks[-1], "rank", of)
    return (
        f"`{of}` says nearly the same about all examples: the standard deviation of its entries is {now:.2g} "
        f"({begun:.2g} at the beginning), their effective rank {rank:.2g}"
    )


def _low_rank(looks: Sequence[Reading], of: str) -> str:
    ranks = _known(looks, "rank", of)
    if ranks[0] < _SOME_DIRECTIONS or ranks[-1] >= _FEW_DIRECTIONS:
        return ""
    return (
        f"the values of `{of}` lie along one line: their effective rank is {ranks[-1]:.2g} "
        f"({ranks[0]:.2g} at the beginning)"
    )


# --- energies -----------------------------------------------------------------------------------

_FAR = 10.0


def _energy_gap(looks: Sequence[Reading], of: str) -> str:
    gap, spread = _at(looks[-1], "gap", of), _at(looks[-1], "energy_std", of)
    # Negatives of noise may lie as far above as they like: they are easy to tell from the data then.
    if abs(gap) <= _FAR * (1 + spread) or (gap > 0 and not looks[-1].sampled):
        return ""
    where = "above" if gap > 0 else "below"
    return (
        f"the negatives lie far {where} the data, by {abs(gap):.3g}, while the energies of the data "
        f"differ by {spread:.3g}"
    )


def _acceptance(looks: Sequence[Reading], of: str) -> str:
    now = _at(looks[-1], "acceptance", of)
    if now >= 0.05:
        return ""
    return f"the sampler stands still: {now:.1%} of its proposals are taken"


# --- gradients ----------------------------------------------------------------------------------

_GROWN = 100.0
_WEAK = 1e-7


def _exploding(looks: Sequence[Reading], of: str) -> str:
    norms = _known(looks, "gradient", of)
    before = median(norms[:-1]) if len(norms) > 4 else 0.0
    risen = looks[-1].loss > median(seen.loss for seen in looks[:-1]) if len(looks) > 1 else False
    if not before or norms[-1] <= _GROWN * before or (looks[-1].descends and not risen):
        return ""
    return f"the gradient of `{of}` is {norms[-1]:.2g}, {norms[-1] / before:,.0f} times what it was"


def _vanishing(looks: Sequence[Reading], of: str) -> str:
    if isnan(_at(looks[-1], "gradient", of)):
        return f"no gradient reaches `{of}`: the loss does not move with it"
    recent = [_at(seen, "weakest", of) for seen in looks[-3:]]
    if len(recent) < 3 or not all(x < _WEAK for x in recent):
        return ""
    return f"a layer of `{of}` has {recent[-1]:.1g} of the gradient of another one"


# --- units and codes ----------------------------------------------------------------------------


def _saturation(looks: Sequence[Reading], of: str) -> str:
    now = _at(looks[-1], "stuck", of)
    return (
        ""
        if now <= 0.5
        else f"{now:.0%} of the units of `{of}` are stuck on the flat part of their activation"
    )


def _dead_codes(looks: Sequence[Reading], of: str) -> str:
    now = _at(looks[-1], "unused", of)
    return "" if now <= 0.25 else f"{now:.0%} of `{of}` is never used"


# --- the run ------------------------------------------------------------------------------------


def _search(looks: Sequence[Reading], of: str) -> str:
    now = looks[-1].early
    return (
        "" if now <= 0.2 else f"{now:.0%} of the searches inside ended early: the gradient is inexact there"
    )


def _rising(looks: Sequence[Reading], of: str) -> str:
    now = looks[-1]
    if not now.descends or now.step < 2 * SPAN or not min(now.last) > max(now.first):
        return ""
    return (
        f"the loss is higher than at the beginning: {median(now.last):.4g}, after {median(now.first):.4g} in "
        f"the first {SPAN} steps"
    )


RULES: tuple[Rule, ...] = (
    Rule(
        "collapse",
        "std",
        _collapse,
        "a representation is nearly the same for all examples",
        "add a term on the spread of the batch (use vicreg), a contrast, or a reconstruction",
    ),
    Rule(
        "low_rank",
        "rank",
        _low_rank,
        "a representation varies along one direction only",
        "add a term that keeps entries unlike each other, as the covariance of vicreg does",
    ),
    Rule(
        "energy_gap",
        "gap",
        _energy_gap,
        "the energies of data and negatives are far apart",
        "take smaller steps, add a term on the size of the energies, or give the sampler more steps",
        looks=3,
    ),
    Rule(
        "acceptance",
        "acceptance",
        _acceptance,
        "hardly any proposal of the sampler is taken",
        "a smaller step of the sampler, as in sampler = mala(step = 0.01)",
    ),
    Rule(
        "exploding_gradient",
        "gradient",
        _exploding,
        "a gradient has grown a hundredfold, and the loss with it",
        "cut it, as in using adam(lr = 1e-3, clip = 1.0), or take smaller steps",
    ),
    Rule(
        "vanishing_gradient",
        "gradient",
        _vanishing,
        "no gradient reaches a net, or next to none a layer of it",
        "no argmin, rounding or detach() on the way to it; or fewer layers, norm = layer_norm, act = gelu",
        looks=1,
    ),
    Rule(
        "saturation",
        "stuck",
        _saturation,
        "most units of relu, tanh or sigmoid react to no example",
        "take smaller steps, scale the inputs to about 1, or choose act = gelu",
    ),
    Rule(
        "dead_codes",
        "unused",
        _dead_codes,
        "cases are never chosen, or entries of an unknown are always 0",
        "begin where the data is, have fewer of them, or weigh less what keeps them at 0",
    ),
    Rule(
        "search",
        "",
        _search,
        "searches inside end before they converge",
        "give the search more steps, as in infer z using fista(steps = 2000)",
    ),
    Rule(
        "loss_rising",
        "",
        _rising,
        "the loss is higher than at the beginning",
        "take smaller steps: --lr, or using adam(lr = 1e-4)",
    ),
)


def unknown_rule(name: str) -> str:
    """What may have been meant by a name that no rule has; empty for one that is known."""
    names = rule_names()
    return "" if name in names else did_you_mean(name, names) or f"rules are {', '.join(names)}"


def rule_names() -> tuple[str, ...]:
    """What a run can be told to stop by."""
    return (*(rule.name for rule in RULES), ANY)
