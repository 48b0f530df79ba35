"""Signs of sums that stand in place of a whole array: they are subtracted as one."""

from __future__ import annotations

import numpy as np
import torch

import ebmlang
from ebmlang.runtime.bind import Settings, bind
from ebmlang.runtime.posing import make_problem
from ebmlang.runtime.problem import View

MODEL = """model m(n: int, d: int) {
  observed x : real[n, d]
  shared observed w : real[d]
  latent z : real[n, d]
  for t in 0..n { energy fit[t] = 0.5 * dot(w, (x[t] - z[t]) * (x[t] - z[t])) }
  energy anchor = 2 * ||z||^2
}"""


def test_a_sum_is_subtracted_as_one() -> None:
    model = ebmlang.loads(MODEL)
    asked = model.asked(None, frozenset({"x", "w"}), None, None, frozenset())
    _, module = model.compiled(asked, None)
    rng = np.random.default_rng(0)
    values = {"x": rng.normal(size=(2, 3, 2)), "w": np.array([0.5, 2.0])}
    settings = Settings(torch.float64, torch.device("cpu"))
    problem = make_problem(bind(module, {}, values, settings, frozenset({"z"})), {})
    assert View.HESSIAN in problem.views
    x = torch.from_numpy(rng.normal(size=(2, 6)))
    found = problem.hessian_times(x, torch.eye(6, dtype=torch.float64)[None])
    expected = torch.diag(torch.tensor([4.5, 6.0] * 3, dtype=torch.float64))
    torch.testing.assert_close(found, expected.expand(2, 6, 6))
    _, gradient = problem.energy_and_gradient(x)
    z = x.reshape(2, 3, 2)
    slope = torch.tensor([0.5, 2.0], dtype=torch.float64) * (z - torch.from_numpy(values["x"])) + 4 * z
    torch.testing.assert_close(gradient, slope.reshape(2, 6))
