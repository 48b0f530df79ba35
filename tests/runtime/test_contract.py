"""What every method promises, over the tables of solvers and of methods: no list of them is kept here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import ebmlang
from ebmlang.compiler.methods import ALL_METHODS, CONSTRAINED_METHODS, PROGRAM_METHODS, find_method
from ebmlang.runtime.domain_base import Kind
from ebmlang.runtime.domains import Domain, Interval, Nonnegative, Positive, Reals, Simplex, Sphere
from ebmlang.runtime.driver import Limits, Starts, solve
from ebmlang.runtime.problem import Problem, View
from ebmlang.runtime.result import Status
from ebmlang.runtime.solvers import SOLVERS
from ebmlang.runtime.solvers.solver import AbstractSolver, Halt, select_rows
from tests.runtime.fakes import Values, generator, least_squares, problem, split_problem
from tests.runtime.questions import QUESTIONS, ROWS, Question, chosen, fits, model_of

F64, F32 = torch.float64, torch.float32
OWN = frozenset({View.ROLLOUT, View.CLOSED_FORM, View.MIXTURE, View.GAUSS_NEWTON, View.BLOCKS})
"""Views that only energies of one form have: see test_riccati, test_attention, test_concave_convex,
test_classic_problems and test_block_coordinate."""
NAMES = [name for name, kind in SOLVERS.items() if not kind.needs & OWN]
DOMAIN_OF_KIND: dict[Kind, Domain] = {
    Kind.LINEAR: Reals(),
    Kind.BOX: Nonnegative(),
    Kind.CONVEX: Simplex(),
    Kind.MANIFOLD: Sphere(),
    Kind.OPEN: Positive(),
}
SETTLING = ("adam", "cem", "mppi")
"""Methods that promise to settle, and begin anew where they are begun."""
# Methods that need no third step where the energy is quadratic: a step of the last is a round of gradients.
FEW_STEPS = ("quadratic", "projected_newton", "accelerated_gradient")
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
    if name not in FEW_STEPS:
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
        with pytest.raises(ValueError, match=r"does not handle|needs products with the Hessian"):
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
        assert not torch.equal(moved[~resting], x[~resting]) or (state.optimality[~resting] < 1e-8).all()
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
    # Only a matrix tells a minimum from a saddle, so that the exact method looks at it once.
    assert outcome.iterations.tolist() == [int(name == "quadratic")] * 3
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
    assert [int(code) for code in Halt] == [0, 1, 2, 3, 4]


# --- the table of methods, through the language ---------------------------------------------------

MOST_QUESTIONS = 3
"""Questions per method; those that pick it without being asked come first."""

ENOUGH_STEPS = 300


def _asked_of(method: str) -> list[Question]:
    fitting = [question for question in QUESTIONS if fits(question, method)]
    fitting.sort(key=lambda question: chosen(question) != method)
    # One where entries are given is among them, if there is one.
    holed = [question for question in fitting[MOST_QUESTIONS:] if question.holes][:1]
    return [*fitting[:MOST_QUESTIONS], *holed]


PAIRS = [(row.name, question) for row in ALL_METHODS for question in _asked_of(row.name)]


def over(kind: Callable[[Question], object]) -> pytest.MarkDecorator:
    """Every method with every question of a kind that is asked of it."""
    pairs = [(name, question) for name, question in PAIRS if kind(question)]
    names = [f"{name}-{question.name}" for name, question in pairs]
    return pytest.mark.parametrize(("name", "question"), pairs, ids=names)


every_pair = over(lambda question: True)
every_search = over(lambda question: "start" in question.data)


def ask(
    question: Question, name: str, data: dict[str, Tensor] | None = None, **options: Any
) -> ebmlang.Result:
    values = question.data if data is None else data
    return model_of(question).infer(values, using=name, **{"steps": ENOUGH_STEPS, **options})


def answer(question: Question, found: ebmlang.Result) -> Tensor:
    return torch.cat([found[name].reshape(found.energy.shape[0], -1).double() for name in question.sought], 1)


def row_of(question: Question, row: int) -> dict[str, Tensor]:
    return {n: v if n in question.shared else v[row : row + 1] for n, v in question.data.items()}


def level(energy: Tensor, dtype: torch.dtype) -> Tensor:
    """What rounding may make of an energy."""
    return 64 * torch.finfo(dtype).eps * (1 + energy.abs())


def test_every_method_of_the_table_has_a_question() -> None:
    assert {name for name, _ in PAIRS} == {row.name for row in ALL_METHODS}


@every_pair
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_an_answer_says_how_it_was_found(name: str, question: Question, dtype: str) -> None:
    found = ask(question, name, dtype=dtype)
    row = next(row for row in ALL_METHODS if row.name == name)
    assert found.method == name or "does not apply" in found.because
    assert len(found.status) == len(found.converged) == ROWS
    assert all(found.status)
    assert found.certificate
    if found.certificate.startswith("exact"):
        assert question.convex or row.certificate.startswith("exact")
    assert torch.isfinite(found.energy).all()
    for sought in question.sought:
        assert not found[sought].is_floating_point() or found[sought].dtype == getattr(torch, dtype)


@over(lambda question: question.convex)
def test_single_precision_finds_the_same_minimum(name: str, question: Question) -> None:
    wide, narrow = (ask(question, name, dtype=dtype) for dtype in ("float64", "float32"))
    close = 5e-3 if name in ("cem", "mppi") else 1e-4
    assert torch.allclose(narrow.energy.double(), wide.energy, rtol=close, atol=close)


@every_pair
def test_the_rows_of_a_batch_are_answered_alone(name: str, question: Question) -> None:
    whole = ask(question, name)
    for row in range(ROWS):
        alone = ask(question, name, row_of(question, row))
        assert torch.allclose(alone.energy[0], whole.energy[row], rtol=1e-7, atol=1e-9)
        if question.convex:
            near = answer(question, alone)[0], answer(question, whole)[row]
            assert torch.allclose(*near, rtol=1e-4, atol=1e-4)
        assert alone.converged[0] == whole.converged[row]


@every_pair
@pytest.mark.parametrize("restarts", [1, 3])
def test_the_same_seed_gives_the_same_bits(name: str, question: Question, restarts: int) -> None:
    first, again = (ask(question, name, seed=3, restarts=restarts) for _ in range(2))
    assert torch.equal(answer(question, first), answer(question, again))
    assert torch.equal(first.energy, again.energy)
    assert first.status == again.status


@every_pair
def test_more_starts_are_never_worse(name: str, question: Question) -> None:
    one, three = (ask(question, name, restarts=count) for count in (1, 3))
    slack = 1e-7 * (1 + one.energy.abs()) if name in SETTLING or question.convex else level(one.energy, F64)
    assert (three.energy <= one.energy + slack).all()


@every_search
@pytest.mark.parametrize("steps", [0, 1, 3])
def test_a_limit_on_steps_is_hard(name: str, question: Question, steps: int) -> None:
    found = ask(question, name, steps=steps)
    assert (found.iterations <= steps).all()
    if find_method(name) in CONSTRAINED_METHODS:
        # The start may break the constraints, so that energies do not compare.
        return
    starts = [question.data[n] for n in ("start", "begin") if n in question.data]
    before = model_of(question).energy({**question.data, **dict(zip(question.sought, starts, strict=True))})
    assert (found.energy <= before + level(before, F64)).all()


@every_search
def test_beginning_at_the_answer_is_quick(name: str, question: Question) -> None:
    first = ask(question, name)
    starts = {"start": first[question.sought[0]]}
    if len(question.sought) > 1:
        starts["begin"] = first[question.sought[1]]
    again = ask(question, name, {**question.data, **starts})
    assert (again.energy <= first.energy + 1e-9 * (1 + first.energy.abs())).all()
    # From where nothing moves a search may see that it stands on a ridge, and go on down.
    lower = again.energy < first.energy - 1e-6 * (1 + first.energy.abs())
    assert not (question.convex and lower[first.converged].any())
    done = first.converged & ~lower
    assert torch.allclose(answer(question, again)[done], answer(question, first)[done], rtol=1e-4, atol=1e-4)
    # Programs begin inside of their constraints, wherever the start is.
    if find_method(name) not in (*CONSTRAINED_METHODS, *PROGRAM_METHODS) and name not in SETTLING:
        assert (again.iterations <= first.iterations.clamp(min=1))[~lower].all()


@over(lambda question: question.poison)
def test_a_row_without_a_finite_energy_is_named_and_alone(name: str, question: Question) -> None:
    values = {n: v.clone() for n, v in question.data.items()}
    values[question.poison][1].fill_(torch.inf)
    clean, found = ask(question, name), ask(question, name, values)
    assert "non-finite" in found.status[1], found.status[1]
    assert not found.converged[1]
    rest = [0, 2, 3]
    assert torch.allclose(found.energy[rest], clean.energy[rest], rtol=1e-7, atol=1e-9)
    assert found.converged[rest].tolist() == clean.converged[rest].tolist()


@over(lambda question: question.holes)
def test_entries_that_are_given_keep_their_bits(name: str, question: Question) -> None:
    for steps in (1, ENOUGH_STEPS):
        found = ask(question, name, steps=steps)
        given = ~torch.isnan(question.data["x"])
        assert torch.equal(found.x[given], question.data["x"][given])
        assert torch.isfinite(found.x).all()
