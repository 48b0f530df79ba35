"""What random models are made of: terms, constraints and domains, in the language and as formulas in torch."""

# Terms of models are longer than lines of code.
# ruff: noqa: E501

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

Values = Mapping[str, Tensor]
"""float64 values of one row by name, and int64 ones of `c`."""

N, K, M = 4, 2, 5
REALS = {"x": (N,), "z": (K,), "s": (), "y": (N,)}
CLASSES = 3

DECLARED = """
  shared observed A : real[m, n]
  shared observed B : real[n, k]
  shared observed Q : real[n, n]
  shared observed P : real[n, n] in psd
  observed y : real[n]
  observed b : real[n]
  observed w : real in nonnegative
  observed g : bool[n]
  observed U : real[n, 3]
"""


@dataclass(frozen=True)
class Block:
    """A term: its text, its value, and what has to be true of x: "" or "positive"."""

    text: str
    value: Callable[[Values], Tensor]
    needs: str = ""


def huber(r: Tensor, delta: float) -> Tensor:
    return torch.where(r.abs() <= delta, r * r / 2, delta * (r.abs() - delta / 2)).sum()


def carried(x: Tensor, gain: float, bent: bool) -> Tensor:
    """The cost of a recurrence r[t + 1] = gain * r[t] + x[t], with r bent by tanh or not."""
    r, cost = x.new_ones(()), x.new_zeros(())
    for t in range(N):
        r = gain * (torch.tanh(r) if bent else r) + x[t]
        cost = cost + r * r + 0.1 * x[t] ** 2
    return cost


def chosen(v: Values) -> Tensor:
    c = v["c"].long()
    return v["U"][torch.arange(N), c].sum() + 0.7 * (c[1:] != c[:-1]).double().sum()


BLOCKS: tuple[Block, ...] = (
    # quadratic, definite or not
    Block("1/2 * ||A @ x - A @ y||^2", lambda v: (v["A"] @ (v["x"] - v["y"])).square().sum() / 2),
    Block("||x - B @ z||^2", lambda v: (v["x"] - v["B"] @ v["z"]).square().sum()),
    Block("w * ||x - b||^2", lambda v: v["w"] * (v["x"] - v["b"]).square().sum()),
    Block("0.5 * ||z||^2", lambda v: v["z"].square().sum() / 2),
    Block("(s - sum(z))^2", lambda v: (v["s"] - v["z"].sum()) ** 2),
    Block("x @ Q @ x", lambda v: v["x"] @ v["Q"] @ v["x"]),
    Block("(x - y) @ P @ (x - y)", lambda v: (v["x"] - v["y"]) @ v["P"] @ (v["x"] - v["y"])),
    Block("0.3 * s * sum(x)", lambda v: 0.3 * v["s"] * v["x"].sum()),
    Block("-0.2 * ||x||^2", lambda v: -0.2 * v["x"].square().sum()),
    Block("x[0] * z[0] - x[1] * z[1]", lambda v: v["x"][0] * v["z"][0] - v["x"][1] * v["z"][1]),
    Block("dot(b, x)", lambda v: v["b"] @ v["x"]),
    Block("0.5 * s - 0.1 * sum(z)", lambda v: 0.5 * v["s"] - 0.1 * v["z"].sum()),
    Block("s^2", lambda v: v["s"] ** 2),
    Block("sum((x[1..] - x[..n-1])^2)", lambda v: (v["x"][1:] - v["x"][:-1]).square().sum()),
    # robust, kinked, exponential
    Block("sum(huber(x - y, delta = 0.5))", lambda v: huber(v["x"] - v["y"], 0.5)),
    Block("sum(huber(x[1..] - x[..n-1]))", lambda v: huber(v["x"][1:] - v["x"][:-1], 1.0)),
    Block("0.4 * ||x||_1", lambda v: 0.4 * v["x"].abs().sum()),
    Block("0.4 * ||x - b||_1", lambda v: 0.4 * (v["x"] - v["b"]).abs().sum()),
    Block("abs(s)", lambda v: v["s"].abs()),
    Block("||z||", lambda v: v["z"].norm()),
    Block("||A @ x - b[0]||", lambda v: (v["A"] @ v["x"] - v["b"][0]).norm()),
    Block("max(x)", lambda v: v["x"].max()),
    Block("relu(s - 1) + relu(-s)", lambda v: functional.relu(v["s"] - 1) + functional.relu(-v["s"])),
    Block("logsumexp(A @ x)", lambda v: torch.logsumexp(v["A"] @ v["x"], 0)),
    Block("-logsumexp(A @ x) / 2", lambda v: -torch.logsumexp(v["A"] @ v["x"], 0) / 2),
    Block("sum(exp(0.5 * x - b))", lambda v: torch.exp(0.5 * v["x"] - v["b"]).sum()),
    Block("exp(-s)", lambda v: torch.exp(-v["s"])),
    Block("sum(softplus(-y * x))", lambda v: functional.softplus(-v["y"] * v["x"]).sum()),
    Block("sum(sqrt(1 + square(z - s)))", lambda v: torch.sqrt(1 + (v["z"] - v["s"]).square()).sum()),
    Block("sum(log(cosh(z)))", lambda v: torch.log(torch.cosh(v["z"])).sum()),
    Block("1/2 * relu(sum(x) - 1)^2", lambda v: functional.relu(v["x"].sum() - 1).square() / 2),
    # not convex
    Block("sum((x - y)^4)", lambda v: (v["x"] - v["y"]).pow(4).sum()),
    Block("(||x||^2 - 1)^2", lambda v: (v["x"].square().sum() - 1) ** 2),
    Block("sum(log1p(square(x - y)))", lambda v: torch.log1p((v["x"] - v["y"]).square()).sum()),
    Block("sum(sin(2 * x))", lambda v: torch.sin(2 * v["x"]).sum()),
    Block("s * x[0] * z[0]", lambda v: v["s"] * v["x"][0] * v["z"][0]),
    Block("1 / (1 + s^2)", lambda v: 1 / (1 + v["s"] ** 2)),
    Block("s^3 / 3", lambda v: v["s"] ** 3 / 3),
    # where x is positive
    Block("-sum(log(x))", lambda v: -torch.log(v["x"]).sum(), "positive"),
    Block("sum(x * log(x))", lambda v: torch.xlogy(v["x"], v["x"]).sum(), "positive"),
    Block(
        "-entropy(x) + dot(b, x)", lambda v: torch.xlogy(v["x"], v["x"]).sum() + v["b"] @ v["x"], "positive"
    ),
    Block("-sum(sqrt(x))", lambda v: -torch.sqrt(v["x"]).sum(), "positive"),
    Block("sum(1 / x)", lambda v: (1 / v["x"]).sum(), "positive"),
    Block("square(s) / sum(x)", lambda v: v["s"] ** 2 / v["x"].sum(), "positive"),
)

PLATED: tuple[Block, ...] = (
    Block(
        "for i in 0..n if g[i] { energy NAME[i] = SCALE * (x[i] - y[i])^2 }",
        lambda v: (v["g"] * (v["x"] - v["y"]).square()).sum(),
    ),
    Block(
        "for i in 0..n-1 { energy NAME[i] = SCALE * huber(x[i+1] - 0.5 * x[i]) }",
        lambda v: huber(v["x"][1:] - 0.5 * v["x"][:-1], 1.0),
    ),
    Block(
        "for i in 0..n, j in 0..k { energy NAME[i, j] = SCALE * (x[i] - z[j])^2 / 2 }",
        lambda v: (v["x"][:, None] - v["z"]).square().sum() / 2,
    ),
    Block(
        "for i in 0..n { energy NAME[i] = SCALE * abs(x[i] - s) }",
        lambda v: (v["x"] - v["s"]).abs().sum(),
    ),
    Block(
        "let NAMEr : real[n+1]\n  let NAMEr[0] = 1\n  for t in 0..n { let NAMEr[t+1] = 0.8 * NAMEr[t] + x[t] }\n"
        "  for t in 0..n { energy NAME[t] = SCALE * (NAMEr[t+1]^2 + 0.1 * x[t]^2) }",
        lambda v: carried(v["x"], 0.8, False),
    ),
    Block(
        "let NAMEr : real[n+1]\n  let NAMEr[0] = 1\n  for t in 0..n { let NAMEr[t+1] = 1.1 * tanh(NAMEr[t]) + x[t] }\n"
        "  for t in 0..n { energy NAME[t] = SCALE * (NAMEr[t+1]^2 + 0.1 * x[t]^2) }",
        lambda v: carried(v["x"], 1.1, True),
    ),
)

COUNTABLE: tuple[Block, ...] = (
    Block(
        "for i in 0..n { energy NAME[i] = SCALE * U[i, c[i]] }\n"
        "  for i in 0..n-1 { energy NAMEp[i] = SCALE * where(c[i] == c[i+1], 0, 0.7) }",
        chosen,
    ),
    Block(
        "for i in 0..n { energy NAME[i] = SCALE * (x[i] - U[i, c[i]])^2 }",
        lambda v: (v["x"] - v["U"][torch.arange(N), v["c"].long()]).square().sum(),
    ),
)


@dataclass(frozen=True)
class Rule:
    """A constraint: its text, its values (<= 0, or == 0 where `equal`), and whether it is."""

    text: str
    value: Callable[[Values], Tensor]
    equal: bool = False


RULES: tuple[Rule, ...] = (
    Rule("sum(x) <= 1", lambda v: v["x"].sum()[None] - 1),
    Rule("sum(x) == 0.5", lambda v: v["x"].sum()[None] - 0.5, True),
    Rule("||x||^2 <= 2", lambda v: v["x"].square().sum()[None] - 2),
    Rule("x[0] - s == 0.5", lambda v: (v["x"][0] - v["s"])[None] - 0.5, True),
    Rule("A @ x <= 1", lambda v: v["A"] @ v["x"] - 1),
    Rule("s * x[0] == 1", lambda v: (v["s"] * v["x"][0])[None] - 1, True),
    Rule("sum(z) >= s^2", lambda v: (v["s"] ** 2 - v["z"].sum())[None]),
    Rule("sum(x) >= 3", lambda v: 3 - v["x"].sum()[None]),
)

DOMAINS = {
    "x": ("", "", "", "", "nonnegative", "[-1, 2]", "[0, 0.4]", "simplex", "sphere", "positive"),
    "z": ("", "", "nonnegative", "[-1, 0.5]"),
    "s": ("", "", "nonnegative", "[0.2, 3]"),
}
POSITIVE = ("positive", "simplex")
