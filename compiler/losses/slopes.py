"""Losses of real variables that compare slopes: score matching and its relatives."""

from __future__ import annotations

from collections.abc import Mapping

from ebmlang.compiler.losses.words import LossRow, Words


def _slope(words: Words) -> str:
    return f"grad(total, {words.variable})"


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
    return {"direction": words.draw("normal()", *(() if count == "1" else (count,)))}


SLOPES: tuple[LossRow, ...] = (
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
        "Vincent 2011; the weight as in Song & Ermon 2019",
        ("real",),
        "1/2 |sigma dE/dy(y + sigma e) - e|^2, e normal",
        _denoising,
        (("sigma", "0.1"),),
        draws=lambda words: {"noise": words.draw("normal()")},
        scales=("sigma",),
    ),
    LossRow(
        "sliced",
        "score matching along random directions",
        "Song, Garg, Shi & Ermon 2019, with reduced variance",
        ("real",),
        "1/2 |dE/dy|^2 - v' d^2E/dy^2 v, v normal",
        _sliced,
        (("n", "1"),),
        ("n",),
        draws=_directions,
    ),
)
