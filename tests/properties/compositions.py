"""Random expressions of few numbers with domains, rich in what a calculus of convexity can prove."""

# Texts of models are longer than lines of code.
# ruff: noqa: E501

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

DECLARED = frozenset({"x", "w", "p", "q", "g", "z", "P"})
"""The unknowns: reals, positive, in [0, 1], nonnegative and vectors."""

HEAD = """model composed(n: int, lam: real = 0.5, mu: real in positive = 1, nu: real in nonnegative = 0) {
  observed y : real
  observed c : real[n]
  observed d : real[n] in nonnegative
  observed b : bool
  observed M : real[n, n]
  observed S : real[n, n] in psd
  latent x : real
  latent w : real
  latent p : real in positive
  latent q : real in [0, 1]
  latent g : real in nonnegative
  latent z : real[n]
  latent P : real[n] in positive
"""

_UNARY = (
    "exp({})", "log({})", "log1p({})", "sqrt({})", "square({})", "({})^2", "({})^3", "({})^4", "({})^1.5", "({})^-1",
    "({})^-2", "({})^0.5", "({})^-0.5", "|{}|", "relu({})", "softplus({})", "sigmoid({})", "tanh({})", "cosh({})",
    "sinh({})", "atan({})", "erf({})", "huber({})", "huber({}, delta = mu)", "huber({}, delta = lam)", "-({})", "lgamma({})",
    "silu({})", "gelu({})", "expm1({})", "1 / ({})", "mu / ({})", "lam / ({})", "wrap({})", "2 ^ ({})", "mu ^ ({})",
    "sin({})", "asin({})", "1 - ({})", "1 + ({})", "({}) * log({})", "xlogy({}, {})", "xlogy({}, mu)", "xlogy(lam, {})",
    "log(1 + exp({}))", "sqrt(1 + ({})^2)", "log(cosh({}))", "({})^2 / (1 + ({})^2)", "({}) * ({})", "exp(-({}))",
    "floor({})", "clamp({}, 0, 1)", "-log(sigmoid({}))", "log(1 + ({})^2)", "lam * ({})", "-nu * ({})", "({}) / mu",
    "({}) / lam", "where(b, {}, 2 * ({}))", "where(x > 0, {}, -({}))", "max({}, 0)", "min({}, 1)",
)  # fmt: skip
_BINARY = (
    "{} + {}", "{} - {}", "({}) * ({})", "({}) / ({})", "maximum({}, {})", "minimum({}, {})", "({})^2 / ({})",
    "({}) ^ ({})", "sqrt(({})^2 + ({})^2)", "log(exp({}) + exp({}))", "{} + mu * ({})", "{} - nu * ({})", "xlogy({}, {})",
    "huber({} - ({}))", "({} - ({}))^2", "atan2({}, {})",
)  # fmt: skip
_LEAVES = (
    "x",
    "x",
    "w",
    "p",
    "q",
    "g",
    "x - y",
    "2 * x + 1",
    "p - 1",
    "1 + q",
    "x + w",
    "-g",
    "x - w",
    "z[0]",
    "lam",
    "2",
    "y",
    "mu",
)
_WHOLE = (
    "sum({})", "mean({})", "max({})", "min({})", "||{}||", "||{}||^2", "||{}||_1", "||{}||_inf", "logsumexp({})", "std({})",
    "var({})", "entropy({})", "prod({})", "dot(c, {})", "dot(d, {})", "({}) @ M @ ({})", "({}) @ S @ ({})",
    "({}) @ M.T @ M @ ({})", "dot({}, {})", "sum(softmax({}))", "sum(cumsum({}))", "sqrt(sum(({})^2) + nu)",
    "sum(c * ({}))", "sum(d * ({}))", "max(({})[i], over = i in 0..n)", "sum(({})[i] * c[i], over = i in 0..n)",
    "logsumexp(({})[i] + c[i], over = i in 0..n)", "norm({}, order = 3)", "norm({}, order = 0.5)", "sum(sort({}))",
    "sum(({}) * (S @ ({})))", "||{}||^2 / p", "({})[0]",
)  # fmt: skip
_VECTORS = ("z", "P", "z - c", "M @ z", "c", "d", "d * z", "P * mu", "x * c", "z + P", "[x, w, p]", "-P")


@dataclass
class Compositions:
    """Draws models of the family."""

    rng: np.random.Generator

    def of(self, options: tuple[str, ...]) -> str:
        return options[int(self.rng.integers(len(options)))]

    def model(self) -> str:
        scalar, vector = self.number(3), self.vector(2)
        whole = self.of(_WHOLE).replace("{}", vector)
        mixed = self.of(_UNARY).replace("{}", whole)
        return f"{HEAD}  energy a = {scalar}\n  energy b2 = {whole}\n  energy c2 = {mixed} + {self.number(1)}\n}}\n"

    def number(self, deep: int) -> str:
        if deep == 0:
            return self.of(_LEAVES)
        if self.rng.random() < 0.6:
            return self.of(_UNARY).replace("{}", self.number(deep - 1))
        template = self.of(_BINARY)
        template = template.replace("{}", f"({self.number(deep - 1)})", 1)
        return template.replace("{}", f"({self.number(deep - 1)})")

    def vector(self, deep: int) -> str:
        if deep == 0 or self.rng.random() < 0.4:
            return self.of(_VECTORS)
        return self.of(_UNARY).replace("{}", self.vector(deep - 1))


def declared_values(rng: np.random.Generator) -> tuple[dict[str, Any], dict[str, Any]]:
    """Values of everything, and steps of the unknowns that stay inside their domains."""
    root = rng.normal(size=(3, 3))
    scale = rng.choice([0.1, 1.0, 3.0])
    values: dict[str, Any] = {
        "lam": rng.choice([-0.7, 0.4, 2.0]), "mu": rng.choice([0.3, 1.0, 2.5]), "nu": rng.choice([0.0, 0.8]),
        "y": rng.normal(), "c": rng.normal(size=3), "d": np.abs(rng.normal(size=3)), "b": bool(rng.integers(2)),
        "M": rng.normal(size=(3, 3)), "S": root @ root.T, "x": scale * rng.normal(), "w": scale * rng.normal(),
        "z": scale * rng.normal(size=3),
    }  # fmt: skip
    step: dict[str, Any] = {n: scale * rng.normal(size=np.shape(values[n])) for n in ("x", "w", "z")}
    for name, low, high, shape in (
        ("p", 1e-3, 4.0, ()),
        ("q", 0.0, 1.0, ()),
        ("g", 0.0, 4.0, ()),
        ("P", 1e-3, 4.0, (3,)),
    ):
        a, b = rng.uniform(low, high, shape), rng.uniform(low, high, shape)
        if rng.random() < 0.2 and name in "qg":
            a = np.asarray(low)
        values[name], step[name] = a, (b - a) / 3
    return values, step
