"""Where samplers get their random numbers from: the generator is an argument of every step."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from ebmlang.runtime.seeded import Rows

_AT_ONCE = 4096
"""Numbers that a generator of one row makes at a time: a call costs as much as a thousand of them."""


class Randomness(Protocol):
    """Random numbers for R chains. Each call moves on; the order of calls is part of the result."""

    def normal(self, size: int) -> Tensor:
        """Standard normal, [R, size]."""

    def uniform(self, size: int) -> Tensor:
        """In [0, 1), [R, size]."""


@dataclass(frozen=True, slots=True, eq=False)
class OneGenerator:
    """All chains from one generator: cheapest, and what training uses. Numbers depend on how many there
    are."""

    generator: torch.Generator
    rows: int
    dtype: torch.dtype
    device: torch.device

    def normal(self, size: int) -> Tensor:
        return torch.empty(self.rows, size, dtype=self.dtype, device=self.device).normal_(
            generator=self.generator
        )

    def uniform(self, size: int) -> Tensor:
        return torch.empty(self.rows, size, dtype=self.dtype, device=self.device).uniform_(
            generator=self.generator
        )


class GeneratorPerRow:
    """A generator for each row, keyed by seed, purpose and global row, that all its chains share.

    So chunks of rows, or one row alone, draw the same numbers. Chains of a row stand together. Generators
    live on the CPU, so that another device draws the same numbers too.
    """

    def __init__(
        self,
        seed: int,
        purpose: str,
        rows: Rows | Sequence[int],
        chains: int,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        self._generators = [_generator(seed, purpose, int(row)) for row in rows]
        self._chains, self._dtype, self._device = chains, dtype, device
        self._blocks: dict[tuple[str, int], tuple[Tensor, int]] = {}

    def normal(self, size: int) -> Tensor:
        return self._next("normal", size)

    def uniform(self, size: int) -> Tensor:
        return self._next("uniform", size)

    def _next(self, kind: str, size: int) -> Tensor:
        count = max(1, _AT_ONCE // max(1, self._chains * size))
        block, used = self._blocks.get((kind, size), (None, count))
        if block is None or used == count:
            block, used = self._block(kind, count, size), 0
        self._blocks[(kind, size)] = (block, used + 1)
        return block[:, used].reshape(-1, size).to(self._device)

    def _block(self, kind: str, count: int, size: int) -> Tensor:
        # How many are made at once depends on chains and size alone, never on the rows that stand beside.
        found = torch.empty(len(self._generators), count, self._chains, size, dtype=self._dtype)
        for generator, own in zip(self._generators, found, strict=True):
            if kind == "normal":
                own.normal_(generator=generator)
            else:
                own.uniform_(generator=generator)
        return found


def _generator(seed: int, purpose: str, row: int) -> torch.Generator:
    digest = hashlib.blake2b(f"{seed}/{purpose}/{row}".encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "little") >> 1)


def scattered(key: Tensor, number: int, count: int) -> Tensor:
    """Uniform draws [R, count] that are functions of a key [R] in [0, 1) and a number.

    For draws of which some chains need more than others: nothing is taken from a generator, so other rows
    cannot shift them. The finaliser of splitmix64 (Steele, Lea & Flood 2014) over int64.
    """
    places = torch.arange(count, dtype=torch.int64, device=key.device) + (number << 20)
    bits = (key.double() * 2.0**52).long()[:, None] + places * _GOLDEN
    bits = (bits ^ _shifted(bits, 30)) * _FIRST
    bits = (bits ^ _shifted(bits, 27)) * _SECOND
    bits = bits ^ _shifted(bits, 31)
    return (_shifted(bits, 11).double() * 2.0**-53).to(key.dtype).clamp(max=1 - torch.finfo(key.dtype).eps)


def _signed(word: int) -> int:
    """A 64-bit word as the signed number with the same bits; products wrap around alike."""
    return word - (1 << 64) if word >> 63 else word


_GOLDEN, _FIRST, _SECOND = (_signed(w) for w in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))


def _shifted(bits: Tensor, by: int) -> Tensor:
    """Logical shift to the right: torch shifts the sign in."""
    return (bits >> by) & ((1 << (64 - by)) - 1)
