"""How chunks are sized: by the memory of the device, by the limit of the caller, counting every start."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import scipy.special
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import ebmlang
from ebmlang.inference import Inference, given_arrays, given_lazily
from ebmlang.runtime import footprint, report
from ebmlang.runtime.linear import assembly
from ebmlang.runtime.search import Search

CHAIN = """
model chain(T: int) {
  observed y : real[T] missing
  latent   x : real[T] = y
  for t in 0..T   { energy data[t]   = (y[t] - x[t])^2 }
  for t in 0..T-1 { energy smooth[t] = (x[t+1] - x[t])^2 }
  infer x
}
"""


def test_chunks_on_a_gpu_follow_the_memory_of_the_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[torch.device] = []

    def free_and_all(device: torch.device) -> tuple[int, int]:
        asked.append(device)
        return 8_000_000, 80_000_000

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "mem_get_info", free_and_all)
    model = ebmlang.loads(CHAIN)
    there = model.settings({}, None, "cuda:1", None, None)
    assert asked == [torch.device("cuda:1")]
    assert (there.largest_bytes, there.chunk_bytes) == (4_000_000, 1_000_000)
    assert model.settings({}, None, "cuda", None, 5_000).chunk_bytes == 5_000
    with pytest.raises(ebmlang.DataError, match="no device `cuda:2`"):
        model.settings({}, None, "cuda:2", None, None)
    here = model.settings({}, None, None, None, None)
    assert len(asked) == 2  # the CPU is not asked about the GPU
    assert here.largest_bytes > there.largest_bytes


@pytest.mark.parametrize("limit", [0, -1, "lots", "0 GiB", True])
def test_a_limit_that_is_none_is_refused(limit: Any) -> None:
    with pytest.raises(ebmlang.DataError, match="is not an amount of memory"):
        ebmlang.loads(CHAIN).infer(y=np.zeros((2, 3)), max_memory=limit)


def _inference(values: Mapping[str, Any], limit: int, restarts: int | None, text: str = CHAIN) -> Inference:
    model = ebmlang.loads(text)
    settings = model.settings({}, None, None, None, limit)
    return Inference.of(model, given_arrays(model.ranks, values), {}, settings, Search(restarts=restarts))


def test_every_start_of_a_row_needs_its_memory() -> None:
    values = {"y": np.zeros((1_000, 20), np.float32)}
    once = _inference(values, 1_000_000, None).chunk_size()
    assert 20 < once < 500
    assert _inference(values, 1_000_000, 10).chunk_size() == pytest.approx(once / 10, abs=1)
    declared = CHAIN.replace("infer x", "infer x using lbfgs(restarts = 5)")
    assert _inference(values, 1_000_000, None, declared).chunk_size() == pytest.approx(once / 5, abs=1)


def test_looking_for_missing_entries_stays_within_the_limit() -> None:
    rows, width, limit = 5_000, 300, 100_000
    values = np.zeros((rows, width), np.float32)
    values[-1, -1] = np.nan
    taken: list[int] = []

    def take(name: str, start: int, stop: int) -> Any:
        taken.append(values[start:stop].nbytes)
        return values[start:stop]

    model = ebmlang.loads(CHAIN)
    given = given_lazily(model.ranks, {"y": values.shape}, take, lambda name, rows: values[rows])
    settings = model.settings({}, None, None, None, limit)
    inference = Inference.of(model, given, {}, settings, Search())
    assert inference.incomplete == {"y"}
    assert max(taken) <= limit
    assert sum(taken) == values.nbytes


def test_numbers_beyond_float32_are_counted() -> None:
    y = np.array([[1e300, 0.0, -1e39], [np.inf, 1.0, 2.0]])
    model = ebmlang.loads(CHAIN)
    with pytest.raises(ebmlang.DataError, match="2 entries of `y` are too large for float32"):
        model.infer(y=y)
    assert model.infer(y=y[:1] / 1e200, dtype="float64").converged.all()


def test_the_memory_of_a_row_is_measured_once_for_every_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    measured: list[int] = []
    bytes_per_row = footprint.bytes_per_row

    def counted(bound: Any, observed: Any = None) -> int:
        measured.append(bound.batch)
        return bytes_per_row(bound, observed)

    monkeypatch.setattr(footprint, "bytes_per_row", counted)
    model = ebmlang.loads(CHAIN)
    for rows, length in ((3, 5), (9, 5), (9, 6), (4, 6)):
        model.infer(y=np.zeros((rows, length)))
    assert measured == [3, 8]


def test_courses_that_are_compared_at_once_are_counted() -> None:
    text = """
model course(T: int = 4) {
  observed s0 : real
  latent a : real[T] in [-1, 1]
  let s : real[T+1]
  let s[0] = s0
  for t in 0..T {
    let s[t+1] = s[t] + a[t]
    cost far[t] = |s[t+1]|
  }
  plan a using METHOD
}
"""
    assert footprint.courses("cem", {}) == 64
    assert footprint.courses("adam", {}) == 1
    sizes = []
    for using in ("mppi(samples = 4)", "mppi(samples = 32)"):
        model = ebmlang.loads(text.replace("METHOD", using))
        given = given_arrays(model.ranks, {"s0": np.zeros(100_000)})
        settings = model.settings({}, None, None, None, 2**24)
        sizes.append(Inference.of(model, given, {}, settings, Search()).chunk_size())
    assert sizes[0] < 100_000
    assert sizes[0] // 8 == sizes[1]


def test_a_report_in_parts_is_that_of_every_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """Terms that differ by row, and one that is the same for all."""
    text = """
model many(m: int, n: int) {
  shared observed M : real[m, n]
  shared observed c : real[n]
  observed q : real[n]
  latent x : real[n] = q
  energy near = ||x - q||^2
  energy same = ||c||^2
  energy match = logsumexp(M @ x)
  infer x
}
"""
    rng = np.random.default_rng(0)
    M, c, q = rng.normal(size=(7, 5)), rng.normal(size=5), rng.normal(size=(301, 5))
    values: dict[str, Any] = {"M": M, "c": c, "q": q}
    seen: list[int] = []
    monkeypatch.setattr(report, "CACHED", 1)
    found = ebmlang.loads(text).infer(**values, dtype="float64")
    x = found.x.numpy()
    expected = {
        "near": ((x - q) ** 2).sum(1),
        "same": np.full(301, (c**2).sum()),
        "match": scipy.special.logsumexp(x @ M.T, axis=1),
    }
    for name, value in expected.items():
        assert np.allclose(found.terms[name].numpy(), value, rtol=1e-12), name
    assert np.allclose(found.energy.numpy(), sum(expected.values()), rtol=1e-12)
    model = ebmlang.loads(text)
    model.infer(**values)
    generated = next(iter(model._compiled.modules.values()))[1].MODEL
    terms = generated.terms

    def counted(self: Any, unknown: Any, held: Any) -> Any:
        seen.append(unknown["x"].shape[0])
        return terms(self, unknown, held)

    monkeypatch.setattr(generated, "terms", counted)
    assert model.infer(**values).energy.shape == (301,)
    assert seen[-5:] == [60, 60, 60, 60, 61]


DENSE = """
model dense(n: int, p: int) {
  SHARE observed A : real[p, n]
  observed y : real[p]
  latent   x : real[n]
  energy fit = 1/2 * ||A @ x - y||^2
  energy size = 0.1 * ||x||^2
  infer x
}
"""


class _Largest(TorchDispatchMode):
    """The bytes of the largest tensor that an operation makes."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for x in tree_leaves(result):
            if isinstance(x, torch.Tensor) and x.is_contiguous():
                self.bytes = max(self.bytes, x.nbytes)
        return result


@pytest.mark.parametrize("energy", ["||A @ x - y||^2", "sum(log(1 + square(A @ x - y)))"])
def test_what_rows_hold_is_not_copied_for_every_direction(
    energy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """30 directions, each of which a row of its own: A of all rows 30 times over would be 17 MB."""
    monkeypatch.setattr(assembly, "NUMBERS", 1 << 14)
    rng = np.random.default_rng(0)
    data = {"A": rng.normal(size=(60, 40, 30)), "y": rng.normal(size=(60, 40))}
    model = ebmlang.loads(DENSE.replace("SHARE ", "").replace("||A @ x - y||^2", energy))
    counted = _Largest()
    with counted:
        found = model.infer(data, dtype="float64")
    assert found.method in ("quadratic", "gauss_newton")
    assert found.converged.all()
    assert counted.bytes <= 2 * data["A"].nbytes


def test_a_matrix_for_each_row_counts() -> None:
    """60 unknowns: each matrix of float64 takes 28,800 bytes, where vectors take a few hundred."""
    rng = np.random.default_rng(0)
    A, y = rng.normal(size=(300, 70, 60)), rng.normal(size=(300, 70))
    own = _inference({"A": A, "y": y}, 10_000_000, None, DENSE.replace("SHARE ", ""))
    assert own.module.METHOD == "quadratic"
    assert 10 < own.chunk_size() <= 10_000_000 / (4 * 60 * 60 * 8)
    same = _inference({"A": A[0], "y": y}, 10_000_000, None, DENSE.replace("SHARE", "shared"))
    assert same.chunk_size() >= 5 * own.chunk_size()
    chain = _inference({"y": np.zeros((300, 60), np.float32)}, 10_000_000, None)
    assert chain.chunk_size() > 2 * own.chunk_size()
