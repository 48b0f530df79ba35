"""The loop: limits, rows that leave, restarts, traces, faults, progress, joint problems."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import Tensor

from ebmlang.runtime.domains import Interval, Nonnegative, Positive, Reals, Sphere
from ebmlang.runtime.driver import Limits, Progress, Starts, solve, solve_from
from ebmlang.runtime.problem import Problem
from ebmlang.runtime.result import Status
from ebmlang.runtime.solvers import Adam, Lbfgs, ProjectedGradient, ProjectedLbfgs, State
from ebmlang.runtime.space import Unknown, space_of
from tests.runtime.fakes import Fake, Values, generator, problem, rosenbrock

F64, F32 = torch.float64, torch.float32


def hills(rows: int, dtype: torch.dtype = F64) -> Problem:
    """Many local minima, other ones in every row."""

    def term(u: Values, h: Values) -> Tensor:
        return (0.05 * u["x"] ** 2 + torch.cos(4 * u["x"] + h["phase"])).sum(1)

    phase = torch.linspace(0, 6, rows, dtype=dtype)[:, None]
    start = torch.full((rows, 2), 2.0, dtype=dtype)
    return problem(term, start, held={"phase": phase}, row_values=("phase",))


def staggered(rows: int, log: list[int]) -> Problem:
    """Rosenbrock from starts of very different difficulty, and a log of how many rows each evaluation had."""

    def term(u: Values, h: Values) -> Tensor:
        log.append(u["x"].shape[0])
        return rosenbrock(u, h)

    start = 1 + torch.logspace(-9, 0, rows, dtype=F64)[:, None] * torch.tensor([[-2.2, 0.0]], dtype=F64)
    return problem(term, start)


def test_rows_that_are_done_stop_costing() -> None:
    log: list[int] = []
    outcome = solve(staggered(64, log), Lbfgs())
    assert outcome.converged.all()
    assert log[-1] <= 2
    assert sum(log) < 0.8 * 64 * len(log)
    assert (outcome.x - 1).abs().max() < 1e-4
    for row in (0, 20, 40, 63):
        alone = solve(staggered(64, []).select(torch.tensor([row])), Lbfgs())
        assert torch.equal(alone.x[0], outcome.x[row])
        assert alone.iterations[0] == outcome.iterations[row]


def test_no_step_begins_that_would_end_too_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a clock that only steps move."""
    now = [100.0]
    monkeypatch.setattr("ebmlang.runtime.driver.time.monotonic", lambda: now[0])

    class Slow(Adam):
        def step(self, problem: Problem, x: Tensor, state: State) -> tuple[Tensor, State]:
            now[0] += 2.0
            return super().step(problem, x, state)

    for deadline, steps in ((99.0, 0), (101.0, 1), (103.0, 1), (104.5, 2), (106.5, 3)):
        now[0] = 100.0
        outcome = solve(hills(3), Slow(), Limits(deadline=deadline))
        assert outcome.iterations.tolist() == [steps] * 3
        assert set(outcome.status) == {Status.TIME_LIMIT}


def test_order_of_rows_does_not_matter() -> None:
    question = hills(20)
    order = torch.tensor(np.random.default_rng(0).permutation(20))
    outcome, turned = solve(question, Lbfgs()), solve(question.select(order), Lbfgs())
    assert torch.equal(turned.x, outcome.x[order])
    assert torch.equal(turned.iterations, outcome.iterations[order])


def test_step_limit_keeps_the_best_point() -> None:
    question = problem(rosenbrock, torch.tensor([[-1.2, 1.0]], dtype=F64))
    energies = [solve(question, Lbfgs(), Limits(steps=steps)).energy.item() for steps in range(0, 30, 3)]
    assert all(later <= earlier for earlier, later in itertools.pairwise(energies))
    outcome = solve(question, Lbfgs(), Limits(steps=5))
    assert outcome.sentences == ("step limit reached before the tolerance",)
    assert outcome.iterations.tolist() == [5]


def test_tolerance_follows_the_start() -> None:
    question = problem(lambda u, h: (u["x"] ** 4).sum(1), torch.tensor([[100.0], [1.0]], dtype=F64))
    for tol in (1e-2, 1e-6):
        outcome = solve(question, Lbfgs(), Limits(tol=tol))
        size = torch.tensor([4e6, 4.0], dtype=F64)
        assert (outcome.optimality <= tol * (1 + size)).all()
        assert outcome.converged.all()
    assert Limits().tolerance(F64) == 1e-9
    assert Limits().tolerance(F32) == 1e-5
    assert Limits(tol=0.5).tolerance(F32) == 0.5


def test_the_same_row_in_chunks() -> None:
    question = hills(10)
    whole = solve(question, Lbfgs(), starts=Starts(seed=3, restarts=4))
    for first in range(0, 10, 3):
        rows = torch.arange(first, min(first + 3, 10))
        part = solve(question.select(rows), Lbfgs(), starts=Starts(seed=3, first_row=first, restarts=4))
        assert torch.equal(part.x, whole.x[rows])
        assert torch.equal(part.energy, whole.energy[rows])


def test_restarts_keep_the_lowest() -> None:
    question = hills(6)
    once, often = solve(question, Lbfgs()), solve(question, Lbfgs(), starts=Starts(restarts=20))
    assert (often.energy <= once.energy).all()
    assert (often.energy < once.energy - 0.01).any()
    assert often.x.shape == once.x.shape
    assert len(often.sentences) == 6
    assert torch.allclose(question.energy(often.x), often.energy)
    other = solve(question, Lbfgs(), starts=Starts(seed=1, restarts=2))
    assert not torch.equal(other.x, solve(question, Lbfgs(), starts=Starts(seed=2, restarts=2)).x)


def test_restarts_of_a_row_survive_a_bad_one() -> None:
    # The declared start has no finite energy; a drawn one has.
    question = problem(
        lambda u, h: -torch.log(u["x"]).sum(1) + (u["x"] ** 2).sum(1), torch.full((2, 1), -1.0, dtype=F64)
    )
    assert solve(question, Lbfgs()).status == (Status.NON_FINITE_START,) * 2
    outcome = solve(question, Lbfgs(), starts=Starts(restarts=30))
    assert outcome.converged.all()
    assert torch.allclose(outcome.x, torch.tensor(0.5, dtype=F64).sqrt())


def test_trace_starts_at_the_start_and_ends_at_the_answer() -> None:
    question = hills(5)
    outcome = solve(question, Lbfgs(), trace=True)
    assert outcome.trace is not None
    assert outcome.trace.shape == (int(outcome.iterations.max()) + 1, 5)
    assert torch.equal(outcome.trace[0], question.energy(torch.full((5, 2), 2.0, dtype=F64)))
    assert torch.allclose(outcome.trace[-1], outcome.energy)
    for row in range(5):
        own = outcome.trace[: outcome.iterations[row] + 1, row]
        assert torch.allclose(own[-1], own.min(), rtol=1e-12)
    restarted = solve(question, Lbfgs(), starts=Starts(restarts=3), trace=True)
    assert restarted.trace is not None
    assert torch.allclose(restarted.trace[-1], restarted.energy)
    assert solve(question, Lbfgs()).trace is None


def test_progress_is_told() -> None:
    heard: list[Progress] = []
    outcome = solve(staggered(16, []), Lbfgs(), progress=heard.append)
    assert [one.rows for one in heard] == [16] * len(heard)
    finished = [one.finished for one in heard]
    assert finished == sorted(finished)
    assert finished[-1] == 16
    assert heard[-1].iteration == outcome.iterations.max()


def test_an_interrupt_passes_through() -> None:
    def stop(one: Progress) -> None:
        if one.iteration == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        solve(staggered(4, []), Lbfgs(), progress=stop)


def test_starts_outside_an_open_domain_are_left_alone() -> None:
    start = torch.tensor([2.0, -1.0, 0.0], dtype=F64)
    question = problem(lambda u, h: (u["x"] - 3) ** 2, start, Positive())
    outcome = solve(question, Lbfgs())
    assert outcome.status == (Status.CONVERGED, Status.OUTSIDE, Status.OUTSIDE)
    assert outcome.sentences[1] == "start outside the domain"
    assert outcome.iterations.tolist()[1:] == [0, 0]
    values = question.space.values(outcome.x)["x"]
    assert abs(values[0] - 3) < 1e-6
    assert torch.isfinite(outcome.energy).all()


def test_a_gradient_that_is_not_finite_is_named() -> None:
    terms = {
        "pull": lambda u, h: ((u["x"] - 1) ** 2).sum(1),
        "root": lambda u, h: torch.sqrt(u["x"].abs()).sum(1) * h["on"],
    }
    held = {"on": torch.tensor([0.0, 1.0], dtype=F64)}
    start = torch.zeros(2, 1, dtype=F64)
    question = problem(terms, start, held=held, row_values=("on",))
    outcome = solve(question, ProjectedGradient())
    assert outcome.status[1] is Status.NON_FINITE_GRADIENT
    assert outcome.sentences[1] == "non-finite gradient in term 'root'; stopped there"


def test_no_further_decrease_names_the_precision() -> None:
    # The rounding of the gradient is far above the tolerance.
    X = torch.randn(60, 5, generator=generator(0))

    def term(u: Values, h: Values) -> Tensor:
        score = u["x"] @ X.T
        return torch.logaddexp(score, 0.3 - score).sum(1) + 7 * torch.tanh(u["x"][:, 0] - 1 / 3) ** 2

    outcome = solve(problem(term, torch.ones(3, 5)), Lbfgs(), Limits(tol=1e-14))
    assert set(outcome.sentences) == {"no further decrease possible in float32, tolerance not reached"}
    assert (outcome.optimality < 1e-4).all()
    assert (outcome.iterations < 2000).all()
    assert not outcome.converged.any()


def test_solve_from_continues_where_another_ended() -> None:
    question = problem(rosenbrock, torch.tensor([[-1.2, 1.0], [2.0, 2.0]], dtype=F64))
    half = solve(question, Lbfgs(), Limits(steps=10))
    rest = solve_from(question, Lbfgs(), half.x, Limits(tol=1e-12))
    assert rest.converged.all()
    assert (rest.energy <= half.energy).all()


def test_solve_from_projects_first() -> None:
    question = problem(lambda u, h: (u["x"] ** 2).sum(1), torch.ones(1, 2, dtype=F64), Nonnegative())
    outcome = solve_from(question, ProjectedLbfgs(), torch.tensor([[-4.0, 2.0]], dtype=F64), Limits(steps=0))
    assert outcome.x.tolist() == [[0.0, 2.0]]


def joint_problem(rows: int = 4) -> Problem:
    """One mean m for the whole batch, one deviation a per example."""
    y = torch.randn(rows, 2, generator=generator(0), dtype=F64)

    def term(u: Values, h: Values) -> Tensor:
        return ((u["m"] + u["a"] - h["y"]) ** 2).sum(1) + 3 * (u["a"] ** 2).sum(1)

    unknowns = (Unknown("a", (2,), Reals()), Unknown("m", (2,), Interval(-5.0, 5.0), per_batch=True))
    space = space_of(unknowns, rows, F64, joint=True)
    return Problem(Fake({"t": term}), {"y": y}, frozenset({"y"}), space)


def test_a_joint_problem_is_solved_as_one() -> None:
    question = joint_problem()
    outcome = solve(question, ProjectedLbfgs())
    assert len(outcome.status) == 1
    assert outcome.converged.all()
    values = question.space.values(outcome.x)
    y = question.held["y"]
    assert torch.allclose(values["m"][0, 0], y.mean(0), atol=1e-7)
    assert torch.allclose(values["a"][0], (y - y.mean(0)) / 4, atol=1e-7)
    again = solve(question, ProjectedLbfgs(), starts=Starts(restarts=3))
    assert torch.allclose(again.x, outcome.x, atol=1e-6)


def test_many_rows_and_few() -> None:
    question = hills(10_000, F32)
    outcome = solve(question, Lbfgs())
    assert outcome.converged.double().mean() > 0.99
    assert torch.allclose(outcome.energy, question.energy(outcome.x), rtol=1e-5)
    sample = torch.tensor([0, 5000, 9999])
    few = solve(question.select(sample), Lbfgs())
    assert torch.allclose(few.x, outcome.x[sample], atol=1e-4)


def test_held_values_with_gradients_do_not_leak() -> None:
    target = torch.ones(2, dtype=F64, requires_grad=True)
    question = problem(
        lambda u, h: ((u["x"] - h["t"]) ** 2).sum(1), torch.zeros(3, 2, dtype=F64), held={"t": target}
    )
    outcome = solve(question, Adam(), Limits(steps=20))
    assert not outcome.x.requires_grad
    assert not outcome.energy.requires_grad
    assert target.grad is None


def test_everything_given_is_converged_at_once() -> None:
    free = torch.zeros(1, 3, dtype=torch.bool)
    fixed = torch.tensor([[0.6, 0.8, 0.0]], dtype=F64)
    start = torch.ones(2, 3, dtype=F64)
    question = problem(lambda u, h: u["x"].sum(1), start, Sphere(), free=free, fixed=fixed)
    outcome = solve(question, ProjectedGradient())
    assert outcome.converged.all()
    assert outcome.iterations.tolist() == [0, 0]
    assert torch.equal(outcome.x, fixed.expand(2, 3))


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no accelerator here")
def test_an_accelerator_gives_the_same_answers() -> None:
    device = torch.device("cuda")
    question = hills(50)
    unknown = question.space.unknowns[0]
    moved = Problem(
        question.functions,
        {name: value.to(device) for name, value in question.held.items()},
        question.row_values,
        space_of((Unknown("x", unknown.shape, Reals(), start=unknown.start),), 50, F64, device),
    )
    for solver in (Lbfgs(), ProjectedGradient(), ProjectedLbfgs()):
        here, there = solve(question, solver), solve(moved, solver)
        assert torch.allclose(there.x.cpu(), here.x, atol=1e-6)
        assert there.converged.all()
