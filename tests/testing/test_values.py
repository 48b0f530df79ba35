"""Drawn values: inside their domains, of sizes that fit, and as small as they can be."""

import numpy as np
import pytest
import torch
from hypothesis import find, given, settings
from hypothesis import strategies as st
from hypothesis.errors import NoSuchExample

import ebmlang
from ebmlang import testing
from ebmlang.compiler.domains import DOMAINS as RULES
from ebmlang.runtime.domain_base import Domain
from ebmlang.runtime.domains import DOMAINS, Interval, Simplex
from ebmlang.runtime.simplexes import SparseSimplex
from ebmlang.testing import draws
from ebmlang.testing.case import literal


@st.composite
def points(draw: st.DrawFn, domain: Domain, shape: tuple[int, ...]) -> torch.Tensor:
    return draws.inside(draw, domain, shape)


NUMBERS = [rule for rule in RULES if rule.built and rule.geometry != "discrete"]
PLAIN = sorted(rule.name for rule in NUMBERS if not rule.arguments)


@pytest.mark.parametrize("name", PLAIN)
@given(data=st.data())
@settings(max_examples=60)
def test_every_domain_is_drawn_from_the_inside(name: str, data: st.DataObject) -> None:
    domain = DOMAINS[name]()
    drawn = data.draw(points(domain, (2, 3, 3)))
    assert drawn.shape == (2, 3, 3)
    assert bool(domain.inside(drawn, 1e-12).all())


@given(data=st.data())
@settings(max_examples=60)
def test_points_with_few_entries_are_drawn(data: st.DataObject) -> None:
    domain = SparseSimplex(torch.tensor(2))
    drawn = data.draw(points(domain, (2, 3, 4)))
    assert bool(domain.inside(drawn, 1e-12).all())
    assert bool(((drawn > 0).sum(-1) <= 2).all())


@given(data=st.data())
def test_intervals_that_differ_by_entry(data: st.DataObject) -> None:
    lo = torch.tensor([0.0, -torch.inf, 2.0, -torch.inf], dtype=torch.float64)
    hi = torch.tensor([1.0, -3.0, torch.inf, torch.inf], dtype=torch.float64)
    drawn = data.draw(points(Interval(lo, hi), (3, 4)))
    assert bool((drawn >= lo).all())
    assert bool((drawn <= hi).all())
    assert bool(torch.isfinite(drawn).all())


@given(data=st.data())
def test_masked_entries_of_a_simplex_are_zero(data: st.DataObject) -> None:
    mask = torch.tensor([[True, False, True], [False, False, True]])
    drawn = data.draw(points(Simplex(mask), (2, 3)))
    assert bool(Simplex(mask).inside(drawn, 1e-12).all())
    assert drawn[1].tolist() == [0.0, 0.0, 1.0]


def test_large_arrays_come_from_a_seed_and_stay_inside() -> None:
    drawn = find(points(DOMAINS["nonnegative"](), (40, 40)), lambda drawn: True)
    assert drawn.shape == (40, 40)
    assert float(drawn.min()) >= 0.0
    assert len(drawn.unique()) > 10


SIZED = """model sized(n: int, T: int, lam: real in positive = 0.5, s: real in [2, 3], flag: bool = true) {
  observed y : real[n, 2*T] in nonnegative
  observed c : class[n] = 0
  latent z : real[T-2, n] in stiefel
  latent w : real[n] in [s, 2*s]
  random e : real[n] ~ uniform(4, 5)
  energy fit = sum(y) + sum(z) + sum(w) + sum(e) + where(c == 0, lam, s)
}"""


@given(case=testing.values(ebmlang.loads(SIZED)))
@settings(max_examples=60)
def test_sizes_and_hyperparameters_fit_the_declarations(case: testing.Case) -> None:
    n, t, s = case.hypers["n"], case.hypers["T"], case.hypers["s"]
    rows = len(case["y"])
    assert t - 2 >= n >= 1
    assert case["y"].shape == (rows, n, 2 * t)
    assert case["z"].shape == (rows, t - 2, n)
    assert case["y"].min() >= 0
    assert case["c"].dtype == np.int64
    assert 0 <= case["c"].min() <= case["c"].max() < n
    assert 2 <= s <= 3
    assert case.hypers["lam"] > 0
    assert s <= case["w"].min() <= case["w"].max() <= 2 * s
    assert 4 < case["e"].min() <= case["e"].max() < 5
    gram = np.einsum("bik,bil->bkl", case["z"], case["z"])
    assert np.allclose(gram, np.eye(n))


def test_what_load_set_is_not_drawn() -> None:
    model = ebmlang.loads(SIZED, n=2, T=5, s=2.5)
    case = find(testing.values(model), lambda case: True)
    assert set(case.hypers) == {"lam", "flag"}
    rows = case["y"].shape[0]
    assert case["y"].shape == (rows, 2, 10)
    assert model.energy(**case).shape == (rows,)


def test_sizes_that_fit_nothing_are_refused_by_name() -> None:
    with pytest.raises(ebmlang.DataError, match="the sizes that were set do not fit"):
        testing.values(ebmlang.loads(SIZED, n=4, T=3))


def test_the_simplest_values_are_zeros_of_size_one() -> None:
    model = ebmlang.loads("model m(n: int, k: int = 50) { latent z : real[n, k]; energy e = sum(z) }")
    case = find(testing.values(model), lambda case: True)
    assert dict(case.hypers) == {"n": 1, "k": 1}
    assert case["z"].tolist() == [[[0.0]]]


def test_blanks_only_where_they_are_declared() -> None:
    text = """model m(n: int) {
      observed x : real[n] missing
      observed y : real[n]
      energy e = ||x - y||^2
    }"""
    model = ebmlang.loads(text)
    case = find(testing.values(model, blanks=True), lambda case: bool(np.isnan(case["x"]).any()))
    assert not np.isnan(case["y"]).any()
    with pytest.raises(NoSuchExample):
        find(testing.values(model), lambda case: bool(np.isnan(case["x"]).any()))


@pytest.mark.parametrize("value", [0.1 + 0.2, -0.0, [[1.5, 2], [3e-300, -7]], True, [False], 3])
def test_literals_are_exact(value: object) -> None:
    array = np.array(value)
    again = np.array(eval(literal(array)))
    assert again.dtype == array.dtype
    assert again.tobytes() == array.tobytes()


def test_literals_that_are_no_numbers() -> None:
    inf, nan = np.inf, np.nan
    again = eval(literal(np.array([inf, -inf, nan])), {"inf": inf, "nan": nan})
    assert np.array_equal(again, [inf, -inf, nan], equal_nan=True)
