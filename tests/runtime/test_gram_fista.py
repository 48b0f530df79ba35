"""Proximal gradient with a known matrix: against scikit-learn, also where problems are degenerate."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.decomposition import sparse_encode
from torch import Tensor

from ebmlang.runtime.domains import Domain, Interval, Nonnegative, Reals
from ebmlang.runtime.driver import Limits, solve, solve_from
from ebmlang.runtime.problem import Problem
from ebmlang.runtime.result import Status
from ebmlang.runtime.solvers.fista import Fista
from ebmlang.runtime.solvers.gram import gram_of
from ebmlang.runtime.solvers.gram_fista import Edges
from ebmlang.runtime.solvers.support import support_step
from ebmlang.runtime.space import Unknown, space_of
from tests.runtime.fakes import FakeSplit, Values, generator, least_squares, split_problem

F64, F32 = torch.float64, torch.float32
Matrix = NDArray[np.float64]


def coding(
    A: Matrix, b: Matrix, weight: float | Matrix, dtype: torch.dtype = F64, domain: Domain | None = None
) -> Problem:
    """1/2 |A x - b|^2 + sum_i weight_i |x_i| for every row of b."""
    held = {"A": torch.tensor(A, dtype=dtype), "b": torch.tensor(b, dtype=dtype)}
    start = torch.zeros(len(b), A.shape[1], dtype=dtype)
    weights = torch.tensor(weight, dtype=dtype)
    return split_problem(least_squares, weights, start, domain, held, row_values=("b",))


def total(x: Tensor, A: Matrix, b: Matrix, weight: float | Matrix) -> Matrix:
    z = x.double().numpy()
    return np.asarray(0.5 * ((b - z @ A.T) ** 2).sum(1) + (weight * np.abs(z)).sum(1))


def optimality(x: Tensor, A: Matrix, b: Matrix, weight: float | Matrix) -> Matrix:
    """The least subgradient, written anew."""
    z = x.double().numpy()
    slope = (z @ A.T - b) @ A
    weights = np.broadcast_to(weight, z.shape)
    at_zero = np.sign(slope) * np.maximum(np.abs(slope) - weights, 0)
    return np.asarray(np.linalg.norm(np.where(z == 0, at_zero, slope + weights * np.sign(z)), axis=1))


def plain(rng: np.random.Generator) -> tuple[Matrix, Matrix]:
    return rng.normal(size=(20, 30)), rng.normal(size=(9, 20))


def duplicates(rng: np.random.Generator) -> tuple[Matrix, Matrix]:
    A = rng.normal(size=(20, 12))
    return np.concatenate([A, A, -A[:, :3]], 1), rng.normal(size=(9, 20))


def zero_columns(rng: np.random.Generator) -> tuple[Matrix, Matrix]:
    A, b = plain(rng)
    A[:, ::4] = 0
    return A, b


def huge(rng: np.random.Generator) -> tuple[Matrix, Matrix]:
    A, b = plain(rng)
    return 1e4 * A, 1e3 * b


def tiny(rng: np.random.Generator) -> tuple[Matrix, Matrix]:
    A, b = plain(rng)
    return 1e-3 * A, 1e-4 * b


def uneven(rng: np.random.Generator) -> tuple[Matrix, Matrix]:
    A, b = plain(rng)
    return A * np.logspace(-2, 1, 30), b


def more_unknowns(rng: np.random.Generator) -> tuple[Matrix, Matrix]:
    return rng.normal(size=(4, 50)), rng.normal(size=(9, 4))


def one_unknown(rng: np.random.Generator) -> tuple[Matrix, Matrix]:
    return rng.normal(size=(5, 1)), rng.normal(size=(9, 5))


def one_row(rng: np.random.Generator) -> tuple[Matrix, Matrix]:
    A, b = plain(rng)
    return A, b[:1]


def nothing(rng: np.random.Generator) -> tuple[Matrix, Matrix]:
    return np.zeros((20, 5)), rng.normal(size=(9, 20))


Case = Callable[[np.random.Generator], tuple[Matrix, Matrix]]
CASES: tuple[Case, ...] = (
    plain, duplicates, zero_columns, huge, tiny, uneven, more_unknowns, one_unknown, one_row, nothing,
)  # fmt: skip


@pytest.mark.parametrize(("dtype", "excess"), [(F64, 1e-10), (F32, 1e-6)])
@pytest.mark.parametrize("share", [0.5, 0.1, 0.01])
@pytest.mark.parametrize("case", CASES)
def test_lasso_against_scikit_learn(case: Case, share: float, dtype: torch.dtype, excess: float) -> None:
    A, b = case(np.random.default_rng(3))
    # A share of the weight at which the answer of the first row is zero.
    weight = share * float(np.abs(A.T @ b[0]).max()) or share
    # Tolerances have an absolute part in the units of a gradient, which tiny energies need smaller; float32
    # may say then that it gets no further, and has to be as good nevertheless.
    tol = {F64: 1e-9, F32: 1e-6}[dtype] * (1e-7 if case is tiny else 1.0)
    outcome = solve(coding(A, b, weight, dtype), Fista(quadratic=True), Limits(tol=tol))
    assert set(outcome.status) <= {Status.CONVERGED, Status.PRECISION}
    assert outcome.converged.all() or dtype == F32
    size = max(np.abs(A.T @ A).max(), 1e-300)
    # Scaled, because tolerances of the reference are absolute. It solves x / sqrt(size) for A / sqrt(size).
    scale = np.sqrt(size)
    codes = sparse_encode(b / scale, A.T / scale, algorithm="lasso_cd", alpha=weight / size, max_iter=200_000)
    ours = total(outcome.x, A, b, weight)
    theirs = total(torch.tensor(codes), A, b, weight)
    assert (ours <= theirs * (1 + excess) + 1e-300).all()
    if dtype == F64:
        first = np.linalg.norm(b @ A, axis=1)
        assert (optimality(outcome.x, A, b, weight) <= 1.1e-9 * (1 + first)).all()


@pytest.mark.parametrize("dtype", [F64, F32])
def test_a_weight_of_zero_is_least_squares(dtype: torch.dtype) -> None:
    rng = np.random.default_rng(0)
    A, b = rng.normal(size=(30, 8)), rng.normal(size=(4, 30))
    outcome = solve(coding(A, b, 0.0, dtype), Fista(quadratic=True))
    assert outcome.converged.all()
    best = np.linalg.lstsq(A, b.T, rcond=None)[0].T
    assert np.allclose(outcome.x.double().numpy(), best, atol=1e-9 if dtype == F64 else 1e-5)


def test_a_singular_matrix_without_weights() -> None:
    A, b = duplicates(np.random.default_rng(0))
    outcome = solve(coding(A, b, 0.0), Fista(quadratic=True))
    assert outcome.converged.all()
    best = np.linalg.lstsq(A, b.T, rcond=None)[0].T
    assert np.allclose(total(outcome.x, A, b, 0.0), total(torch.tensor(best), A, b, 0.0), rtol=1e-12)


def test_a_weight_so_large_that_all_is_zero() -> None:
    A, b = plain(np.random.default_rng(0))
    question = coding(A, b, 1.001 * float(np.abs(b @ A).max()))
    outcome = solve_from(question, Fista(quadratic=True), torch.ones(9, 30, dtype=F64))
    assert outcome.converged.all()
    assert (outcome.x == 0).all()
    assert (solve(question, Fista(quadratic=True)).iterations == 0).all()


@pytest.mark.parametrize("dtype", [F64, F32])
def test_weights_per_entry_some_of_them_zero(dtype: torch.dtype) -> None:
    A, b = plain(np.random.default_rng(1))
    A = A[:, :15]
    weights = np.random.default_rng(2).uniform(0, 3, 15)
    weights[::3] = 0
    outcome = solve(coding(A, b, weights, dtype), Fista(quadratic=True))
    assert outcome.converged.all()
    assert (optimality(outcome.x, A, b, weights) <= (1e-7 if dtype == F64 else 1e-3)).all()
    assert (outcome.x[:, weights > 0] == 0).any()


@pytest.mark.parametrize("domain", [Nonnegative(), Interval(-0.1, 0.2), Interval(0.05, 0.2)])
@pytest.mark.parametrize("dtype", [F64, F32])
def test_bounds_together_with_weights(domain: Domain, dtype: torch.dtype) -> None:
    A, b = plain(np.random.default_rng(1))
    question = coding(A, b, 0.5, dtype, domain)
    outcome = solve(question, Fista(quadratic=True))
    slow = solve(coding(A, b, 0.5, F64, domain), Fista(quadratic=True, gram=False), Limits(tol=1e-11))
    assert outcome.converged.all()
    assert question.space.inside(outcome.x).all()
    ours, theirs = total(outcome.x, A, b, 0.5), total(slow.x, A, b, 0.5)
    assert np.allclose(ours, theirs, rtol=1e-12 if dtype == F64 else 1e-6)
    if dtype == F64 and isinstance(domain, Nonnegative):
        codes = sparse_encode(b, A.T, algorithm="lasso_cd", alpha=0.5, max_iter=200_000, positive=True)
        assert (ours <= total(torch.tensor(codes), A, b, 0.5) * (1 + 1e-10)).all()


@pytest.mark.parametrize("dtype", [F64, F32])
def test_rows_with_a_matrix_of_their_own(dtype: torch.dtype) -> None:
    made = generator(0)
    held = {
        "A": torch.randn(6, 20, 12, generator=made, dtype=F64).to(dtype),
        "b": torch.randn(6, 20, generator=made, dtype=F64).to(dtype),
    }

    def term(u: Values, h: Values) -> Tensor:
        rest = (h["A"] @ u["x"][:, :, None])[:, :, 0] - h["b"]
        return 0.5 * (rest * rest).sum(1)

    start = torch.zeros(6, 12, dtype=dtype)
    question = split_problem(term, torch.tensor(1.0, dtype=dtype), start, held=held, row_values=("A", "b"))
    gram = gram_of(question, start)
    assert gram is not None
    assert gram.own is not None
    assert torch.allclose(gram.own, held["A"].mT @ held["A"], atol=1e-4)
    outcome = solve(question, Fista(quadratic=True))
    assert outcome.converged.all()
    for row in range(6):
        A, b = held["A"][row].double().numpy(), held["b"][row : row + 1].double().numpy()
        codes = sparse_encode(b, A.T, algorithm="lasso_cd", alpha=1.0, max_iter=200_000)
        excess = 1e-10 if dtype == F64 else 1e-6
        assert total(outcome.x[row : row + 1], A, b, 1.0) <= total(torch.tensor(codes), A, b, 1.0) * (
            1 + excess
        )


def test_several_unknowns_and_given_entries() -> None:
    rng = np.random.default_rng(0)
    A, b = rng.normal(size=(40, 6)), rng.normal(size=(5, 40)) + 3.0
    free = torch.tensor(rng.random((5, 6)) < 0.6)
    fixed = torch.tensor(rng.normal(size=(5, 6)))

    def term(u: Values, h: Values) -> Tensor:
        rest = u["x"] @ h["A"].T + u["c"][:, None] - h["b"]
        return 0.5 * (rest * rest).sum(1)

    unknowns = (
        Unknown("x", (6,), Reals(), free=free, fixed=fixed),
        Unknown("c", (), Reals()),
    )
    functions = FakeSplit(term, torch.tensor(2.0, dtype=F64))
    held = {"A": torch.tensor(A), "b": torch.tensor(b)}
    question = Problem(functions, held, frozenset({"b"}), space_of(unknowns, 5, F64), functions)
    gram = gram_of(question, question.space.start(0, np.arange(5)).x)
    assert gram is not None
    assert gram.shared is not None
    outcome = solve(question, Fista(quadratic=True))
    assert outcome.converged.all()
    x = question.space.values(outcome.x)["x"]
    assert torch.equal(x[~free], fixed[~free])
    for row in range(5):
        some = free[row].numpy()
        rest = b[row] - A[:, ~some] @ fixed[row].numpy()[~some]
        centred, B = rest - rest.mean(), A[:, some] - A[:, some].mean(0)
        codes = sparse_encode(centred[None], B.T, algorithm="lasso_cd", alpha=2.0, max_iter=200_000)
        assert np.allclose(x[row].numpy()[some], codes[0], atol=1e-6)


def test_a_joint_problem() -> None:
    rng = np.random.default_rng(0)
    A, b = rng.normal(size=(40, 6)), rng.normal(size=40)

    def smooth(u: Values, h: Values) -> Tensor:
        return 0.5 * (h["A"] @ u["x"][0] - h["b"]) ** 2

    functions = FakeSplit(smooth, torch.tensor(3.0, dtype=F64))
    space = space_of((Unknown("x", (6,), Reals(), per_batch=True),), 40, F64, joint=True)
    held = {"A": torch.tensor(A), "b": torch.tensor(b)}
    question = Problem(functions, held, frozenset({"A", "b"}), space, functions)
    start = space.start(0, np.arange(40)).x
    gram = gram_of(question, start)
    assert gram is not None
    assert torch.allclose(gram.times(torch.eye(6, dtype=F64)[:1]), torch.tensor(A.T @ A)[:1])
    weights = Fista(quadratic=True)
    x, state = start, weights.init(question, start)
    for _ in range(20):
        x, state = weights.step(question, x, state)
    assert (optimality(x, A, b[None], 3.0) < 1e-9).all()


def test_what_is_too_large_or_not_shared_takes_the_other_way() -> None:
    wide = coding(np.ones((1, 1025)), np.ones((2, 1)), 0.1)
    assert gram_of(wide, torch.zeros(2, 1025, dtype=F64)) is None
    # A product with 900 x 900 numbers costs more than an evaluation with 4 x 900, and less than one with
    # 200 x 900.
    flat, tall = coding(np.ones((4, 900)), np.ones((2, 4)), 0.1), np.ones((200, 900))
    assert gram_of(flat, torch.zeros(2, 900, dtype=F64)) is None
    assert gram_of(coding(tall, np.ones((2, 200)), 0.1), torch.zeros(2, 900, dtype=F64)) is not None
    held = {"scale": torch.tensor([1.0, 2.0], dtype=F64), "b": torch.ones(2, 70, dtype=F64)}

    def term(u: Values, h: Values) -> Tensor:
        return 0.5 * h["scale"] * ((u["x"] - h["b"]) ** 2).sum(1)

    start = torch.zeros(2, 70, dtype=F64)
    question = split_problem(term, torch.tensor(0.1), start, held=held, row_values=("scale", "b"))
    assert gram_of(question, start) is None
    outcome = solve(question, Fista(quadratic=True))
    assert outcome.converged.all()
    assert torch.allclose(outcome.x, torch.tensor([[0.9], [0.95]], dtype=F64).expand(2, 70))


def test_a_wrong_claim_of_being_quadratic_ends_with_an_honest_status() -> None:
    def term(u: Values, h: Values) -> Tensor:
        return (torch.cosh(3 * u["x"]) - 4 * u["x"]).sum(1)

    question = split_problem(term, torch.tensor(0.1), torch.zeros(2, 3, dtype=F64))
    outcome = solve(question, Fista(quadratic=True), Limits(steps=500))
    if outcome.converged.any():
        _, gradient = question.smooth_and_gradient(outcome.x)
        assert torch.allclose(gradient[outcome.converged], torch.tensor(-0.1, dtype=F64), atol=1e-6)


def test_an_energy_without_a_minimum_does_not_converge() -> None:
    def term(u: Values, h: Values) -> Tensor:
        return -0.5 * (u["x"] ** 2).sum(1) + u["x"].sum(1)

    question = split_problem(term, torch.tensor(0.1), torch.zeros(2, 3, dtype=F64))
    outcome = solve(question, Fista(quadratic=True), Limits(steps=200))
    assert not outcome.converged.any()
    assert set(outcome.status) <= {Status.UNBOUNDED, Status.STEP_LIMIT}


def test_an_indefinite_matrix_within_bounds_reaches_a_stationary_point() -> None:
    rng = np.random.default_rng(0)
    made = rng.normal(size=(12, 12))
    H, b = torch.tensor(made + made.T), torch.tensor(rng.normal(size=(5, 12)))

    def term(u: Values, h: Values) -> Tensor:
        return ((u["x"] @ H) * u["x"]).sum(1) / 2 - (h["b"] * u["x"]).sum(1)

    start = torch.zeros(5, 12, dtype=F64)
    domain = Interval(-1.0, 2.0)
    question = split_problem(term, torch.tensor(0.4), start, domain, {"b": b}, row_values=("b",))
    outcome = solve(question, Fista(quadratic=True))
    assert outcome.converged.all()
    # No entry alone can lower the energy to first order by moving a little within its bounds.
    for shift in (1e-4, -1e-4):
        for entry in range(12):
            moved = outcome.x.clone()
            moved[:, entry] = (moved[:, entry] + shift).clamp(-1.0, 2.0)
            assert (question.energy(moved) >= outcome.energy - 1e-7).all()


def test_the_step_length_is_proven_and_tight() -> None:
    made = np.random.default_rng(0)
    for size in (1, 2, 10, 128, 300):
        A = made.normal(size=(max(size // 2, 1), size))
        question = coding(A, np.zeros((2, len(A))), 0.1)
        gram = gram_of(question, torch.zeros(2, size, dtype=F64))
        assert gram is not None
        largest = np.linalg.eigvalsh(A.T @ A)[-1]
        assert 0.9 / largest < gram.length[0] <= 1 / largest


def test_rows_do_not_depend_on_each_other() -> None:
    A, b = plain(np.random.default_rng(5))
    b = b * np.logspace(-2, 2, 9)[:, None]
    question = coding(A, b, 0.3)
    outcome = solve(question, Fista(quadratic=True))
    for row in (0, 4, 8):
        alone = solve(question.select(torch.tensor([row])), Fista(quadratic=True))
        assert torch.allclose(alone.x[0], outcome.x[row], rtol=1e-9, atol=1e-12)
        assert alone.iterations[0] == outcome.iterations[row]


def test_support_step_solves_the_normal_equations_of_each_row() -> None:
    made = np.random.default_rng(0)
    A = made.normal(size=(40, 20))
    question = coding(A, np.zeros((7, 40)), 0.1)
    gram = gram_of(question, torch.zeros(7, 20, dtype=F64))
    assert gram is not None
    slope = torch.tensor(made.normal(size=(7, 20)))
    free = torch.tensor(made.random((7, 20)) < 0.4)
    free[2] = False
    step = support_step(gram, slope, free)
    H = A.T @ A
    for row in range(7):
        on = free[row].numpy()
        expected = np.zeros(20)
        expected[on] = -np.linalg.solve(H[np.ix_(on, on)], slope[row].numpy()[on])
        assert np.allclose(step[row].numpy(), expected, atol=1e-12)


def test_the_least_subgradient_within_bounds() -> None:
    edges = Edges(torch.tensor([[1.0]]), 1.0, torch.tensor([[0.0]]), torch.tensor([[2.0]]))
    x = torch.tensor([[0.0, 0.0, 0.0, 1.0, 2.0, 2.0]])
    gradient = torch.tensor([[5.0, -0.5, -3.0, -1.5, -3.0, 3.0]])
    # At 0 only moves to the right count, at 2 only to the left.
    assert edges.slope(x, gradient).tolist() == [[0.0, 0.0, -2.0, -0.5, 0.0, 4.0]]
