"""The losses that are expressions: each is written in the language, as a person would write it after `of`.

A row makes the text from the name of the variable whose energy is shaped; E is the total without costs. So a
named loss is the written one by construction, and what is known of expressions holds for it without a rule of
its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

MOST_PROJECTIONS = 16
"""Each one of a sliced loss is written out, and costs a pass of its own."""


@dataclass(frozen=True, slots=True)
class Words:
    """What the text of a loss is made of: the variable, its sizes, options, draws and free names for indices.

    `classes` is the number of cases of a variable that counts.
    """

    variable: str
    shape: tuple[str, ...]
    classes: str
    options: Mapping[str, str]
    draws: Mapping[str, str]
    indices: tuple[str, ...]

    @property
    def over(self) -> str:
        """An index for every dimension of the variable, running over all entries."""
        pairs = zip(self.indices, self.shape, strict=False)
        parts = [f"{name} in 0..{size}" for name, size in pairs]
        return parts[0] if len(parts) == 1 else f"({', '.join(parts)})"

    @property
    def at(self) -> tuple[str, ...]:
        return self.indices[: len(self.shape)]

    def replaced(self, expression: str, value: str) -> str:
        return f"({expression} with {self.variable} = {value})"


@dataclass(frozen=True, slots=True)
class LossRow:
    """`kinds` are the kinds of variables that it can shape, up to `rank` dimensions. `options` are
    expressions with their defaults, `counts` those that are whole numbers of the text. `draws` are random
    values by their purpose: what stands between `random NAME` and the end of the line."""

    name: str
    title: str
    reference: str
    kinds: tuple[str, ...]
    formula: str
    written: Callable[[Words], str]
    options: tuple[tuple[str, str], ...] = ()
    counts: tuple[str, ...] = ()
    draws: Callable[[Words], Mapping[str, str]] = lambda words: {}
    rank: int = 8


# --- real variables -----------------------------------------------------------------------------


def _slope(words: Words) -> str:
    return f"grad(total, {words.variable})"


def _real(words: Words, *first: str) -> str:
    shape = (*first, *words.shape)
    return f": real[{', '.join(shape)}]" if shape else ": real"


def _score_matching(words: Words) -> str:
    bend = f"jacobian({_slope(words)}, {words.variable})"
    if words.shape:
        at = ", ".join((*words.at, *words.at))
        bend = f"sum({bend}[{at}], over = {words.over})"
    return f"1/2 * sum(square({_slope(words)})) - {bend}"


def _denoising(words: Words) -> str:
    sigma, noise = words.options["sigma"], words.draws["noise"]
    slope = words.replaced(_slope(words), f"{words.variable} + {sigma} * {noise}")
    return f"1/2 * sum(square({sigma} * {slope} - {noise}))"


def _sliced(words: Words) -> str:
    count = int(words.options["n"])
    along = words.draws["direction"]
    directions = [along] if count == 1 else [f"{along}[{k}]" for k in range(count)]
    bends = " + ".join(f"sum(grad(sum({_slope(words)} * {v}), {words.variable}) * {v})" for v in directions)
    return f"1/2 * sum(square({_slope(words)})) - ({bends}) / {count}"


def _directions(words: Words) -> Mapping[str, str]:
    count = words.options["n"]
    return {"direction": f"{_real(words, *(() if count == '1' else (count,)))} ~ normal()"}


# --- countable variables ------------------------------------------------------------------------


def _mask(words: Words) -> str:
    """True at the entry of the indices."""
    ones = [f"onehot({i}, {size})" for i, size in zip(words.at, words.shape, strict=True)]
    return f"({ones[0] if len(ones) == 1 else f'outer({ones[0]}, {ones[1]})'} > 0)"


def _flipped(words: Words) -> str:
    """The energy where one entry is the other of its two values."""
    name = words.variable
    return words.replaced("total", f"{name} != {_mask(words) if words.shape else 'true'}")


def _over_entries(words: Words, body: str) -> str:
    return f"sum({body}, over = {words.over})" if words.shape else body


def _ratio_matching(words: Words) -> str:
    return _over_entries(words, f"square(sigmoid(total - {_flipped(words)}))")


def _min_probability_flow(words: Words) -> str:
    return _over_entries(words, f"exp(1/2 * (total - {_flipped(words)}))")


def _pseudo_likelihood(words: Words) -> str:
    if not words.classes:
        return _over_entries(words, f"softplus(total - {_flipped(words)})")
    case = words.indices[len(words.shape)]
    value = f"where({_mask(words)}, {case}, {words.variable})" if words.shape else case
    others = f"logsumexp(-{words.replaced('total', value)}, over = {case} in 0..{words.classes})"
    return _over_entries(words, f"total + {others}")


WRITTEN: tuple[LossRow, ...] = (
    LossRow(
        "score_matching",
        "the slope of log p and of the data agree, after integration by parts",
        "Hyvärinen 2005, theorem 1",
        ("real",),
        "1/2 |dE/dy|^2 - trace(d^2E/dy^2)",
        _score_matching,
    ),
    LossRow(
        "denoising",
        "the slope of E at a noisy point leads back to the point, weighted by sigma^2",
        "Vincent 2011, equation 9; Song & Ermon 2019, equation 5",
        ("real",),
        "1/2 |sigma dE/dy(y + sigma e) - e|^2, e normal",
        _denoising,
        (("sigma", "0.1"),),
        draws=lambda words: {"noise": f"{_real(words)} ~ normal()"},
    ),
    LossRow(
        "sliced",
        "score matching along random directions",
        "Song, Garg, Shi & Ermon 2019, with reduced variance (equation 8)",
        ("real",),
        "1/2 |dE/dy|^2 - v' d^2E/dy^2 v, v normal",
        _sliced,
        (("n", "1"),),
        ("n",),
        _directions,
    ),
    LossRow(
        "ratio_matching",
        "the ratios of the probabilities of neighbours",
        "Hyvärinen 2007, equation 17",
        ("bool",),
        "sum over i of sigmoid(E(y) - E(y, entry i flipped))^2",
        _ratio_matching,
        rank=2,
    ),
    LossRow(
        "min_probability_flow",
        "the flow of probability from the data to its neighbours",
        "Sohl-Dickstein, Battaglino & DeWeese 2011, equation 11",
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


def find_written(name: str) -> LossRow | None:
    return next((row for row in WRITTEN if row.name == name), None)
