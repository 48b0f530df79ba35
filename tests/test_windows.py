"""Slices that move with an index: values, what is proven of them, recurrences, and the text of reports."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import ebmlang
from ebmlang import testing
from tests.draws import normal


@given(before=st.integers(0, 3), length=st.integers(1, 4), stride=st.integers(1, 2), count=st.integers(1, 4))
@settings(max_examples=25, deadline=None)
def test_values_of_windows(before: int, length: int, stride: int, count: int) -> None:
    size = stride * (count - 1) + before + length
    text = f"""
    model windows(n: int, T: int) {{
      observed A : real[n, {size}];  observed w : real[T, n, {length}]
      latent x : real[{size}]
      for t in 0..T {{
        energy one[t] = ||x[{stride} * t + {before}..{stride} * t + {before + length}] - w[t, 0]||^2
        energy all[t] = sum(A[.., {stride} * t + {before}..{stride} * t + {before + length}] * w[t])^2
      }}
    }}
    """
    a, w, x = normal(2, 3, size), normal(2, count, 3, length, seed=1), normal(2, size, seed=2)
    expected = torch.zeros(2, dtype=torch.float64)
    for t in range(count):
        at = slice(stride * t + before, stride * t + before + length)
        expected += (x[:, at] - w[:, t, 0]).square().sum(1) + (a[:, :, at] * w[:, t]).sum((1, 2)) ** 2
    torch.testing.assert_close(ebmlang.loads(text).energy(A=a, w=w, x=x), expected)


AR = """
model autoregression(T: int, p: int = 3) {
  observed y : real[T]
  latent   c : real[p] = 0
  for t in p..T { energy fit[t] = 1/2 * (y[t] - dot(c, y[t-p..t]))^2 }
  infer c
}
"""


def test_autoregression_against_least_squares() -> None:
    y = normal(2, 40)
    found = ebmlang.loads(AR).infer(y=y)
    for row in range(2):
        rows = np.lib.stride_tricks.sliding_window_view(y[row].numpy(), 3)[:-1]
        expected = np.linalg.lstsq(rows, y[row, 3:].numpy(), rcond=None)[0]
        np.testing.assert_allclose(found["c"][row], expected, rtol=1e-8)
    assert ebmlang.loads(AR, p=2).infer(y=y)["c"].shape == (2, 2)


def test_the_pattern_of_windows() -> None:
    text = """
    model smooth(T: int) {
      observed y : real[T]
      latent   x : real[T]
      energy data = ||x - y||^2
      for t in 0..T-2 { energy bend[t] = dot([1, -2, 1], x[t..t+3])^2 }
      infer x
    }
    """
    model = ebmlang.loads(text)
    y = normal(1, 50)
    second = torch.zeros(48, 50, dtype=torch.float64)
    for t in range(48):
        second[t, t : t + 3] = torch.tensor([1.0, -2.0, 1.0])
    expected = torch.linalg.solve(torch.eye(50, dtype=torch.float64) + second.T @ second, y[0])
    torch.testing.assert_close(model.infer(y=y)["x"][0], expected)
    assert "bandwidth 2" in model.explain()
    testing.check_gradient(model, {"y": y, "x": normal(1, 50, seed=1)})


def test_a_recurrence_that_reads_a_window() -> None:
    text = """
    model delayed(T: int) {
      observed s0 : real
      latent   a  : real[T]
      let s : real[T+3]
      let s[0] = s0
      let s[1] = 0
      let s[2] = 0
      for t in 0..T { let s[t+3] = dot([0.5, 0.3, -0.2], s[t..t+3]) + a[t] }
      energy size = ||s||^2
    }
    """
    start, a = normal(2), normal(2, 6, seed=1)
    s = [start, torch.zeros_like(start), torch.zeros_like(start)]
    for t in range(6):
        s.append(0.5 * s[t] + 0.3 * s[t + 1] - 0.2 * s[t + 2] + a[:, t])
    expected = torch.stack(s, 1).square().sum(1)
    torch.testing.assert_close(ebmlang.loads(text).energy(s0=start, a=a), expected)


def test_how_windows_are_written() -> None:
    assert "`y[t] - dot(c, y[t - p..t])`" in " ".join(ebmlang.loads(AR).explain().split())


def test_what_sizes_leave_open() -> None:
    text = (
        "model m(T: int, w: int) { observed y : real[T]; for t in 0..T-3 { energy e[t] = sum(y[t..t+w])^2 } }"
    )
    with pytest.raises(ebmlang.DataError, match=r"the slice t\.\.t\+w reaches"):
        ebmlang.loads(text, w=6).energy(y=normal(1, 8))
    assert ebmlang.loads(text, w=4).energy(y=normal(1, 8)).shape == (1,)
