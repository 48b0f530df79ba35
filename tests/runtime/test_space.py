"""The sought block as flat vectors: layout, given entries, starts, joint spaces, rows."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ebmlang.runtime.domains import (
    SE2,
    SO3,
    DomainError,
    Interval,
    Nonnegative,
    Positive,
    PositiveDefinite,
    Reals,
    Simplex,
    Sphere,
)
from ebmlang.runtime.space import Space, Unknown, space_of
from tests.runtime.fakes import generator

F64 = torch.float64
ROWS = np.arange(3, dtype=np.int64)


def mixed() -> Space:
    free = torch.tensor([[True, False], [True, True], [False, False]])
    fixed = torch.tensor([[0.0, 7.0], [0.0, 0.0], [5.0, 6.0]])
    unknowns = (
        Unknown("a", (2,), Reals(), free=free, fixed=fixed),
        Unknown("b", (3, 2), Interval(-1.0, torch.arange(3.0)[:, None, None])),
        Unknown("c", (), Positive()),
        Unknown("d", (2, 4), Simplex()),
    )
    return space_of(unknowns, 3, F64)


def random_like(space: Space, seed: int = 0) -> torch.Tensor:
    return 2 * torch.randn(space.rows, space.size, generator=generator(seed), dtype=F64)


def test_pack_and_values_are_inverse() -> None:
    space = mixed()
    x = space.project(random_like(space))
    values = space.values(x)
    assert {name: tuple(value.shape) for name, value in values.items()} == {
        "a": (3, 2),
        "b": (3, 3, 2),
        "c": (3,),
        "d": (3, 2, 4),
    }
    assert torch.allclose(space.pack(values), x, atol=1e-12)


def test_one_unknown_is_a_view() -> None:
    space = space_of((Unknown("x", (2, 3), Reals()),), 4, F64)
    x = torch.zeros(4, 6, dtype=F64)
    assert space.values(x)["x"].data_ptr() == x.data_ptr()


def test_given_entries_never_move() -> None:
    space = mixed()
    given = torch.tensor([[False, True], [False, False], [True, True]])
    wanted = torch.tensor([[0.0, 7.0], [0.0, 0.0], [5.0, 6.0]], dtype=F64)
    x = space.project(random_like(space))
    step = random_like(space, 1)
    for moved in (x, space.retract(x, step), space.start(0, ROWS).x, space.draw(x, 0, ROWS, 1)):
        assert torch.equal(space.values(moved)["a"][given], wanted[given])
    gradient = torch.ones(3, space.size, dtype=F64)
    gradient[:, :2] = torch.nan
    for vector in (space.sought(gradient), space.tangent(x, gradient), space.residual(x, gradient)):
        assert (vector[:, :2][given] == 0).all()


def test_given_entries_of_an_open_domain_keep_their_value_exactly() -> None:
    free = torch.tensor([True, False])
    fixed = torch.tensor([0.0, 0.1])
    space = space_of((Unknown("x", (2,), Positive(), free=free[None], fixed=fixed[None]),), 2, torch.float32)
    start = space.start(0, ROWS[:2])
    moved = space.retract(start.x, torch.randn(2, 2, generator=generator(0)))
    assert (space.values(moved)["x"][:, 1] == fixed[1]).all()
    leaf = moved.clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad(space.values(leaf)["x"].sum(), leaf)
    assert (gradient[:, 1] == 0).all()


def test_part_of_a_rotation_cannot_be_given() -> None:
    free = torch.ones(1, 3, 3, dtype=torch.bool)
    free[0, 0, 0] = False
    with pytest.raises(DomainError, match="`R`: part of a value in SO3 is given"):
        space_of((Unknown("R", (3, 3), SO3(), free=free, fixed=torch.zeros(1, 3, 3)),), 2, F64)
    parts = torch.tensor([[True, False, True]])
    space_of((Unknown("p", (3,), SE2(), free=parts, fixed=torch.zeros(1, 3)),), 2, F64)


def test_errors_name_the_variable() -> None:
    with pytest.raises(DomainError, match=r"^`w`: the interval \[2, 1\]"):
        space_of((Unknown("w", (2,), Interval(2.0, 1.0)),), 1, F64)
    with pytest.raises(DomainError, match=r"^`w`: a mask"):
        space_of((Unknown("w", (), Reals(), free=torch.ones(1, dtype=torch.bool)),), 1, F64)
    with pytest.raises(DomainError, match=r"^`w`: one value"):
        space_of((Unknown("w", (), Reals(), per_batch=True),), 1, F64)


def test_declared_starts_are_projected_and_open_ones_reported() -> None:
    unknowns = (
        Unknown("a", (2,), Nonnegative(), start=torch.tensor([[-1.0, 2.0]])),
        Unknown("b", (), Positive(), start=torch.tensor([1.5, 0.0, -2.0])),
        Unknown("M", (2, 2), PositiveDefinite(), start=torch.tensor([[[2.0, 1.0], [1.0, 1.0]]])),
    )
    space = space_of(unknowns, 3, F64)
    start = space.start(0, ROWS)
    values = space.values(start.x)
    assert values["a"].tolist() == [[0.0, 2.0]] * 3
    assert torch.allclose(values["b"], torch.tensor([1.5, 1.0, 1.0], dtype=F64))
    assert torch.allclose(values["M"][0], torch.tensor([[2.0, 1.0], [1.0, 1.0]], dtype=F64))
    assert start.outside.tolist() == [False, True, True]


def test_absent_starts_follow_the_domain() -> None:
    unknowns = (
        Unknown("r", (2,), Reals()),
        Unknown("i", (2,), Interval(0.5, 2.0)),
        Unknown("p", (2,), Positive()),
        Unknown("s", (4,), Simplex()),
    )
    space = space_of(unknowns, 3, F64)
    values = space.values(space.start(0, ROWS).x)
    for name, value in {"r": 0.0, "i": 0.5, "p": 1.0, "s": 0.25}.items():
        assert torch.allclose(values[name], torch.tensor(value, dtype=F64))


def test_drawn_starts_depend_on_the_global_row_only() -> None:
    unknowns = (Unknown("q", (4,), Sphere()), Unknown("r", (2,), Reals()))
    whole = space_of(unknowns, 3, F64)
    part = space_of(unknowns, 2, F64)
    assert torch.equal(whole.start(5, ROWS).x[1:], part.start(5, ROWS[1:]).x)
    base = whole.start(5, ROWS).x
    drawn = whole.draw(base, 5, ROWS, 2)
    assert torch.equal(drawn[1:], part.draw(base[1:], 5, ROWS[1:], 2))
    assert not torch.equal(drawn, whole.draw(base, 5, ROWS, 1))
    assert not torch.equal(drawn, whole.draw(base, 6, ROWS, 2))


def test_selected_rows_keep_their_own_bounds_and_given_entries() -> None:
    space = mixed()
    rows = torch.tensor([2, 0, 0])
    x = random_like(space)
    assert torch.equal(space.select(rows).project(x[rows]), space.project(x)[rows])
    gradient = random_like(space, 3)
    at = space.project(x)
    chosen = space.select(rows).optimality(at[rows], gradient[rows])
    assert torch.allclose(chosen, space.optimality(at, gradient)[rows])


def test_optimality_of_bounds_loses_nothing_beside_large_values() -> None:
    space = space_of((Unknown("x", (2,), Nonnegative()),), 1, torch.float32)
    x = torch.tensor([[1e8, 0.0]])
    gradient = torch.tensor([[1e-3, 5.0]])
    assert torch.equal(space.optimality(x, gradient), torch.tensor([1e-3]))


def test_bounds_pin_given_entries() -> None:
    free = torch.tensor([[True, False]])
    unknowns = (
        Unknown("a", (2,), Nonnegative(), free=free, fixed=torch.tensor([[0.0, 3.0]])),
        Unknown("b", (1,), Interval(torch.tensor([[0.0], [1.0]]), 4.0)),
        Unknown("c", (1,), Reals()),
    )
    lo, hi = space_of(unknowns, 2, F64).bounds()
    inf = torch.inf
    assert lo.tolist() == [[0.0, 3.0, 0.0, -inf], [0.0, 3.0, 1.0, -inf]]
    assert hi.tolist() == [[inf, 3.0, 4.0, inf]]
    with pytest.raises(ValueError, match="bounds"):
        space_of((Unknown("s", (2,), Sphere()),), 1, F64).bounds()


def test_a_joint_space_is_one_row() -> None:
    unknowns = (
        Unknown("a", (2,), Interval(torch.zeros(3, 2), torch.tensor([[1.0, 2.0]]))),
        Unknown("m", (2,), Reals(), start=torch.tensor([[4.0, 5.0]]), per_batch=True),
    )
    space = space_of(unknowns, 3, F64, joint=True)
    assert (space.rows, space.size) == (1, 8)
    x = space.project(torch.full((1, 8), 9.0, dtype=F64))
    values = space.values(x)
    assert values["a"].tolist() == [[[1.0, 2.0]] * 3]
    assert values["m"].shape == (1, 1, 2)
    assert space.values(space.start(0, ROWS).x)["m"].tolist() == [[[4.0, 5.0]]]
    many = space.select(torch.zeros(4, dtype=torch.int64))
    assert many.rows == 4
    assert many.project(torch.full((4, 8), 9.0, dtype=F64)).shape == (4, 8)


def test_given_entries_of_a_joint_space_stay() -> None:
    free = torch.tensor([[True], [False]])
    unknown = Unknown("a", (1,), Reals(), free=free, fixed=torch.tensor([[0.0], [8.0]]))
    space = space_of((unknown,), 2, F64, joint=True)
    assert space.project(torch.ones(1, 2, dtype=F64)).tolist() == [[1.0, 8.0]]


def test_inside_reads_values_and_skips_given_entries() -> None:
    free = torch.tensor([[True, False]])
    unknown = Unknown("a", (2,), Nonnegative(), free=free, fixed=torch.tensor([[0.0, -1.0]]))
    space = space_of((unknown,), 2, F64)
    assert space.inside(torch.tensor([[1.0, -1.0], [-1.0, -1.0]], dtype=F64)).tolist() == [True, False]


def test_a_space_of_nothing() -> None:
    space = space_of((), 2, F64)
    assert space.size == 0
    assert space.start(0, ROWS[:2]).x.shape == (2, 0)
    assert space.values(torch.zeros(2, 0, dtype=F64)) == {}
