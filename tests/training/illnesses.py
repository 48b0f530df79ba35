"""One model for every rule of health that breaks it, each with a near twin that does not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
from sklearn.datasets import load_digits

Arrays = Mapping[str, Any]


@cache
def digits() -> Arrays:
    return {"y": load_digits().data[:600] / 16}


@cache
def points() -> Arrays:
    rng = np.random.default_rng(0)
    angle = rng.uniform(0, 2 * np.pi, 500)
    around = np.stack([np.cos(angle), np.sin(angle)], 1)
    return {"y": 3 * around + 0.2 * rng.normal(size=(500, 2))}


@cache
def line() -> Arrays:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(200, 3))
    return {"y": x, "t": x @ [1.0, -2.0, 0.5]}


@dataclass(frozen=True)
class Illness:
    """`text` has `{}` where the two differ: `ill` and `well` stand there. `rule` is what is said of the
    first, about `about`; other rules may say something too. `fit` are arguments of the run."""

    rule: str
    about: str
    text: str
    ill: str
    well: str
    data: Callable[[], Arrays]
    fit: Mapping[str, Any] = field(default_factory=dict)


VIEWS = """import std.vicreg
model views(n: int) {{
  observed y : real[n]
  random e : real[n] ~ normal(0, 0.3)
  random f : real[n] ~ normal(0, 0.3)
  net enc : real[n] -> real[8] = mlp([32])
  use vicreg(variance = {}) as v with u = enc(y + e), v = enc(y + f)
  train using adam(lr = 3e-3)
}}
"""

ALIKE = """import std.spread
model alike(n: int) {{
  observed y : real[n]
  net enc : real[n] -> real[8] = mlp([32])
  let u = enc(y)
  energy same = {} * sum((u - sum(u) / 8)^2)
  use spread(variance_weight = 100, covariance_weight = 0) as s with u = u
  train using adam(lr = 1e-2)
}}
"""

RING = """model ring() {{
  observed y : real[2]
  net f : real[2] -> real[1] = mlp([32, 32], act = silu)
  energy e = f(y)[0]
  train by contrastive_divergence(y, sampler = {}) using adam(lr = 1e-3)
}}
"""

FLEEING = """model fleeing() {{
  observed y : real[2]
  param k : real[2] in positive = 1
  energy e = 1/2 * dot(k, y^2)
  train by contrastive_divergence(y, sampler = langevin(step = {}, steps = 10)) using adam(lr = 1e-4)
}}
"""

REGRESSION = """model regression() {{
  observed y : real[3]
  observed t : real
  param w : real[3]
  energy fit = (t - dot(w, y))^2
  train using sgd(lr = {})
}}
"""

DEEP = """model deep(n: int) {{
  observed y : real[n]
  net f : real[n] -> real[n] = mlp([{}], act = sigmoid)
  energy fit = ||y - f(y)||^2
  train using adam(lr = 1e-3)
}}
"""

FLAT = """model flat(n: int) {{
  observed y : real[n]
  net f : real[n] -> real[n] = mlp([32], act = tanh)
  energy fit = ||y - f({} * (y - 0.5))||^2
  train using adam(lr = 1e-3)
}}
"""

MEANS = """model means(n: int) {{
  observed y : real[n]
  latent c : class[8]
  param M : real[8, n] = {}
  energy distance = ||y - M[c]||^2
  infer c
  train M using adam(lr = 1e-2)
}}
"""

ARGMIN = """model quantised(n: int) {{
  observed y : real[n]
  param M : real[8, n] = {}
  let c = argmin([||y - M[0]||, ||y - M[1]||, ||y - M[2]||, ||y - M[3]||,
                  ||y - M[4]||, ||y - M[5]||, ||y - M[6]||, ||y - M[7]||])
  energy distance = ||y - M[c]||^2
  train M using adam(lr = 1e-2)
}}
"""

CODES = """model codes(n: int) {{
  observed y : real[n]
  latent z : real[16] = 0
  param D : real[n, 16] in unit_columns = normal()
  energy fit = 1/2 * ||y - D @ z||^2
  regularizer sparsity = {} * ||z||_1
  infer z
  train D using adam(lr = 1e-2)
}}
"""

SHORT = CODES.replace("{}", "0.1").replace("infer z", "infer z using fista{}")

NEAR = "0.3 + 0.1 * normal()"

LOOKS = {"health_every": 10, "batch_size": 100}

ILLNESSES: tuple[Illness, ...] = (
    Illness("collapse", "enc", VIEWS, "0", "25", digits, {**LOOKS, "steps": 200}),
    Illness("low_rank", "enc", ALIKE, "10", "0", digits, {**LOOKS, "steps": 100}),
    Illness("energy_gap", "", FLEEING, "4", "0.1", points, {**LOOKS, "steps": 100}),
    Illness(
        "acceptance", "", RING, "mala(step = 30, steps = 5)", "mala(step = 0.1, steps = 5)", points,
        {**LOOKS, "steps": 60},
    ),
    Illness("exploding_gradient", "w", REGRESSION, "1.1", "0.1", line, {"health_every": 5, "steps": 150}),
    Illness("loss_rising", "", REGRESSION, "1.1", "0.1", line, {"health_every": 10, "steps": 100}),
    Illness("vanishing_gradient", "f", DEEP, ", ".join(["8"] * 12), "8, 8", digits, {**LOOKS, "steps": 40}),
    Illness("saturation", "f", FLAT, "1e6", "1", digits, {**LOOKS, "steps": 80}),
    Illness("dead_codes", "c", MEANS, "10 * normal()", NEAR, digits, {**LOOKS, "steps": 60}),
    Illness("dead_codes", "c", ARGMIN, "10 * normal()", NEAR, digits, {**LOOKS, "steps": 60}),
    Illness("dead_codes", "z", CODES, "3", "0.1", digits, {**LOOKS, "steps": 80}),
    Illness("search", "", SHORT, "(steps = 1)", "", digits, {**LOOKS, "steps": 30}),
)  # fmt: skip
