"""Hypothesis strategies for arrays inside a domain, valid by construction."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from hypothesis import strategies as st
from torch import Tensor

from ebmlang.runtime.domain_base import Domain, Kind
from ebmlang.runtime.domains import (
    Interval,
    Nonnegative,
    Positive,
    PositiveDefinite,
    PositiveSemidefinite,
    Reals,
    Simplex,
)
from ebmlang.testing.case import Array

MOST_SINGLE = 96
"""Entries that are drawn one by one; a larger array comes from one drawn seed, which shrinks worse."""

_CONSTANT_ONCE_IN = 8


@dataclass(frozen=True, slots=True, eq=False)
class Numbers:
    """How single numbers are drawn; `low` and `high` are the range of the entries of large arrays."""

    single: st.SearchStrategy[float]
    low: float
    high: float


def _numbers(least: int, whole: int, high: float) -> Numbers:
    """From `least` (0 and 1 are the edges that matter) in steps of 1, 1/64 and 1/1000.

    Small whole numbers meet kinks and zeros, sixty-fourths are exact, thousandths are generic. All stay
    far from overflow: what is looked for is a wrong formula, not the range of floating point.
    """
    single = st.one_of(
        st.integers(least * whole if least < 0 else least, whole).map(float),
        st.integers(least * 512 if least < 0 else least, 512).map(lambda i: i / 64),
        st.integers(least * 4000 if least < 0 else least, 4000).map(lambda i: i / 1000),
    )
    return Numbers(single, float(least * high) if least < 0 else least / 64, high)


ANY = _numbers(-1, 3, 3.0)
AMOUNTS = _numbers(0, 3, 3.0)
POSITIVES = _numbers(1, 4, 3.0)
WEIGHTS = Numbers(st.integers(0, 6).map(float), 0.0, 6.0)
FRACTIONS = Numbers(
    st.one_of(st.integers(0, 4).map(lambda i: i / 4), st.integers(0, 1000).map(lambda i: i / 1000)), 0.0, 1.0
)


@st.composite
def _single(draw: st.DrawFn, numbers: Numbers, count: int) -> list[float]:
    """Numbers one by one; now and then all the same.

    A constant array takes as many choices whatever its size, so that the shrinker can change sizes without
    moving the numbers of the arrays behind it.
    """
    if draw(st.integers(0, _CONSTANT_ONCE_IN - 1)) == 0:
        return [draw(numbers.single)] * count
    return [draw(numbers.single) for _ in range(count)]


def entries(draw: st.DrawFn, numbers: Numbers, shape: tuple[int, ...]) -> Tensor:
    """float64 [*shape] of drawn numbers."""
    count = math.prod(shape)
    if count <= MOST_SINGLE:
        return torch.tensor(draw(_single(numbers, count)), dtype=torch.float64).reshape(shape)
    seed = draw(st.integers(0, 2**16))
    many = np.random.default_rng(seed).uniform(numbers.low, numbers.high, shape)
    return torch.from_numpy(np.round(many * 64) / 64).clamp(numbers.low, numbers.high)


def inside(draw: st.DrawFn, domain: Domain, shape: tuple[int, ...]) -> Tensor:
    """A value of the domain, float64 [*shape]; bounds and masks broadcast against it."""
    match domain:
        case Reals():
            return entries(draw, ANY, shape)
        case Nonnegative():
            return entries(draw, AMOUNTS, shape)
        case Positive():
            return entries(draw, POSITIVES, shape)
        case Interval():
            return _between(draw, domain, shape)
        case Simplex():
            return _simplex(draw, domain, shape)
        case PositiveSemidefinite():
            factor = entries(draw, ANY, shape)
            return factor @ factor.mT / shape[-1]
        case PositiveDefinite():
            factor = entries(draw, ANY, shape)
            lift = draw(POSITIVES.single)
            return factor @ factor.mT / shape[-1] + lift * torch.eye(shape[-1], dtype=torch.float64)
    if domain.kind is Kind.OPEN:
        return domain.value(entries(draw, ANY, shape))
    # Manifolds: the nearest point of any array is inside, that of zeros included.
    return domain.nearest(entries(draw, ANY, shape))


def _between(draw: st.DrawFn, domain: Interval, shape: tuple[int, ...]) -> Tensor:
    like = torch.zeros((), dtype=torch.float64)
    lo, hi = (bound.detach().expand(shape) for bound in domain.bounds(like))
    low, high = torch.isfinite(lo), torch.isfinite(hi)
    if bool((low & high).all()):
        return (lo + (hi - lo) * entries(draw, FRACTIONS, shape)).clamp(lo, hi)
    numbers = entries(draw, ANY, shape)
    shifted = torch.where(low, lo + numbers.abs(), torch.where(high, hi - numbers.abs(), numbers))
    return shifted.clamp(lo, hi)


def _simplex(draw: st.DrawFn, domain: Simplex, shape: tuple[int, ...]) -> Tensor:
    weights = entries(draw, WEIGHTS, shape)
    allowed = torch.ones(shape, dtype=torch.bool) if domain.where is None else domain.where.expand(shape)
    weights = torch.where(allowed, weights, 0.0)
    # Without any weight the first allowed entry takes all of it: a corner, which is also the simplest value.
    first = torch.nn.functional.one_hot(allowed.long().argmax(-1), shape[-1]).double()
    weights = torch.where(weights.sum(-1, keepdim=True) > 0, weights, first)
    return weights / weights.sum(-1, keepdim=True)


def whole(draw: st.DrawFn, low: int, high: int, shape: tuple[int, ...]) -> Array:
    """int64 [*shape] of numbers from low to high, both included."""
    count = math.prod(shape)
    if count <= MOST_SINGLE:
        return np.array([draw(st.integers(low, high)) for _ in range(count)], dtype=np.int64).reshape(shape)
    seed = draw(st.integers(0, 2**16))
    return np.random.default_rng(seed).integers(low, high + 1, shape)


def truths(draw: st.DrawFn, shape: tuple[int, ...]) -> Array:
    """bool [*shape]; the simplest value is true, which leaves a mask open."""
    count = math.prod(shape)
    if count <= MOST_SINGLE:
        single = [draw(st.sampled_from([True, False])) for _ in range(count)]
        return np.array(single, dtype=np.bool_).reshape(shape)
    seed = draw(st.integers(0, 2**16))
    found: Array = np.random.default_rng(seed).random(shape) < 0.75
    return found
