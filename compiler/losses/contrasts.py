"""Losses that compare the energy of the data with that of other values of the same variable."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ebmlang.compiler.losses.words import LossRow, Words

_MARGINS: Mapping[str, Callable[[str, str, str], str]] = {
    "hinge": lambda here, there, m: f"relu({m} + {here} - {there})",
    "log": lambda here, there, m: f"softplus({here} - {there})",
    "square_square": lambda here, there, m: f"square({here}) + square(relu({m} - {there}))",
    "perceptron": lambda here, there, m: f"relu({here} - {there})",
}
"""Of the energy of the data, of the other one, and of the margin (LeCun et al. 2006, section 2.2)."""


def _nce(words: Words) -> str:
    noise, name = words.options["noise"], words.variable
    density_here = f"(logp({noise}) with {noise} = {name})"
    return f"softplus(total + {density_here}) + softplus(-{words.energy_at(noise)} - logp({noise}))"


def _margin(words: Words) -> str:
    other, kind = words.options["other"], words.options["form"]
    if other:
        there = words.energy_at(other)
    elif words.kind == "bool":
        there = words.energy_at(f"{words.variable} != true")
    else:
        case = words.last
        rest = f"where({case} == {words.variable}, inf, {words.energy_at(case)})"
        there = f"min({rest}, over = {case} in 0..{words.classes})"
    return _MARGINS[kind]("total", there, words.options["m"])


def _nll(words: Words) -> str:
    noise, case = words.options["noise"], words.last
    if noise:
        count = words.shapes["noise"][0]
        weight = f"-{words.energy_at(f'{noise}[{case}]')} - logp({noise}[{case}])"
        return f"total + logsumexp({weight}, over = {case} in 0..{count}) - log({count})"
    if words.kind == "bool":
        return f"softplus(total - {words.energy_at(f'{words.variable} != true')})"
    return f"total + logsumexp(-{words.energy_at(case)}, over = {case} in 0..{words.classes})"


def _other(words: Words) -> str:
    """The energy of what a line names: the mean over its first dimension, where it has one more."""
    there = words.options.get("noise") or words.options.get("other") or ""
    shape = words.shapes.get("noise", ())
    if len(shape) <= len(words.shape):
        return words.energy_at(there) if there else ""
    k = words.last
    return f"mean({words.energy_at(f'{there}[{k}]')}, over = {k} in 0..{shape[0]})"


def _shaken(words: Words) -> str:
    """The energy at one of the values that an energy discrepancy compares with."""
    near, far = words.draws["near"], words.draws["far"]
    return words.energy_at(f"{words.variable} + {words.options['sigma']} * ({near} + {far}[0])")


def _info_nce(words: Words) -> str:
    noise, k = words.options["noise"], words.last
    shape = words.shapes.get("noise", ())
    if len(shape) <= len(words.shape):
        return f"softplus(total - {words.energy_at(noise)})"
    there = words.energy_at(f"{noise}[{k}]")
    return f"softplus(total + logsumexp(-{there}, over = {k} in 0..{shape[0]}))"


def _energy_discrepancy(words: Words) -> str:
    near, far, j = words.draws["near"], words.draws["far"], words.last
    count, sigma, w = words.options["n"], words.options["sigma"], words.options["w"]
    there = words.energy_at(f"{words.variable} + {sigma} * ({near} + {far}[{j}])")
    gaps = f"logsumexp(total - {there}, over = {j} in 0..{count})"
    return f"softplus({gaps} - log({w})) + log({w}) - log({count})"


CONTRASTS: tuple[LossRow, ...] = (
    LossRow(
        "nce",
        "telling data from declared noise; log Z is a parameter of the energy",
        "Gutmann & Hyvärinen 2012",
        ("real", "bool", "class"),
        "softplus(E(y) + log q(y)) + softplus(-E(u) - log q(u)), u the noise, q its density",
        _nce,
        (("noise", ""),),
        random=("noise",),
        asked=lambda kind, rank: ("noise",),
        bordered=True,
        compared=_other,
    ),
    LossRow(
        "contrastive_divergence",
        "the data lies below where some steps of a sampler lead from it, or from the last visit of the row",
        "Hinton 2002; persistent: Tieleman 2008; refresh: Du & Mordatch 2019",
        ("real", "bool", "class"),
        "E(y) - E(y-), y- drawn from the model",
        lambda words: f"total - {words.energy_at('a draw')}",
        (("sampler", ""), ("persistent", "false"), ("refresh", "0")),
        choices=(("persistent", ("true", "false")),),
        asked=lambda kind, rank: ("sampler",),
        bordered=True,
        sampled=True,
    ),
    LossRow(
        "margin",
        "the data lies below other answers: `other`, or the lowest wrong class",
        "LeCun, Chopra, Hadsell, Ranzato & Huang 2006, section 2.2",
        ("real", "bool", "class"),
        "max(0, m + E(y) - E(other)), or form = log, square_square, perceptron",
        _margin,
        (("other", ""), ("m", "1"), ("form", "hinge")),
        choices=(("form", tuple(_MARGINS)),),
        asked=lambda kind, rank: () if kind != "real" and rank == 0 else ("other",),
        bordered=True,
        compared=_other,
    ),
    LossRow(
        "nll",
        "minus log-likelihood, by the sum over all values of y, or by draws u of a known density",
        "LeCun, Chopra, Hadsell, Ranzato & Huang 2006; draws: Bengio & Senécal 2003",
        ("real", "bool", "class"),
        "E(y) + log sum over k of exp(-E(k)), or E(y) + log mean over k of exp(-E(u[k])) / q(u[k])",
        _nll,
        (("noise", ""),),
        random=("noise",),
        asked=lambda kind, rank: () if kind != "real" and rank == 0 else ("noise",),
        copies=("noise",),
        bordered=True,
    ),
    LossRow(
        "info_nce",
        "picking the data among draws of noise, one or as many as the first dimension of u",
        "van den Oord, Li & Vinyals 2018",
        ("real", "bool", "class"),
        "-log(exp(-E(y)) / (exp(-E(y)) + sum over k of exp(-E(u[k]))))",
        _info_nce,
        (("noise", ""),),
        asked=lambda kind, rank: ("noise",),
        bordered=True,
        compared=_other,
    ),
    LossRow(
        "energy_discrepancy",
        "the energy of the data against that of its noisy copies, noised once more",
        "Schröder, Ou, Lim, Li, Vollmer & Duncan 2023",
        ("real",),
        "log(w/n + mean over j of exp(E(y) - E(y + sigma e + sigma e[j]))), e normal",
        _energy_discrepancy,
        (("sigma", "0.1"), ("n", "8"), ("w", "1")),
        ("n",),
        draws=lambda words: {
            "near": words.draw("normal()"),
            "far": words.draw("normal()", words.options["n"]),
        },
        compared=_shaken,
        scales=("sigma",),
    ),
)
