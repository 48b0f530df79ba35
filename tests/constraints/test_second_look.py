"""Claims under hard constraints that a search alone would get wrong: saddles, and energies without end."""

from __future__ import annotations

import numpy as np
import pytest

import ebmlang

PAIR = """
model pair {{
  latent x : real[2] = {start}
  energy e = {energy}
  subject to c : {constraint}
  {more}
  infer x
}}
"""


def asked(energy: str, constraint: str, more: str = "", start: str = "0") -> ebmlang.Result:
    text = PAIR.format(energy=energy, constraint=constraint, more=more, start=start)
    return ebmlang.loads(text).infer(dtype="float64")


@pytest.mark.parametrize(
    ("constraint", "more", "lowest"),
    [
        ("x[0]^2 + x[1]^2 <= 1", "", -2.0),
        ("x[0]^2 + x[1]^2 == 1", "", -2.0),
        ("x[0] + x[1] <= 1", "subject to d : x >= 0", -2.0),
        ("x[1]^2 <= 9", "subject to d : x[0]^2 <= 4", -22.0),
    ],
)
def test_a_start_on_a_maximum_is_no_answer(constraint: str, more: str, lowest: float) -> None:
    r = asked("-x[0]^2 - 2 * x[1]^2", constraint, more)
    assert r.converged[0]
    assert float(r.energy[0]) == pytest.approx(lowest, abs=1e-6)


def test_an_energy_that_falls_from_a_saddle_without_end_is_unbounded() -> None:
    r = asked("x[0]^2 - x[1]^2", "x[1] <= 2")
    assert r.status[0] == "unbounded: the energy falls without end in term 'e' along 'x'"


def test_a_start_where_the_violation_has_no_slope_finds_the_feasible_points() -> None:
    r = asked("x[0]^2 + x[1]^2", "x[0]^3 >= 8")
    assert r.converged[0]
    assert np.allclose(r.x[0], [2, 0], atol=1e-6)


def test_what_falls_where_no_point_is_feasible_is_not_unbounded() -> None:
    # x[0] is above 0 wherever both hold, though the energy falls while the second one is violated by 1.
    r = asked("x[0]", "x[1] >= 0", "subject to d : x[0] * x[1] >= 1")
    assert not r.converged[0]
    assert not r.status[0].startswith("unbounded")


def test_a_minimum_far_out_is_not_unbounded() -> None:
    r = asked("-x[0]", "x[0]^2 + x[1]^2 <= 1e16")
    assert not r.status[0].startswith("unbounded")
    assert float(r.x[0, 0]) == pytest.approx(1e8, rel=1e-6)


def test_an_energy_without_end_inside_a_parabola_is_unbounded() -> None:
    assert asked("-x[1]", "x[0]^2 <= x[1]").status[0].startswith("unbounded")


def test_a_fall_along_a_parabola_is_no_minimum() -> None:
    assert not asked("x[0] - x[1]", "x[0]^2 <= x[1]").converged[0]


def test_no_maximum_in_a_corner_is_an_answer() -> None:
    """Where the energy curves down alike in all directions, none that is found need lead inside."""
    r = asked("-x[0]^2 - x[1]^2", "x[0] + x[1] <= 1", "subject to d : x >= 0")
    assert r.converged[0]
    assert float(r.energy[0]) == pytest.approx(-1, abs=1e-6)


def test_a_minimum_in_a_corner_is_one() -> None:
    """A corner of a nonconvex energy where every way inside leads up."""
    r = asked("4 * x[0] * x[1] + x[0]^2 + x[1]^2", "x[0] + x[1] <= 1", "subject to d : x >= 0")
    assert r.converged[0]
    assert float(r.energy[0]) == pytest.approx(0, abs=1e-9)


def test_the_room_within_a_parabola_has_no_end() -> None:
    r = asked("x[0] - x[1]", "x[0]^2 <= x[1]")
    assert r.status[0] == "unbounded: the energy falls without end in term 'e' along 'x'"


def test_the_way_across_a_parabola_ends_at_it() -> None:
    """x0 + x1 with x0^2 <= x1 is least at x0 = -1/2."""
    r = asked("x[0] + x[1]", "x[0]^2 <= x[1]")
    assert r.converged[0]
    assert np.allclose(r.x[0], [-0.5, 0.25], atol=1e-6)
