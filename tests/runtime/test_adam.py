"""Adam: settles on kinks, keeps its best point, backs off from forbidden places."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ebmlang.runtime.domains import Sphere, Stiefel
from ebmlang.runtime.driver import Limits, Starts, solve
from ebmlang.runtime.result import Status
from ebmlang.runtime.solvers.adam import Adam
from tests.runtime.fakes import Values, generator, problem

F64 = torch.float64


def test_a_median_is_settled_on() -> None:
    # The sum of distances to numbers has its minimum, a kink, at their median.
    data = torch.randn(4, 7, generator=generator(0), dtype=F64)

    def term(u: Values, h: Values) -> Tensor:
        return (u["x"][:, None] - h["d"]).abs().sum(1)

    question = problem(term, torch.zeros(4, dtype=F64), held={"d": data}, row_values=("d",))
    outcome = solve(question, Adam())
    assert torch.allclose(outcome.x[:, 0], data.median(1).values, atol=1e-5)
    assert set(outcome.status) <= {Status.SETTLED, Status.CONVERGED}
    assert Status.SETTLED in outcome.status
    assert not outcome.converged.all()


def test_its_first_steps_are_those_of_torch() -> None:
    def term(u: Values, h: Values) -> Tensor:
        return (u["x"] ** 4).sum(1) + (u["x"][:, 0] - u["x"][:, 1]) ** 2

    start = torch.tensor([[1.0, -2.0], [0.5, 0.3]], dtype=F64)
    question, method = problem(term, start), Adam(lr=0.01)
    reference = start.clone().requires_grad_(True)
    optimizer = torch.optim.Adam([reference], lr=0.01)
    x, state = start, method.init(question, start)
    for _ in range(20):
        x, state = method.step(question, x, state)
        optimizer.zero_grad()
        term({"x": reference}, {}).sum().backward()
        optimizer.step()
    assert torch.allclose(x, reference.detach(), rtol=1e-10)


def test_restarts_find_a_lower_valley() -> None:
    def term(u: Values, h: Values) -> Tensor:
        return (0.1 * u["x"] ** 2 + torch.cos(3 * u["x"])).sum(1)

    question = problem(term, torch.full((3, 1), 3.2, dtype=F64))
    once = solve(question, Adam())
    often = solve(question, Adam(), starts=Starts(restarts=60))
    grid = np.linspace(-5, 5, 200_001)
    lowest = (0.1 * grid**2 + np.cos(3 * grid)).min()
    assert (once.energy > lowest + 0.5).all()
    assert np.allclose(often.energy.numpy(), lowest, atol=1e-3)
    assert (often.energy <= once.energy).all()


def test_forbidden_places_are_left_again() -> None:
    def term(u: Values, h: Values) -> Tensor:
        x = u["x"]
        return torch.where((x > 0).all(1), (x**2).sum(1), torch.inf)

    question = problem(term, torch.full((2, 2), 0.5, dtype=F64))
    outcome = solve(question, Adam())
    assert set(outcome.status) == {Status.SETTLED}
    assert (outcome.energy < 1e-6).all()
    assert (outcome.x > 0).all()


def test_nan_stops_a_row_and_names_the_term() -> None:
    terms = {
        "pull": lambda u, h: (u["x"] + 5).abs().sum(1),
        "root": lambda u, h: 0 * torch.sqrt(u["x"] + h["room"]).sum(1),
    }
    room = torch.tensor([[0.5], [100.0]], dtype=F64)
    question = problem(terms, torch.zeros(2, 1, dtype=F64), held={"room": room}, row_values=("room",))
    outcome = solve(question, Adam())
    assert outcome.status[0] is Status.NON_FINITE
    assert outcome.sentences[0] == "non-finite energy in term 'root'; stopped at the last finite point"
    assert -0.5 <= outcome.x[0, 0] <= -0.4
    assert torch.isfinite(outcome.energy).all()
    assert abs(outcome.x[1, 0] + 5) < 1e-4


def test_manifolds_are_kept() -> None:
    target = torch.randn(3, 4, 2, generator=generator(0), dtype=F64)

    def term(u: Values, h: Values) -> Tensor:
        return (u["x"] - h["t"]).abs().sum((1, 2))

    for domain in (Stiefel(), Sphere()):
        start = torch.eye(4, 2, dtype=F64).expand(3, 4, 2)
        question = problem(term, start, domain, {"t": target}, row_values=("t",))
        outcome = solve(question, Adam(), Limits(steps=500))
        assert question.space.inside(outcome.x).all()
        assert (outcome.energy < question.energy(question.space.start(0, np.arange(3)).x)).all()
