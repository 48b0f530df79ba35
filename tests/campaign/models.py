"""Random models from the blocks, and random values for them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tests.campaign.blocks import (
    BLOCKS,
    COUNTABLE,
    DECLARED,
    DOMAINS,
    PLATED,
    POSITIVE,
    REALS,
    RULES,
    Block,
    K,
    M,
    N,
    Rule,
    Values,
)

ROWS = 2


@dataclass(frozen=True)
class Drawn:
    """A model: its text, its formula, the domains of x, z and s, and its constraints."""

    text: str
    blocks: tuple[Block, ...]
    scale: float
    domains: Mapping[str, str]
    rules: tuple[Rule, ...]
    countable: bool

    def energy(self, values: Values) -> Tensor:
        total = torch.stack([block.value(values) for block in self.blocks]).sum()
        return self.scale * total

    def reads(self) -> list[str]:
        """The real variables in the text of terms and constraints."""
        spelled = " ".join([b.text for b in self.blocks] + [r.text for r in self.rules])
        words = set("".join(ch if ch.isalnum() or ch == "_" else " " for ch in spelled).split())
        return [name for name in REALS if name in words]


def draw(rng: np.random.Generator) -> Drawn:
    """A model of one to five terms. Constraints and countable unknowns are in some."""
    domains = {name: str(rng.choice(kinds)) for name, kinds in DOMAINS.items()}
    usual = [b for b in BLOCKS if not b.needs or domains["x"] in POSITIVE]
    blocks = [usual[i] for i in rng.choice(len(usual), size=int(rng.integers(1, 5)), replace=False)]
    if rng.random() < 0.3:
        blocks.append(PLATED[int(rng.integers(len(PLATED)))])
    countable = bool(rng.random() < 0.1)
    if countable:
        blocks = [*blocks[:2], COUNTABLE[int(rng.integers(len(COUNTABLE)))]]
    if rng.random() < 0.3:
        blocks.append(Block("0.05 * (||x||^2 + ||z||^2 + s^2)", _small))
    rules: tuple[Rule, ...] = ()
    if rng.random() < 0.25 and not countable:
        rules = tuple(RULES[i] for i in rng.choice(len(RULES), size=int(rng.integers(1, 3)), replace=False))
    scale = float(rng.choice([1e-9, 0.01, 1.0, 1.0, 1.0, 1.0, 100.0, 1e6]))
    return Drawn(
        _text(blocks, scale, domains, rules, countable), tuple(blocks), scale, domains, rules, countable
    )


def _small(v: Values) -> Tensor:
    return 0.05 * (v["x"].square().sum() + v["z"].square().sum() + v["s"] ** 2)


def _text(
    blocks: list[Block], scale: float, domains: Mapping[str, str], rules: tuple[Rule, ...], countable: bool
) -> str:
    lines = []
    for name, size in (("x", "[n]"), ("z", "[k]"), ("s", "")):
        domain = f" in {domains[name]}" if domains[name] else ""
        lines.append(f"latent {name} : real{size}{domain}")
    if countable:
        lines.append("latent c : class[3][n]")
    for at, block in enumerate(blocks):
        if "NAME" in block.text:
            lines.append(block.text.replace("NAME", f"e{at}").replace("SCALE", repr(scale)))
        else:
            lines.append(f"energy e{at} = {scale!r} * ({block.text})")
    lines += [f"subject to r{at} : {rule.text}" for at, rule in enumerate(rules)]
    body = "\n  ".join(lines)
    return f"model drawn(n: int, m: int, k: int) {{{DECLARED}  {body}\n}}\n"


def data(rng: np.random.Generator, drawn: Drawn) -> tuple[dict[str, Any], dict[str, Any]]:
    """Values of what is observed, and values inside the domains of what could be given."""
    root = rng.normal(size=(N, int(rng.integers(1, N + 1))))
    observed = {
        "A": rng.normal(size=(M, N)),
        "B": rng.normal(size=(N, K)),
        "Q": rng.normal(size=(N, N)) + float(rng.choice([0.0, 3.0])) * np.eye(N),
        "P": root @ root.T,
        "b": rng.normal(size=(ROWS, N)),
        "w": rng.choice([0.0, 0.5, 2.0], size=ROWS),
        "g": rng.random((ROWS, N)) < 0.6,
        "U": rng.normal(size=(ROWS, N, 3)),
    }
    given = {name: _inside(rng, drawn.domains.get(name, ""), shape) for name, shape in REALS.items()}
    if drawn.countable:
        given["c"] = rng.integers(0, 3, size=(ROWS, N))
    return observed, given


def _inside(rng: np.random.Generator, domain: str, shape: tuple[int, ...]) -> Any:
    value = rng.normal(size=(ROWS, *shape))
    match domain:
        case "nonnegative" | "positive":
            return np.abs(value) + 0.01
        case "simplex":
            return np.exp(value) / np.exp(value).sum(-1, keepdims=True)
        case "sphere":
            return value / np.linalg.norm(value, axis=-1, keepdims=True)
        case "":
            return value
        case _:
            low, high = (float(part) for part in domain.strip("[]").split(","))
            return rng.uniform(low, high, size=(ROWS, *shape))
