"""What every solver promises, over the table of solvers: no list of solvers is kept here."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from ebmlang.runtime.domain_base import Kind
from ebmlang.runtime.domains import Domain, Interval, Nonnegative, Positive, Reals, Simplex, Sphere
from ebmlang.runtime.driver import Limits, Starts, solve
from ebmlang.runtime.problem import Problem, View
from ebmlang.runtime.result import Status
from ebmlang.runtime.solvers import SOLVERS
from ebmlang.runtime.solvers.solver import AbstractSolver, Halt, select_rows
from tests.runtime.fakes import Values, generator, least_squares, problem, split_problem

F64, F32 = torch.float64, torch.float32
OWN = frozenset({View.ROLLOUT, View.CLOSED_FORM, View.MIXTURE})
"""Views that only energies of one form have: see test_riccati, test_attention and test_concave_convex."""
NAMES = [name for name, kind in SOLVERS.items() if not kind.needs & OWN]
DOMAIN_OF_KIND: dict[Kind, Domain] = {
    Kind.LINEAR: Reals(),
    Kind.BOX: Nonnegative(),
    Kind.CONVEX: Simplex(),
    Kind.MANIFOLD: Sphere(),
    Kind.OPEN: Positive(),
}
# Absolute values only count in solvers that ask for them; the others see a smooth energy.
WEIGHT = 0.05


def make(
    rows: int = 6, dtype: torch.dtype = F64, domain: Domain | None = None, split: bool = True
) -> Problem:
    """Regularised least squares in 4 unknowns, another right-hand side in every row."""
    made = generator(0)
    A = torch.randn(8, 4, generator=made, dtype=F64).to(dtype)
    b = 2 * torch.randn(max(rows, 6), 8, generator=made, dtype=F64).to(dtype)[:rows]
    start = torch.full((rows, 4), 0.5, dtype=dtype)
    held = {"A": A, "b": b}
    if split:
        weight = torch.tensor(WEIGHT, dtype=dtype)
        return split_problem(least_squares, weight, start, domain, held, row_values=("b",))
    return problem(least_squares, start, domain, held, row_values=("b",))


def solver(name: str) -> AbstractSolver:
    return SOLVERS[name]()


def asked(name: str, rows: int = 6, dtype: torch.dtype = F64, domain: Domain | None = None) -> Problem:
    return make(rows, dtype, domain, split=name == "fista")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [F64, F32])
def test_converges_to_the_tolerance(name: str, dtype: torch.dtype) -> None:
    question = asked(name, dtype=dtype)
    outcome = solve(question, solver(name))
    assert (outcome.iterations > 0).all()
    tolerance = 1e-9 if dtype == F64 else 1e-5
    if name == "adam" and dtype == F64:
        # It promises to settle, not to reach the last digits.
        assert set(outcome.status) <= {Status.CONVERGED, Status.SETTLED}
        tolerance = 1e-6
    else:
        assert outcome.sentences == (Status.CONVERGED.value,) * 6
        assert outcome.converged.all()
    start = solver(name).init(question, torch.full((6, 4), 0.5, dtype=dtype))
    assert (outcome.optimality <= tolerance * (1 + start.optimality)).all()


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_is_its_rows(name: str) -> None:
    whole = solve(asked(name), solver(name))
    for row in range(6):
        alone = solve(asked(name).select(torch.tensor([row])), solver(name))
        assert torch.allclose(alone.x[0], whole.x[row], atol=1e-7)
        assert torch.allclose(alone.energy[0], whole.energy[row], atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [F64, F32])
def test_same_question_same_bits(name: str, dtype: torch.dtype) -> None:
    first, second = (solve(asked(name, dtype=dtype), solver(name)) for _ in range(2))
    assert torch.equal(first.x, second.x)
    assert torch.equal(first.energy, second.energy)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("steps", [0, 1, 3])
def test_limits_hold_and_energies_never_rise(name: str, steps: int) -> None:
    question = asked(name)
    start = torch.full((6, 4), 0.5, dtype=F64)
    outcome = solve(question, solver(name), Limits(steps=steps))
    assert (outcome.iterations <= steps).all()
    assert (outcome.energy <= question.energy(start)).all()
    assert torch.allclose(outcome.energy, question.energy(outcome.x), rtol=1e-12)
    assert outcome.x.shape == (6, 4)
    assert set(outcome.status) == {Status.STEP_LIMIT}
    assert not outcome.converged.any()


@pytest.mark.parametrize("name", NAMES)
def test_every_kind_of_domain_it_claims_is_kept(name: str) -> None:
    for kind in sorted(SOLVERS[name].handles, key=lambda kind: kind.value):
        question = asked(name, domain=DOMAIN_OF_KIND[kind])
        for steps in (1, 2, 5, 400):
            outcome = solve(question, solver(name), Limits(steps=steps))
            assert question.space.inside(outcome.x).all(), (kind, steps)
        assert torch.isfinite(outcome.energy).all()
        start = question.space.start(0, np.arange(6))
        assert (outcome.energy < question.energy(start.x)).all()


@pytest.mark.parametrize("name", NAMES)
def test_a_foreign_domain_is_refused(name: str) -> None:
    for kind in set(Kind) - SOLVERS[name].handles:
        with pytest.raises(ValueError, match="does not handle"):
            solve(asked(name, domain=DOMAIN_OF_KIND[kind]), solver(name))


def test_a_missing_view_is_refused() -> None:
    needy = [name for name in NAMES if not SOLVERS[name].needs <= make(split=False).views]
    assert needy == ["fista"]
    for name in needy:
        with pytest.raises(ValueError, match="needs a smooth energy"):
            solve(make(split=False), solver(name))


@pytest.mark.parametrize("name", NAMES)
def test_rows_that_rest_do_not_move(name: str) -> None:
    question, method = asked(name), solver(name)
    x = torch.full((6, 4), 0.5, dtype=F64)
    state = method.init(question, x)
    resting = torch.tensor([True, False, True, False, False, True])
    for _ in range(7):
        state = replace(state, active=~resting)
        moved, state = method.step(question, x, state)
        assert torch.equal(moved[resting], x[resting])
        assert not torch.equal(moved[~resting], x[~resting])
        x = moved
    assert torch.allclose(state.energy, question.energy(x))


@pytest.mark.parametrize("name", NAMES)
def test_rows_of_a_state_can_be_cut_out(name: str) -> None:
    question, method = asked(name), solver(name)
    x = torch.full((6, 4), 0.5, dtype=F64)
    state = method.init(question, x)
    for _ in range(3):
        x, state = method.step(question, x, state)
    rows = torch.tensor([4, 1])
    cut, cut_state = method.step(question.select(rows), x[rows], select_rows(state, rows))
    whole, whole_state = method.step(question, x, state)
    assert torch.allclose(cut, whole[rows], atol=1e-12)
    assert torch.allclose(cut_state.energy, whole_state.energy[rows])
    assert method.done(question, whole, whole_state).dtype == torch.int8


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("rows", "size"), [(0, 4), (3, 0), (0, 0)])
def test_nothing_to_do_is_done(name: str, rows: int, size: int) -> None:
    def term(u: Values, h: Values) -> Tensor:
        return 1 + (u["x"] ** 2).sum(1)

    start = torch.ones(rows, size, dtype=F64)
    question = split_problem(term, torch.tensor(0.0), start) if name == "fista" else problem(term, start)
    outcome = solve(question, solver(name))
    assert outcome.x.shape == (rows, size)
    assert outcome.status == (Status.CONVERGED,) * rows
    assert outcome.energy.tolist() == [1.0] * rows


@pytest.mark.parametrize("name", NAMES)
def test_given_entries_stay_to_the_bit(name: str) -> None:
    free = torch.tensor([[True, False, True, True]])
    fixed = torch.tensor([[0.0, 0.1, 0.0, 0.0]], dtype=F64)
    question = asked(name)
    unknown = replace(question.space.unknowns[0], free=free, fixed=fixed)
    mask, held = free, torch.where(free, 0.0, fixed)
    question = replace(question, space=replace(question.space, unknowns=(unknown,), mask=mask, held=held))
    for steps in (1, 4, 3000):
        outcome = solve(question, solver(name), Limits(steps=steps))
        assert (outcome.x[:, 1] == 0.1).all()
    assert (outcome.optimality < 1e-5).all()
    if name != "fista":
        A, b = question.held["A"].numpy(), question.held["b"].numpy()
        rest = b - 0.1 * A[:, 1]
        reference = np.linalg.lstsq(A[:, [0, 2, 3]], rest.T, rcond=None)[0].T
        assert np.allclose(outcome.x[:, [0, 2, 3]].numpy(), reference, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_start_at_the_answer_takes_no_step(name: str) -> None:
    def term(u: Values, h: Values) -> Tensor:
        return ((u["x"] - 1) ** 2).sum(1)

    start = torch.ones(3, 2, dtype=F64)
    question = split_problem(term, torch.tensor(0.0), start) if name == "fista" else problem(term, start)
    outcome = solve(question, solver(name))
    assert torch.equal(outcome.x, start)
    assert outcome.iterations.tolist() == [0, 0, 0]
    assert outcome.converged.all()


@pytest.mark.parametrize("name", NAMES)
def test_a_start_that_is_not_finite_is_a_status(name: str) -> None:
    def term(u: Values, h: Values) -> Tensor:
        return torch.where(h["bad"] > 0, torch.nan, ((u["x"] - 2) ** 2).sum(1))

    start = torch.zeros(3, 2, dtype=F64)
    held = {"bad": torch.tensor([0.0, 1.0, 0.0])}
    if name == "fista":
        question = split_problem(term, torch.tensor(0.0), start, held=held, row_values=("bad",))
        words = "smooth"
    else:
        question = problem({"fit": term}, start, held=held, row_values=("bad",))
        words = "fit"
    outcome = solve(question, solver(name))
    assert outcome.status == (Status.CONVERGED, Status.NON_FINITE_START, Status.CONVERGED)
    assert outcome.sentences[1] == f"non-finite energy in term '{words}' at the start"
    assert torch.equal(outcome.x[1], start[1])
    assert torch.allclose(outcome.x[[0, 2]], torch.tensor(2.0, dtype=F64))


@pytest.mark.parametrize("name", NAMES)
def test_bounds_that_differ_by_row_are_kept(name: str) -> None:
    if Kind.BOX not in SOLVERS[name].handles:
        pytest.skip("handles no bounds")
    lo = torch.linspace(0.2, 0.7, 6, dtype=F64)[:, None]
    question = asked(name, domain=Interval(lo, lo + 0.1))
    outcome = solve(question, solver(name), starts=Starts(restarts=2))
    assert ((outcome.x >= lo) & (outcome.x <= lo + 0.1)).all()
    assert outcome.converged.all()
    # Most entries end exactly at a bound.
    assert ((outcome.x == lo) | (outcome.x == lo + 0.1)).any()


def test_halt_codes_are_small() -> None:
    assert [int(code) for code in Halt] == [0, 1, 2]
