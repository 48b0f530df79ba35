"""Arrangements: vectors whose entries are a fixed stock of cases in some order.

A permutation of n is an arrangement of 0, 1, ..., n - 1; a subset of k among n entries is one of n - k
zeros and k ones. Both stay what they are when two entries are exchanged, and every arrangement is reached
from every other one by exchanges.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ebmlang.errors import DataError
from ebmlang.runtime.spec import VariableSpec

Numbers = NDArray[np.int64]

ARRANGED = ("permutation", "subset")
"""Domains of arrangements."""


def stock_of(spec: VariableSpec, width: int, chosen: int | None) -> tuple[int, ...]:
    """The cases that the last dimension of a variable has in some order, rising; () where its entries
    vary one by one. `chosen` is the number of true entries of a subset."""
    if spec.domain == "permutation":
        return tuple(range(width))
    if spec.domain == "subset":
        assert chosen is not None
        if not 0 <= chosen <= width:
            raise DataError(f"`{spec.name}` has {width} entries, of which {chosen} cannot be true", "set k")
        return (0,) * (width - chosen) + (1,) * chosen
    return ()


def bits(stock: tuple[int, ...]) -> float:
    """The base-2 logarithm of the number of arrangements."""
    _, counts = np.unique(stock, return_counts=True)
    log = math.lgamma(len(stock) + 1) - sum(math.lgamma(c + 1) for c in counts.tolist())
    return log / math.log(2)


def arrangements(stock: tuple[int, ...]) -> Numbers:
    """Every arrangement once, int64 [S, n], in lexicographic order of positions."""
    if len(set(stock)) == len(stock):
        return np.array(list(itertools.permutations(stock)), np.int64).reshape(-1, len(stock))
    ones = sum(stock)
    places = np.array(list(itertools.combinations(range(len(stock)), ones)), np.int64).reshape(-1, ones)
    found = np.zeros((len(places), len(stock)), np.int64)
    np.put_along_axis(found, places, 1, 1)
    return found


def is_arrangement(values: Tensor, stock: tuple[int, ...]) -> Tensor:
    """Whether vectors [..., n] are arrangements of a stock: bool [...]."""
    wanted = torch.tensor(stock, dtype=torch.int64, device=values.device)
    return (values.to(torch.int64).sort(-1).values == wanted).all(-1)


def shuffled(stock: tuple[int, ...], draws: NDArray[np.float64], given: Numbers | None) -> Numbers:
    """Arrangements in an order drawn by numbers [..., n]. Entries of `given` [..., n] that are not below 0
    have their case; the others share what is left of the stock."""
    order = np.argsort(draws, axis=-1, kind="stable")
    found = np.asarray(stock, np.int64)[order]
    if given is None or not (given >= 0).any():
        return found
    flat, fixed = found.reshape(-1, len(stock)), np.broadcast_to(given, found.shape).reshape(-1, len(stock))
    for row in np.flatnonzero((fixed >= 0).any(1)).tolist():
        flat[row] = _completed(flat[row], fixed[row], len(stock))
    return flat.reshape(found.shape)


def _completed(drawn: Numbers, given: Numbers, width: int) -> Numbers:
    """The given entries, and elsewhere the drawn cases in their order, less those that are given."""
    left = np.bincount(given[given >= 0], minlength=width)
    rest = []
    for case in drawn.tolist():
        if left[case]:
            left[case] -= 1
        else:
            rest.append(case)
    found = given.copy()
    found[given < 0] = rest[: int((given < 0).sum())]
    return found


def check_given(name: str, given: Tensor, stock: tuple[int, ...]) -> None:
    """Raises DataError where entries that are given [..., n], -1 elsewhere, are part of no arrangement."""
    for case, most in zip(*np.unique(stock, return_counts=True), strict=True):
        over = (given == int(case)).sum(-1) > int(most)
        if bool(over.any()):
            what = f"the case {case}" if len(set(stock)) == len(stock) else str(bool(case))
            raise DataError(
                f"the given entries of `{name}` hold {what} more than {_times(int(most))}",
                "give fewer entries, or correct them",
            )
    known = torch.tensor(sorted(set(stock)), dtype=given.dtype, device=given.device)
    strange = (given >= 0) & ~torch.isin(given, known)
    if bool(strange.any()):
        raise DataError(f"the given entries of `{name}` are part of no {_word(stock)}", "correct them")


def check_whole(spec: VariableSpec, values: Tensor, stock: tuple[int, ...]) -> None:
    """Raises DataError where given values [..., n] are no arrangements."""
    good = is_arrangement(values, stock)
    if bool(good.all()):
        return
    count = int((~good).sum())
    bad = values.reshape(-1, len(stock))[int((~good.reshape(-1)).nonzero()[0])].to(torch.int64).tolist()
    shown = ", ".join(map(str, bad[:8])) + (", ..." if len(bad) > 8 else "")
    wanted = (
        f"each of 0 to {len(stock) - 1} comes once"
        if spec.domain == "permutation"
        else f"exactly {sum(stock)} of {len(stock)} entries are true"
    )
    many = f", as {count - 1:,} more" if count > 1 else ""
    raise DataError(f"`{spec.name}` holds [{shown}]{many}, which is no {spec.domain}", wanted)


def _times(most: int) -> str:
    return {0: "zero times", 1: "once"}.get(most, f"{most} times")


def _word(stock: tuple[int, ...]) -> str:
    return "permutation" if len(set(stock)) == len(stock) else "subset"
