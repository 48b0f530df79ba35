"""Starts side by side: courses of actions, and searches that are left behind."""

from __future__ import annotations

import numpy as np
import torch

import ebmlang
import ebmlang.planning
from ebmlang.inference import given_arrays
from ebmlang.runtime.courses import COURSES, best_courses, drawn
from ebmlang.runtime.posing import make_problem
from ebmlang.runtime.problem import Problem
from ebmlang.runtime.racing import FIRST, Race

SWING = """model swing(T: int = 20) {
  observed s0 : real[2]
  latent a : real[T, 2] in [-2, 1] = 0
  let s : real[T+1, 2]
  let s[0] = s0
  for t in 0..T {
    let s[t+1] = [s[t, 0] + 0.1 * s[t, 1], s[t, 1] + 0.1 * (5 * sin(s[t, 0]) + a[t, 0])]
    cost c[t] = 1 - cos(s[t+1, 0]) + 0.01 * s[t, 1]^2 + a[t, 1]^2
  }
  plan a
}"""


def swing() -> Problem:
    model = ebmlang.loads(SWING)
    given = {"s0": torch.tensor([[3.0, 0.0], [2.0, -1.0], [3.1, 0.1]], dtype=torch.float64)}
    asked = model.asked(None, frozenset(given), None, None, frozenset())
    module = model.compiled(asked, None)[1]
    rows = given_arrays(model.ranks, given).chunk(0, 3)
    bound = model.bound(module, rows, model.settings({}, "float64", None, 0, None), frozenset())
    return make_problem(bound, {})


def test_courses_keep_their_level_and_their_bounds() -> None:
    problem = swing()
    x = torch.zeros(3, 40, dtype=torch.float64)
    rows = np.arange(3, dtype=np.int64)
    pool = drawn(problem.space, x, 7, rows).reshape(COURSES, 3, 20, 2)
    assert (pool >= -2).all()
    assert (pool <= 1).all()
    changes = (pool.diff(dim=2) != 0).any(-1).sum(-1)
    assert changes.max() == 3
    assert (changes == 0).any()
    extreme = ((pool == -2) | (pool == 1)).flatten(2).all(-1)
    assert 0.4 < extreme.double().mean() < 0.6
    assert torch.equal(pool, drawn(problem.space, x, 7, rows).reshape(pool.shape))
    assert not torch.equal(pool, drawn(problem.space, x, 8, rows).reshape(pool.shape))
    alone = problem.select(torch.tensor([2]))
    assert torch.equal(drawn(alone.space, x[:1], 7, rows[2:])[:, 0], pool[:, 2].flatten(1))


def test_the_best_courses_that_differ_are_taken() -> None:
    problem = swing()
    x = torch.zeros(3, 40, dtype=torch.float64)
    rows = np.arange(3, dtype=np.int64)
    pool = drawn(problem.space, x, 0, rows)
    several = problem.select(torch.arange(3).repeat(COURSES))
    energies = several.energy(pool.reshape(-1, 40)).reshape(COURSES, 3)
    found = best_courses(problem.trajectories(), x, 0, rows, 4).reshape(4, 3, 40)
    assert torch.equal(found[0], x)
    for row in range(3):
        best = int(energies[:, row].argmin())
        assert torch.equal(found[1, row], pool[best, row])
        apart = torch.cdist(found[1:, row], found[1:, row])[~torch.eye(3, dtype=torch.bool)]
        assert apart.min() > 0.5


def test_a_start_that_has_no_chance_is_left_behind() -> None:
    """Of two rows with three starts: one leads, one still falls fast enough to catch up, one does not."""
    energy = torch.tensor([1.0, 10.0, 9.0, 50.0, 5.0, 50.0])
    fall = torch.tensor([0.0, 0.0, 6.0, 0.0, 2.0, 0.0]) / FIRST
    race, index = Race(2, energy), torch.arange(6)
    for step in range(1, FIRST + 1):
        now = energy - step * fall
        behind = race.losers(index, now)
        assert behind.any() == (step == FIRST)
    # Row 0: starts 0, 2, 4 at 1, 3 and 3; row 1: starts 1, 3, 5 at 10, 50 and 50.
    assert behind.tolist() == [False, False, False, True, True, True]


def test_plans_have_several_starts_unless_told() -> None:
    """From hanging the declared start is a ridge, or leads into the worse of two minima."""
    model = ebmlang.loads(SWING)
    many = model.plan(s0=[3.1, 0.1], dtype="float64")
    one = model.plan(s0=[3.1, 0.1], dtype="float64", restarts=1)
    same = model.infer(s0=[3.1, 0.1], dtype="float64", restarts=1)
    assert not isinstance(many, ebmlang.planning.Episodes)
    assert not isinstance(one, ebmlang.planning.Episodes)
    assert torch.equal(one["a"], same["a"])
    assert many.energy <= one.energy + 1e-9
    written = ebmlang.loads(SWING.replace("plan a", "plan a using ilqr(restarts = 1)"))
    told = written.plan(s0=[3.1, 0.1], dtype="float64")
    assert not isinstance(told, ebmlang.planning.Episodes)
    assert torch.equal(told["a"], one["a"])
