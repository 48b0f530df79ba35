"""Views of a problem: energies and gradients per row, shared energies, rows, joint problems, faulty terms."""

from __future__ import annotations

import pytest
import torch

from ebmlang.runtime.domains import Positive, Reals
from ebmlang.runtime.problem import Problem, View
from ebmlang.runtime.space import Unknown, space_of
from tests.runtime.fakes import Fake, FakeSplit, Values, generator, least_squares, problem, split_problem

F64 = torch.float64


def regression(rows: int = 5) -> Problem:
    made = generator(0)
    A = torch.randn(6, 4, generator=made, dtype=F64)
    b = torch.randn(rows, 6, generator=made, dtype=F64)
    start = torch.zeros(rows, 4, dtype=F64)
    return problem(least_squares, start, held={"A": A, "b": b}, row_values=("b",))


def test_gradient_is_that_of_every_row() -> None:
    asked = regression()
    x = torch.randn(5, 4, generator=generator(1), dtype=F64)
    energy, gradient = asked.energy_and_gradient(x)
    A, b = asked.held["A"], asked.held["b"]
    assert torch.allclose(energy, 0.5 * ((x @ A.T - b) ** 2).sum(1))
    assert torch.allclose(gradient, (x @ A.T - b) @ A)
    assert torch.allclose(asked.energy(x), energy)
    assert not gradient.requires_grad


def test_gradient_with_several_unknowns_and_a_transform() -> None:
    def term(u: Values, h: Values) -> torch.Tensor:
        return (u["s"] * (u["a"] ** 2).sum((1, 2))) + u["b"]

    unknowns = (
        Unknown("a", (2, 2), Reals()),
        Unknown("unused", (3,), Reals()),
        Unknown("s", (), Positive()),
        Unknown("b", (), Reals()),
    )
    asked = Problem(Fake({"t": term}), {}, frozenset(), space_of(unknowns, 3, F64))
    x = torch.randn(3, 9, generator=generator(0), dtype=F64)
    _, gradient = asked.energy_and_gradient(x)
    step = 1e-6
    for k in range(9):
        shift = torch.zeros(3, 9, dtype=F64)
        shift[:, k] = step
        difference = (asked.energy(x + shift) - asked.energy(x - shift)) / (2 * step)
        assert torch.allclose(gradient[:, k], difference, atol=1e-7)


@pytest.mark.parametrize("shape", [(), (1,)])
def test_an_energy_that_is_the_same_for_all_rows(shape: tuple[int, ...]) -> None:
    asked = problem(lambda u, h: h["c"].reshape(shape), torch.zeros(3, 2), held={"c": torch.tensor(2.0)})
    energy, gradient = asked.energy_and_gradient(torch.ones(3, 2))
    assert energy.tolist() == [2.0] * 3
    assert gradient.tolist() == [[0.0, 0.0]] * 3


def test_an_energy_of_a_wrong_shape_is_our_mistake() -> None:
    with pytest.raises(RuntimeError, match=r"shape \[3, 2\] for 3 rows"):
        problem(lambda u, h: u["x"], torch.zeros(3, 2)).energy(torch.ones(3, 2))


def test_selected_rows_see_their_own_values() -> None:
    asked = regression()
    rows = torch.tensor([4, 0, 0])
    x = torch.randn(5, 4, generator=generator(2), dtype=F64)
    assert torch.allclose(asked.select(rows).energy(x[rows]), asked.energy(x)[rows])


def test_row_values_with_one_row_are_shared() -> None:
    asked = regression()
    held = {**asked.held, "b": asked.held["b"][:1]}
    shared = Problem(asked.functions, held, asked.row_values, asked.space)
    rows = torch.tensor([3, 1])
    x = torch.randn(5, 4, generator=generator(2), dtype=F64)
    assert torch.allclose(shared.select(rows).energy(x[rows]), shared.energy(x)[rows])


def test_held_values_get_no_gradient() -> None:
    asked = regression()
    A = asked.held["A"].clone().requires_grad_(True)
    traced = Problem(asked.functions, {**asked.held, "A": A}, asked.row_values, asked.space).detached()
    energy, gradient = traced.energy_and_gradient(torch.ones(5, 4, dtype=F64))
    assert not energy.requires_grad
    assert not gradient.requires_grad
    assert A.grad is None


def test_smooth_and_absolute_parts() -> None:
    made = generator(0)
    held = {
        "A": torch.randn(6, 4, generator=made, dtype=F64),
        "b": torch.randn(5, 6, generator=made, dtype=F64),
    }
    weight = torch.tensor([0.5, 0.0, 1.0, 2.0], dtype=F64)
    asked = split_problem(least_squares, weight, torch.zeros(5, 4, dtype=F64), held=held, row_values=("b",))
    x = torch.randn(5, 4, generator=made, dtype=F64)
    assert asked.views == {View.GRADIENT, View.HESSIAN, View.SMOOTH_PLUS_ABSOLUTE}
    assert asked.absolute().tolist() == [weight.tolist()]
    assert torch.allclose(asked.smooth(x) + (asked.absolute() * x.abs()).sum(1), asked.energy(x))
    energy, gradient = asked.smooth_and_gradient(x)
    assert torch.allclose(gradient, (x @ held["A"].T - held["b"]) @ held["A"])
    assert torch.allclose(energy, asked.smooth(x))


def test_weights_may_differ_by_row_and_be_left_out() -> None:
    unknowns = (Unknown("a", (2,), Reals()), Unknown("x", (2, 2), Reals()))
    functions = FakeSplit(least_squares, torch.arange(3.0)[:, None, None])
    asked = Problem(functions, {}, frozenset(), space_of(unknowns, 3, F64), functions)
    assert asked.absolute().tolist() == [[0.0, 0.0, *[float(k)] * 4] for k in range(3)]
    scalar = FakeSplit(least_squares, torch.tensor(0.5))
    asked = Problem(scalar, {}, frozenset(), space_of(unknowns, 3, F64), scalar)
    assert asked.absolute().tolist() == [[0.0, 0.0, 0.5, 0.5, 0.5, 0.5]]


def test_a_problem_that_is_not_split_says_so() -> None:
    with pytest.raises(ValueError, match="not given as a smooth energy"):
        regression().absolute()


def test_a_joint_problem_is_the_sum_over_its_rows() -> None:
    asked = regression()
    joint = Problem(
        asked.functions,
        asked.held,
        asked.row_values,
        space_of((Unknown("x", (4,), Reals()),), 5, F64, joint=True),
    )
    x = torch.randn(5, 4, generator=generator(3), dtype=F64)
    energy, gradient = joint.energy_and_gradient(x.reshape(1, 20))
    assert torch.allclose(energy, asked.energy(x).sum().reshape(1))
    assert torch.allclose(gradient.reshape(5, 4), asked.energy_and_gradient(x)[1])
    twice = joint.select(torch.zeros(2, dtype=torch.int64)).energy_and_gradient(x.reshape(1, 20).repeat(2, 1))
    assert torch.allclose(twice[0], energy.repeat(2))
    assert torch.allclose(twice[1], gradient.repeat(2, 1))


def test_faulty_terms_are_named_per_row() -> None:
    terms = {
        "good": lambda u, h: u["x"].sum(1),
        "log": lambda u, h: torch.log(u["x"][:, 0]),
        "root": lambda u, h: torch.sqrt(u["x"][:, 1]),
    }
    asked = problem(terms, torch.zeros(4, 2))
    x = torch.tensor([[1.0, 1.0], [-1.0, 1.0], [-1.0, -1.0], [1.0, 0.0]])
    assert asked.faulty_terms(x, gradient=False) == [None, "log", "log", None]
    assert asked.faulty_terms(x, gradient=True)[3] == "root"
    joint = Problem(
        asked.functions,
        {},
        frozenset(),
        space_of((Unknown("x", (2,), Reals()),), 4, torch.float32, joint=True),
    )
    assert joint.faulty_terms(x.reshape(1, 8), gradient=False) == ["log"]
    assert joint.faulty_terms(torch.ones(1, 8), gradient=False) == [None]
