"""Losses of countable variables that compare a configuration with those that differ in one entry."""

from __future__ import annotations

from ebmlang.compiler.losses.words import LossRow, Words


def _mask(words: Words) -> str:
    """True at the entry of the indices."""
    ones = [f"onehot({i}, {size})" for i, size in zip(words.at, words.shape, strict=True)]
    return f"({ones[0] if len(ones) == 1 else f'outer({ones[0]}, {ones[1]})'} > 0)"


def _flipped(words: Words) -> str:
    """The energy where one entry is the other of its two values."""
    return words.energy_at(f"{words.variable} != {_mask(words) if words.shape else 'true'}")


def _over_entries(words: Words, body: str) -> str:
    return f"sum({body}, over = {words.over})" if words.shape else body


def _ratio_matching(words: Words) -> str:
    return _over_entries(words, f"square(sigmoid(total - {_flipped(words)}))")


def _min_probability_flow(words: Words) -> str:
    return _over_entries(words, f"exp(1/2 * (total - {_flipped(words)}))")


def _pseudo_likelihood(words: Words) -> str:
    if not words.classes:
        return _over_entries(words, f"softplus(total - {_flipped(words)})")
    case = words.last
    value = f"where({_mask(words)}, {case}, {words.variable})" if words.shape else case
    others = f"logsumexp(-{words.energy_at(value)}, over = {case} in 0..{words.classes})"
    return _over_entries(words, f"total + {others}")


NEIGHBOURS: tuple[LossRow, ...] = (
    LossRow(
        "ratio_matching",
        "the ratios of the probabilities of neighbours",
        "Hyvärinen 2007",
        ("bool",),
        "sum over i of sigmoid(E(y) - E(y, entry i flipped))^2",
        _ratio_matching,
        rank=2,
    ),
    LossRow(
        "min_probability_flow",
        "the flow of probability from the data to its neighbours",
        "Sohl-Dickstein, Battaglino & DeWeese 2011",
        ("bool",),
        "sum over i of exp((E(y) - E(y, entry i flipped)) / 2)",
        _min_probability_flow,
        rank=2,
    ),
    LossRow(
        "pseudo_likelihood",
        "the likelihood of every entry given all others",
        "Besag 1975",
        ("bool", "class"),
        "sum over i of E(y) + log sum over k of exp(-E(y, entry i set to k))",
        _pseudo_likelihood,
        rank=2,
    ),
)
