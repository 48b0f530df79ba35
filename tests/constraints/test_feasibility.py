"""Rows that have no feasible point, and constraints on what is given."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

import ebmlang
from tests.constraints.programs import NEAREST, each_method
from tests.numeric.gallery import relative

Array = NDArray[np.float64]


@each_method
def test_rows_without_a_feasible_point_are_named_and_leave_the_others_alone(using: str) -> None:
    y = np.array([[0.5, 0.9], [0.5, 0.9], [0.2, 0.1], [0.5, 0.9]])
    top = np.array([1.0, -0.3, 5.0, -2.0])
    r = ebmlang.loads(NEAREST).infer(y=y, top=top, dtype="float64", using=using)
    assert r.converged.tolist() == [True, False, True, False]
    assert r.status[1] == "no feasible point was found: 'limit' is violated by 0.3"
    assert r.status[3] == "no feasible point was found: 'limit' is violated by 2"
    assert relative(r.x[0], [0.3, 0.7]) < 1e-8
    assert relative(r.x[2], [0.2, 0.1]) < 1e-8
    assert float(r.x[1].abs().max()) < 1e-8  # the point that violates it least
    assert r.violations["limit"].tolist() == pytest.approx([0, 0.3, 0, 2], abs=1e-8)
    alone = ebmlang.loads(NEAREST).infer(y=y[:1], top=top[:1], dtype="float64", using=using)
    assert float((alone.x[0] - r.x[0]).abs().max()) < 1e-9


def test_the_constraint_that_is_violated_most_is_named() -> None:
    m = ebmlang.loads(
        """
        model torn {
          observed y : real
          latent   x : real
          energy fit = (x - y)^2
          subject to low : x <= 0
          subject to high : 10 * x >= 30
          infer x
        }
        """
    )
    r = m.infer(y=[0.0, 1.0], dtype="float64")
    assert not bool(r.converged.any())
    for status in r.status:
        # the least sum of squares is at x = 300/101
        assert status == "no feasible point was found: 'low' is violated by 2.97"


def test_a_nonlinear_constraint_without_a_point() -> None:
    m = ebmlang.loads(
        """
        model none(n: int) {
          observed y : real[n]
          latent   x : real[n] = 1
          energy fit = ||x - y||^2
          subject to ball : ||x||^2 <= -1
          infer x
        }
        """
    )
    r = m.infer(y=np.ones((2, 3)), dtype="float64")
    assert r.status[0] == "no feasible point was found: 'ball' is violated by 1"
    assert not bool(r.converged.any())


def test_the_step_limit_says_that_constraints_do_not_hold() -> None:
    m = ebmlang.loads(NEAREST)
    r = m.infer(y=[[0.5, 0.9]], top=[1.0], dtype="float64", using="augmented_lagrangian", steps=1)
    assert r.status[0].startswith("stopped before the constraints held: 'limit' is violated by")
    assert not bool(r.converged[0])


def test_a_constraint_on_given_values_is_a_check_of_the_data() -> None:
    text = NEAREST.replace("infer x", "subject to sane : y <= 2\n  infer x")
    y = np.array([[0.5, 0.9], [0.5, 3.0]])
    r = ebmlang.loads(text).infer(y=y, top=[1.0, 1.0], dtype="float64")
    assert r.converged.tolist() == [True, False]
    assert r.status[1] == "no feasible point was found: 'sane' is violated by 1 at [1]"
    only = NEAREST.replace("subject to limit : sum(x) <= top", "subject to sane : y <= top")
    r = ebmlang.loads(only).infer(y=y, top=[1.0, 1.0], dtype="float64")
    assert r.converged.tolist() == [True, False]
    assert r.status[1] == "no feasible point was found: 'sane' is violated by 2 at [1]"
    assert r.multipliers == {}


def test_an_evaluation_reports_violations() -> None:
    m = ebmlang.loads(NEAREST)
    r = m.infer(y=[[0.5, 0.9]], top=[1.0], x=[[0.9, 0.9]], dtype="float64")
    assert r.violations["limit"].tolist() == pytest.approx([0.8])
    assert r.status == ("given: nothing was sought; 'limit' is violated by 0.8",)
    assert r.converged.tolist() == [False]
