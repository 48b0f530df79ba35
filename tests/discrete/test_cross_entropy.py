"""The cross-entropy method over courses of choices, against all courses and single changes."""

from __future__ import annotations

from itertools import product

import numpy as np
import numpy.typing as npt
import pytest

import ebmlang

Numbers = npt.NDArray[np.float64]

THRUSTS = """
model thrusts(T: int) {
  observed s0 : real[2]
  latent   a  : class[3][T]
  let push = onehot(a, 3) @ [-2, 0, 2]
  let s : real[T+1, 2]
  let s[0] = s0
  for t in 0..T {
    let s[t+1] = [s[t, 0] + 0.2 * s[t, 1], s[t, 1] + 0.2 * (5 * sin(s[t, 0]) + push[t])]
    cost away[t] = 1 - cos(s[t+1, 0]) + 0.05 * s[t+1, 1]^2
  }
  plan a
}
"""
STARTS = np.array([[3.0, 0.0], [2.0, -1.0], [0.5, 0.3], [-1.2, 0.8]])


def _cost(first: Numbers, courses: npt.NDArray[np.int64]) -> Numbers:
    """Of courses [C, T]."""
    angle, speed = np.full(len(courses), first[0]), np.full(len(courses), first[1])
    total = np.zeros(len(courses))
    for choice in courses.T:
        angle, speed = angle + 0.2 * speed, speed + 0.2 * (5 * np.sin(angle) + 2.0 * (choice - 1))
        total += 1 - np.cos(angle) + 0.05 * speed**2
    return total


def test_short_courses_are_the_best_of_all() -> None:
    every = np.array(list(product(range(3), repeat=8)))
    r = ebmlang.loads(THRUSTS, T=8).infer(s0=STARTS, using="cross_entropy", dtype="float64", restarts=2)
    assert r.method == "cross_entropy"
    for row, first in enumerate(STARTS):
        assert np.isclose(float(r.energy[row]), _cost(first, every).min(), rtol=1e-9)


def test_no_single_change_of_a_long_course_lowers_its_cost() -> None:
    T = 30
    r = ebmlang.loads(THRUSTS, T=T).infer(s0=STARTS, dtype="float64")
    assert r.method == "cross_entropy"
    assert "too many" in r.because or "gone through" in r.because
    assert bool(r.converged.all())
    for row, first in enumerate(STARTS):
        course = r["a"][row].numpy()
        changed = np.tile(course, (3 * T, 1))
        changed[np.arange(3 * T), np.arange(3 * T) // 3] = np.arange(3 * T) % 3
        own = _cost(first, course[None])[0]
        assert np.isclose(float(r.energy[row]), own, rtol=1e-9)
        assert _cost(first, changed).min() >= own - 1e-9


def test_long_courses_beat_what_changes_one_by_one() -> None:
    model = ebmlang.loads(THRUSTS, T=40)
    found, other = (
        model.infer(s0=STARTS, using=name, dtype="float64").energy.numpy()
        for name in ("cross_entropy", "coordinate_search")
    )
    assert found.mean() < other.mean()


def test_draws_depend_on_the_seed_and_not_on_other_rows() -> None:
    model = ebmlang.loads(THRUSTS, T=25)
    both = model.infer(s0=STARTS[:2], dtype="float64", seed=3)
    alone = model.infer(s0=STARTS[:1], dtype="float64", seed=3)
    assert both["a"][0].tolist() == alone["a"][0].tolist()
    others = [model.infer(s0=STARTS[:1], dtype="float64", seed=k)["a"][0].tolist() for k in range(4, 8)]
    assert any(course != alone["a"][0].tolist() for course in others)


def test_given_choices_stay() -> None:
    T, first = 12, STARTS[:1]
    given = np.full((1, T), 2)
    held = np.zeros((1, T), dtype=bool)
    held[0, ::3] = True
    model = ebmlang.loads(THRUSTS, T=T)
    r = model.infer(s0=first, a=given, observed={"a": held}, using="cross_entropy", dtype="float64")
    course = r["a"][0].numpy()
    assert (course[::3] == 2).all()
    free = np.array(list(product(range(3), repeat=int((~held).sum()))))
    every = np.full((len(free), T), 2)
    every[:, ~held[0]] = free
    assert np.isclose(float(r.energy[0]), _cost(first[0], every).min(), rtol=1e-9)


def test_what_does_not_fit() -> None:
    with pytest.raises(ebmlang.DataError, match="cross_entropy does not fit"):
        ebmlang.loads("model m { latent x : real; energy e = x^2; infer x }").infer(using="cross_entropy")
