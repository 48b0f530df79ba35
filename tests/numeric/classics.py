"""The classic problems of More, Garbow and Hillstrom (ACM Trans. Math. Software 7, 1981, 17-41).

All 35, in their order, written as sums of squares and beginning at the standard starts.
"""

# Texts of models are longer than lines of code.
# ruff: noqa: E501

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Classic:
    """`body` declares the unknowns and squares of residuals; the least sum of squares is one of `minima`.

    A minimum of 0 is met up to `slack`, another one up to a share of `within`. They are larger where the Hessian
    is nearly singular at the answer: a small gradient leaves more energy there.
    """

    body: str
    minima: tuple[float, ...]
    given: dict[str, Any] = field(default_factory=dict)
    slack: float = 1e-13
    within: float = 1e-5


def source(problem: Classic) -> str:
    """The text of a model that seeks `x`, with the sizes that the body reads as hyperparameters."""
    sizes = ", ".join(f"{n}: int" for n in ("m", "n") if f"[{n}" in problem.body or f", {n}]" in problem.body)
    sizes = sizes or ("m: int" if "..m" in problem.body else "")
    return f"model classic({sizes}) {{\n  {problem.body}\n  infer x\n}}"


BARD = [0.14, 0.18, 0.22, 0.25, 0.29, 0.32, 0.35, 0.39, 0.37, 0.58, 0.73, 0.96, 1.34, 2.10, 4.39]
GAUSSIAN = [0.0009, 0.0044, 0.0175, 0.0540, 0.1295, 0.2420, 0.3521, 0.3989]
MEYER = [
    34780,
    28610,
    23650,
    19630,
    16370,
    13720,
    11540,
    9744,
    8261,
    7030,
    6005,
    5147,
    4427,
    3820,
    3307,
    2872,
]
KOWALIK_Y = [0.1957, 0.1947, 0.1735, 0.1600, 0.0844, 0.0627, 0.0456, 0.0342, 0.0323, 0.0235, 0.0246]
KOWALIK_U = [4.0, 2.0, 1.0, 0.5, 0.25, 0.167, 0.125, 0.1, 0.0833, 0.0714, 0.0625]
OSBORNE_1 = [
    0.844, 0.908, 0.932, 0.936, 0.925, 0.908, 0.881, 0.850, 0.818, 0.784, 0.751, 0.718, 0.685, 0.658, 0.628, 0.603,
    0.580, 0.558, 0.538, 0.522, 0.506, 0.490, 0.478, 0.467, 0.457, 0.448, 0.438, 0.431, 0.424, 0.420, 0.414, 0.411,
    0.406,
]  # fmt: skip
OSBORNE_2 = [
    1.366, 1.191, 1.112, 1.013, 0.991, 0.885, 0.831, 0.847, 0.786, 0.725, 0.746, 0.679, 0.608, 0.655, 0.616, 0.606,
    0.602, 0.626, 0.651, 0.724, 0.649, 0.649, 0.694, 0.644, 0.624, 0.661, 0.612, 0.558, 0.533, 0.495, 0.500, 0.423,
    0.395, 0.375, 0.372, 0.391, 0.396, 0.405, 0.428, 0.429, 0.523, 0.562, 0.607, 0.653, 0.672, 0.708, 0.633, 0.668,
    0.645, 0.632, 0.591, 0.559, 0.597, 0.625, 0.739, 0.710, 0.729, 0.720, 0.636, 0.581, 0.428, 0.292, 0.162, 0.098,
    0.054,
]  # fmt: skip
TENTHS = np.arange(1, 14) / 10
HUNDREDTHS = np.arange(1, 100) / 100


def fit(parameters: int, start: str, data: str, residual: str) -> str:
    """A curve with the given parameters `x` fitted to data over `i`."""
    return f"""{data}
  latent x : real[{parameters}] = [{start}]
  for i in 0..m {{ energy fit[i] = ({residual})^2 }}"""


def column(*names: str) -> str:
    return "\n".join(f"  observed {n} : real[m]" for n in names)


WATSON = """shared observed slope : real[m, n]; shared observed power : real[m, n]
  latent x : real[n] = 0
  for i in 0..m { energy fit[i] = (slope[i] @ x - (power[i] @ x)^2 - 1)^2 }
  energy first = x[0]^2
  energy second = (x[1] - x[0]^2 - 1)^2"""


def watson(n: int) -> dict[str, Any]:
    t = np.arange(1, 30) / 29
    slope = np.stack([j * t ** max(j - 1, 0) for j in range(n)], 1)
    return {"slope": slope, "power": np.stack([t**j for j in range(n)], 1)}


PENALTY_2 = """observed sums : real[m-1]
  observed w : real[m]
  latent x : real[m] = 0.5
  energy first = (x[0] - 0.2)^2
  for i in 1..m { energy rise[i] = 0.00001 * (exp(x[i] / 10) + exp(x[i-1] / 10) - sums[i-1])^2 }
  for i in 1..m { energy low[i] = 0.00001 * (exp(x[i] / 10) - exp(-0.1))^2 }
  energy last = (sum(w * x^2) - 1)^2"""


def penalty_2(n: int) -> dict[str, Any]:
    i = np.arange(2, n + 1)
    return {"sums": np.exp(i / 10) + np.exp((i - 1) / 10), "w": np.arange(n, 0, -1)}


CHEBYQUAD = """observed integral : real[m]
  observed start : real[m]
  latent x : real[m] = start
  let T : real[m+1, m]
  let T[0] = 0 * x + 1
  let T[1] = 2 * x - 1
  for i in 0..m-1 { let T[i+2] = 2 * (2 * x - 1) * T[i+1] - T[i] }
  for i in 0..m { energy f[i] = (mean(T[i+1]) - integral[i])^2 }"""


def chebyquad(n: int) -> dict[str, Any]:
    integral = [-1 / (k * k - 1) if k % 2 == 0 else 0.0 for k in range(1, n + 1)]
    return {"integral": integral, "start": np.arange(1, n + 1) / (n + 1)}


PROBLEMS = {
    "rosenbrock": Classic(
        """latent x : real[2] = [-1.2, 1]
  energy a = (10 * (x[1] - x[0]^2))^2
  energy b = (1 - x[0])^2""",
        (0.0,),
    ),
    "freudenstein and roth": Classic(
        """latent x : real[2] = [0.5, -2]
  energy a = (-13 + x[0] + ((5 - x[1]) * x[1] - 2) * x[1])^2
  energy b = (-29 + x[0] + ((x[1] + 1) * x[1] - 14) * x[1])^2""",
        (0.0, 48.9842536792400),
    ),
    "powell badly scaled": Classic(
        """latent x : real[2] = [0, 1]
  energy a = (10000 * x[0] * x[1] - 1)^2
  energy b = (exp(-x[0]) + exp(-x[1]) - 1.0001)^2""",
        (0.0,),
    ),
    "brown badly scaled": Classic(
        """latent x : real[2] = [1, 1]
  energy a = (x[0] - 1000000)^2
  energy b = (x[1] - 0.000002)^2
  energy c = (x[0] * x[1] - 2)^2""",
        (0.0,),
    ),
    "beale": Classic(
        """latent x : real[2] = [1, 1]
  energy a = (1.5 - x[0] * (1 - x[1]))^2
  energy b = (2.25 - x[0] * (1 - x[1]^2))^2
  energy c = (2.625 - x[0] * (1 - x[1]^3))^2""",
        (0.0,),
    ),
    "jennrich and sampson": Classic(
        fit(2, "0.3, 0.4", column("t"), "2 + 2 * t[i] - (exp(t[i] * x[0]) + exp(t[i] * x[1]))"),
        (124.362182355615,),
        {"t": np.arange(1.0, 11.0)},
    ),
    "helical valley": Classic(
        """latent x : real[3] = [-1, 0, 0]
  energy a = 100 * (x[2] - 10 * atan2(x[1], x[0]) / (2 * pi))^2
  energy b = 100 * (||x[0..2]|| - 1)^2
  energy c = x[2]^2""",
        (0.0,),
    ),
    "bard": Classic(
        fit(3, "1, 1, 1", column("y", "u", "v", "w"), "y[i] - (x[0] + u[i] / (v[i] * x[1] + w[i] * x[2]))"),
        (8.21487730657897e-3, 17.4286933479),
        {
            "y": BARD,
            "u": np.arange(1.0, 16),
            "v": 16 - np.arange(1.0, 16),
            "w": np.minimum(np.arange(1.0, 16), 16 - np.arange(1.0, 16)),
        },
    ),
    "gaussian": Classic(
        fit(3, "0.4, 1, 0", column("y", "t"), "x[0] * exp(-x[1] * (t[i] - x[2])^2 / 2) - y[i]"),
        (1.12793276961871e-8,),
        {"y": [*GAUSSIAN, *GAUSSIAN[-2::-1]], "t": (8 - np.arange(1.0, 16)) / 2},
    ),
    "meyer": Classic(
        fit(3, "0.02, 4000, 250", column("y", "t"), "x[0] * exp(x[1] / (t[i] + x[2])) - y[i]"),
        (87.9458551709,),
        {"y": [float(y) for y in MEYER], "t": 45 + 5.0 * np.arange(1, 17)},
    ),
    "gulf research and development": Classic(
        fit(3, "5, 2.5, 0.15", column("t", "y"), "exp(-((y[i] - x[1])^2)^(x[2] / 2) / x[0]) - t[i]"),
        (0.0,),
        {"t": HUNDREDTHS, "y": 25 + (-50 * np.log(HUNDREDTHS)) ** (2 / 3)},
    ),
    "box three-dimensional": Classic(
        fit(
            3,
            "0, 10, 20",
            column("t"),
            "exp(-t[i] * x[0]) - exp(-t[i] * x[1]) - x[2] * (exp(-t[i]) - exp(-10 * t[i]))",
        ),
        (0.0,),
        {"t": np.arange(1, 11) / 10},
    ),
    "powell singular": Classic(
        """latent x : real[4] = [3, -1, 0, 1]
  energy a = (x[0] + 10 * x[1])^2
  energy b = 5 * (x[2] - x[3])^2
  energy c = ((x[1] - 2 * x[2])^2)^2
  energy d = 10 * ((x[0] - x[3])^2)^2""",
        (0.0,),
        slack=1e-10,
    ),
    "wood": Classic(
        """latent x : real[4] = [-3, -1, -3, -1]
  energy a = 100 * (x[1] - x[0]^2)^2
  energy b = (1 - x[0])^2
  energy c = 90 * (x[3] - x[2]^2)^2
  energy d = (1 - x[2])^2
  energy e = 10 * (x[1] + x[3] - 2)^2
  energy f = (x[1] - x[3])^2 / 10""",
        (0.0, 7.87696),
    ),
    "kowalik and osborne": Classic(
        fit(
            4,
            "0.25, 0.39, 0.415, 0.39",
            column("y", "u"),
            "y[i] - x[0] * (u[i]^2 + u[i] * x[1]) / (u[i]^2 + u[i] * x[2] + x[3])",
        ),
        (3.07505603849e-4, 1.02734e-3),
        {"y": KOWALIK_Y, "u": KOWALIK_U},
    ),
    "brown and dennis": Classic(
        fit(
            4,
            "25, 5, -5, -1",
            column("t"),
            "(x[0] + t[i] * x[1] - exp(t[i]))^2 + (x[2] + x[3] * sin(t[i]) - cos(t[i]))^2",
        ),
        (85822.2016263563,),
        {"t": np.arange(1, 21) / 5},
    ),
    "osborne 1": Classic(
        fit(
            5,
            "0.5, 1.5, -1, 0.01, 0.02",
            column("y", "t"),
            "y[i] - (x[0] + x[1] * exp(-t[i] * x[3]) + x[2] * exp(-t[i] * x[4]))",
        ),
        (5.46489469748e-5,),
        {"y": OSBORNE_1, "t": 10.0 * np.arange(33)},
    ),
    "biggs exp6": Classic(
        fit(
            6,
            "1, 2, 1, 1, 1, 1",
            column("t"),
            "x[2] * exp(-t[i] * x[0]) - x[3] * exp(-t[i] * x[1]) + x[5] * exp(-t[i] * x[4])"
            " - (exp(-t[i]) - 5 * exp(-10 * t[i]) + 3 * exp(-4 * t[i]))",
        ),
        (0.0, 5.65564992499e-3, 0.30636677262479),
        {"t": TENTHS},
    ),
    "osborne 2": Classic(
        fit(
            11,
            "1.3, 0.65, 0.65, 0.7, 0.6, 3, 5, 7, 2, 4.5, 5.5",
            column("y", "t"),
            "y[i] - (x[0] * exp(-t[i] * x[4]) + x[1] * exp(-(t[i] - x[8])^2 * x[5])"
            " + x[2] * exp(-(t[i] - x[9])^2 * x[6]) + x[3] * exp(-(t[i] - x[10])^2 * x[7]))",
        ),
        (0.0401377362935, 1.78981358688),
        {"y": OSBORNE_2, "t": np.arange(65) / 10},
    ),
    "watson": Classic(WATSON, (2.28767005355e-3,), watson(6)),
    "watson in nine unknowns": Classic(WATSON, (1.39976e-6,), watson(9), within=3e-5),
    "extended rosenbrock": Classic(
        """observed start : real[m, 2]
  latent x : real[m, 2] = start
  for i in 0..m { energy a[i] = 100 * (x[i, 1] - x[i, 0]^2)^2 + (1 - x[i, 0])^2 }""",
        (0.0,),
        {"start": np.tile([-1.2, 1.0], (50, 1))},
    ),
    "extended powell singular": Classic(
        """observed start : real[m, 4]
  latent x : real[m, 4] = start
  for i in 0..m {
    energy a[i] = (x[i, 0] + 10 * x[i, 1])^2
    energy b[i] = 5 * (x[i, 2] - x[i, 3])^2
    energy c[i] = ((x[i, 1] - 2 * x[i, 2])^2)^2
    energy d[i] = 10 * ((x[i, 0] - x[i, 3])^2)^2
  }""",
        (0.0,),
        {"start": np.tile([3.0, -1.0, 0.0, 1.0], (10, 1))},
        slack=1e-8,
    ),
    "penalty I": Classic(
        """observed start : real[m]
  latent x : real[m] = start
  energy a = 0.00001 * ||x - 1||^2
  energy b = (||x||^2 - 0.25)^2""",
        (2.24997e-5,),
        {"start": np.arange(1.0, 5.0)},
    ),
    "penalty II": Classic(PENALTY_2, (9.37629e-6,), penalty_2(4)),
    "penalty II in ten unknowns": Classic(PENALTY_2, (2.93660e-4,), penalty_2(10)),
    "variably dimensioned": Classic(
        """observed start : real[m]
  observed j : real[m]
  latent x : real[m] = start
  energy a = ||x - 1||^2
  energy b = (dot(j, x - 1))^2
  energy c = ((dot(j, x - 1))^2)^2""",
        (0.0,),
        {"start": 1 - np.arange(1, 11) / 10, "j": np.arange(1.0, 11)},
        slack=1e-8,
    ),
    "trigonometric": Classic(
        """observed start : real[m]
  latent x : real[m] = start
  for i in 0..m { energy f[i] = (m - sum(cos(x)) + (i + 1) * (1 - cos(x[i])) - sin(x[i]))^2 }""",
        (0.0, 2.79506e-5),
        {"start": np.full(10, 0.1)},
    ),
    "brown almost linear": Classic(
        """observed start : real[m]
  latent x : real[m] = start
  for i in 0..m-1 { energy f[i] = (x[i] + sum(x) - (m + 1))^2 }
  energy last = (prod(x) - 1)^2""",
        (0.0, 1.0),
        {"start": np.full(10, 0.5)},
    ),
    "broyden tridiagonal": Classic(
        """observed start : real[m]
  latent x : real[m] = start
  energy first = ((3 - 2 * x[0]) * x[0] - 2 * x[1] + 1)^2
  for i in 1..m-1 { energy f[i] = ((3 - 2 * x[i]) * x[i] - x[i-1] - 2 * x[i+1] + 1)^2 }
  energy last = ((3 - 2 * x[m-1]) * x[m-1] - x[m-2] + 1)^2""",
        (0.0,),
        {"start": np.full(200, -1.0)},
    ),
    "discrete boundary value": Classic(
        """observed start : real[m]
  observed t : real[m]
  latent x : real[m] = start
  let h = 1 / (m + 1)
  energy first = (2 * x[0] - x[1] + h^2 * (x[0] + t[0] + 1)^3 / 2)^2
  for i in 1..m-1 { energy f[i] = (2 * x[i] - x[i-1] - x[i+1] + h^2 * (x[i] + t[i] + 1)^3 / 2)^2 }
  energy last = (2 * x[m-1] - x[m-2] + h^2 * (x[m-1] + t[m-1] + 1)^3 / 2)^2""",
        (0.0,),
        {"start": (np.arange(1, 31) / 31) * (np.arange(1, 31) / 31 - 1), "t": np.arange(1, 31) / 31},
    ),
    "discrete integral equation": Classic(
        """observed t : real[m]
  latent x : real[m] = t * (t - 1)
  let h = 1 / (m + 1)
  for j in 0..m { let cube[j] = (x[j] + t[j] + 1)^3 }
  for i in 0..m {
    let below = sum(t[j] * cube[j], over = j in 0..m if j <= i)
    let above = sum((1 - t[j]) * cube[j], over = j in 0..m if j > i)
    energy f[i] = (x[i] + h / 2 * ((1 - t[i]) * below + t[i] * above))^2
  }""",
        (0.0,),
        {"t": np.arange(1, 11) / 11},
    ),
    "broyden banded": Classic(
        """observed start : real[m]
  latent x : real[m] = start
  for i in 0..m {
    let near = sum(x[j] * (1 + x[j]), over = j in 0..m if j != i and j >= i - 5 and j <= i + 1)
    energy f[i] = (x[i] * (2 + 5 * x[i]^2) + 1 - near)^2
  }""",
        (0.0,),
        {"start": np.full(10, -1.0)},
    ),
    "linear, full rank": Classic(
        """observed A : real[m, n]
  latent x : real[n] = 1
  energy f = ||A @ x - 1||^2""",
        (10.0,),
        {"A": np.eye(20, 10) - 0.1},
    ),
    "linear, rank 1": Classic(
        """observed A : real[m, n]
  latent x : real[n] = 1
  energy f = ||A @ x - 1||^2""",
        (20 * 19 / (2 * 41),),
        {"A": np.outer(np.arange(1, 21), np.arange(1, 11))},
    ),
    "linear, rank 1 with zero columns and rows": Classic(
        """observed A : real[m, n]
  latent x : real[n] = 1
  energy f = ||A @ x - 1||^2""",
        ((20**2 + 3 * 20 - 6) / (2 * 37),),
        {"A": np.outer([0, *range(1, 19), 0], [0, *range(2, 10), 0])},
    ),
    "chebyquad, 7": Classic(CHEBYQUAD, (0.0,), chebyquad(7)),
    "chebyquad, 8": Classic(CHEBYQUAD, (3.51687e-3,), chebyquad(8)),
    "chebyquad, 9": Classic(CHEBYQUAD, (0.0,), chebyquad(9)),
    "chebyquad, 10": Classic(CHEBYQUAD, (6.50395e-3,), chebyquad(10)),
}
