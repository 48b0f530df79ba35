"""Random numbers that depend on what they are for, not on when they are drawn.

Every number is a hash of (seed, name, global row, element index). So a chunk of rows, a reordering of rows,
another number of processes or another device gives the same numbers to the bit. Everything is computed in
float64 on the CPU; callers move the result.

The mixing function is the finaliser of splitmix64 (Steele, Lea and Flood 2014, "Fast splittable pseudorandom
number generators", with the constants of Stafford's variant 13).
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

Rows = NDArray[np.int64]
Floats = NDArray[np.float64]


def _mix(bits: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Bijection of 64-bit words in which every input bit moves every output bit with probability near 1/2."""
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))


def _keys(seed: int, name: str) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    digest = hashlib.blake2b(f"{seed}/{name}".encode(), digest_size=16).digest()
    words = np.frombuffer(digest, dtype="<u8").astype(np.uint64)
    return words[:1], words[1:]


def _words(seed: int, name: str, rows: Rows, size: int) -> NDArray[np.uint64]:
    """Hash words, [rows, size].

    Rows and elements are mixed apart before they meet. A counter added to a row's hash would let two of very
    many rows run through the same stretch of one sequence.
    """
    row_key, element_key = _keys(seed, name)
    row_words = _mix(_mix(rows.astype(np.uint64) + row_key))
    elements = np.arange(size, dtype=np.uint64)
    element_words = _mix(_mix(elements + element_key))
    return _mix(_mix(row_words[:, None] ^ element_words[None, :]) + row_key)


def uniform(seed: int, name: str, rows: Rows, shape: tuple[int, ...]) -> Floats:
    """Draws from the open interval (0, 1), float64, [len(rows), *shape]. `rows` holds global row numbers."""
    words = _words(seed, name, rows, math.prod(shape))
    # 52 bits, not 53: k + 1/2 must be exact, or the largest k would round to 1.
    draws = ((words >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-52
    return draws.reshape(len(rows), *shape)


def normal(seed: int, name: str, rows: Rows, shape: tuple[int, ...]) -> Floats:
    """Standard normal draws by the inverse distribution function, float64, [len(rows), *shape]."""
    quantiles = torch.special.ndtri(torch.from_numpy(uniform(seed, name, rows, shape)))
    return np.asarray(quantiles.numpy(), dtype=np.float64)


def bernoulli(
    seed: int, name: str, rows: Rows, shape: tuple[int, ...], probability: float | Floats
) -> NDArray[np.bool_]:
    """True with the given probability, [len(rows), *shape]. `probability` broadcasts against the result."""
    return np.asarray(uniform(seed, name, rows, shape) < probability)


def categorical(
    seed: int, name: str, rows: Rows, shape: tuple[int, ...], weights: Floats
) -> NDArray[np.int64]:
    """Class numbers drawn in proportion to weights, [len(rows), *shape].

    `weights` >= 0 broadcasts to [len(rows), *shape, K].
    Raises ValueError when weights are negative, not finite or all zero.
    """
    table = np.asarray(weights, dtype=np.float64)
    total = table.sum(axis=-1, keepdims=True)
    if not np.isfinite(table).all() or (table < 0).any() or (total <= 0).any():
        raise ValueError("weights of a categorical draw must be finite, nonnegative and not all zero")
    upper = np.cumsum(table, axis=-1)
    last = upper[..., -1:]
    # A draw next to 1 could round up to the total, which is past the last class.
    target = np.minimum(uniform(seed, name, rows, shape)[..., None] * last, np.nextafter(last, 0.0))
    return np.asarray((upper <= target).sum(axis=-1), dtype=np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class Stream:
    """The draws of one purpose: a seed, a name and the global numbers of the rows that are asked for."""

    seed: int
    name: str
    rows: Rows

    def named(self, suffix: str) -> Stream:
        """A stream for another purpose, independent of this one."""
        return Stream(self.seed, f"{self.name}/{suffix}", self.rows)

    def uniform(self, shape: tuple[int, ...]) -> torch.Tensor:
        """float64 on the CPU, [len(rows), *shape], in (0, 1)."""
        return torch.from_numpy(uniform(self.seed, self.name, self.rows, shape))

    def normal(self, shape: tuple[int, ...]) -> torch.Tensor:
        """float64 on the CPU, [len(rows), *shape], standard normal."""
        return torch.from_numpy(normal(self.seed, self.name, self.rows, shape))
