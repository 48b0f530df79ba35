"""Small questions in the language, so that every method of the table has some that it fits.

Each has B = 4 rows in float64, and a value `start` from which the search begins where it is a search from
a point. `poison` names a value that makes one row's energy not finite; `holes` says that entries of x are
given.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

import ebmlang
from ebmlang.compiler.choose import Plan
from ebmlang.compiler.methods import ALL_METHODS
from ebmlang.compiler.needs import has

ROWS = 4
F64 = torch.float64


@dataclass(frozen=True, eq=False)
class Question:
    """`shared` values have no dimension of the rows; `convex` says that the minimum is the only one."""

    name: str
    text: str
    data: Mapping[str, Tensor]
    shared: frozenset[str]
    sought: tuple[str, ...]
    poison: str = ""
    convex: bool = True
    holes: bool = False


_FIT = "energy fit = 1/2 * ||y - A @ x||^2"
_HEAD = "model m(n: int, p: int) { shared observed A : real[p, n]; observed y : real[p]; "
_FREE = "observed start : real[n]; latent x : real[n] = start; "


def _normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


def _matrix() -> dict[str, Tensor]:
    return {"A": _normal(1, 6, 4), "y": _normal(2, ROWS, 6)}


def _linear(name: str, body: str, **extra: Tensor) -> Question:
    """One in the unknown x [4] with A [6, 4] and y [6]."""
    data = {**_matrix(), **extra}
    return Question(name, _HEAD + body + "; infer x }", data, frozenset(["A"]), ("x",), "y")


def _holed(name: str, energy: str, domain: str = "") -> Question:
    """One where x itself is observed in part."""
    x = 0.3 * _normal(5, ROWS, 4).abs()
    x[0, 1] = x[1, 0] = x[1, 3] = x[2] = torch.nan
    x[3, 2] = torch.nan
    text = f"{_HEAD}observed x : real[n]{domain} missing; {energy} }}"
    return Question(name, text, {**_matrix(), "x": x}, frozenset(["A"]), ("x",), "y", holes=True)


def _searches() -> tuple[Question, ...]:
    half, start = torch.full((ROWS, 4), 0.25, dtype=F64), 0.2 * _normal(3, ROWS, 4)
    lse = "energy match = -logsumexp(4.0 * A @ x) / 4; energy near = 1/2 * ||x - y @ A||^2"
    return (
        _linear("least squares", f"{_FREE}{_FIT}", start=start),
        _linear("lasso", f"{_FREE}{_FIT}; energy few = 0.1 * ||x||_1", start=start),
        _linear(
            "bounded least squares",
            f"observed start : real[n]; latent x : real[n] in [0, 0.5] = start; {_FIT}",
            start=half,
        ),
        _linear(
            "least squares on the simplex",
            f"observed start : real[n]; latent x : real[n] in simplex = start; {_FIT}",
            start=half,
        ),
        _linear(
            "softplus",
            f"{_FREE}energy surprise = sum(softplus(y * (A @ x))); energy size = 0.1 * ||x||^2",
            start=start,
        ),
        _linear(
            "robust regression",
            f"{_FREE}energy fit = sum(huber(y - A @ x)); energy size = 0.1 * ||x||^2",
            start=start,
        ),
        _linear("log-sum-exp plus quadratic", f"{_FREE}{lse}", start=start),
        _linear(
            "linear minus entropy",
            "observed start : real[n]; latent x : real[n] in simplex = start; "
            "energy pull = -dot(y @ A, x); energy spread = 0.5 * sum(xlogy(x, x))",
            start=half,
        ),
    )


def _nonconvex() -> tuple[Question, ...]:
    curved = """model m(n: int) {
      observed y : real[n]; observed start : real[n]; latent x : real[n] = start
      energy data = ||x - y||^2
      for i in 0..n-1 { energy bend[i] = 10 * (x[i+1] - x[i]^2)^2 }
      infer x }"""
    rotors = """model m(n: int) {
      observed y : real[n]; observed start : real[n]; latent x : real[n] = start
      energy pull = -sum(cos(x - y))
      for i in 0..n-1 { energy near[i] = -cos(x[i+1] - x[i]) }
      infer x }"""
    blocks = """model m(n: int, k: int, p: int) {
      observed Y : real[n, p]; observed start : real[n, k]; observed begin : real[k, p]
      latent U : real[n, k] = start
      latent V : real[k, p] = begin
      energy fit = 1/2 * ||Y - U @ V||^2
      energy size = 0.1 * (||U||^2 + ||V||^2)
      infer U, V }"""
    bounded = (
        blocks.replace("real[n, k]", "real[n, k] in nonnegative")
        .replace("latent V : real[k, p]", "latent V : real[k, p] in [0, 1]")
        .replace("observed start : real[n, k] in nonnegative", "observed start : real[n, k]")
    )
    shares = blocks.replace("latent V : real[k, p]", "latent V : real[k, p] in simplex")
    positive = {"Y": _normal(6, ROWS, 4, 5).abs(), "start": _normal(7, ROWS, 4, 2).abs()}
    positive["begin"] = torch.full((ROWS, 2, 5), 0.2, dtype=F64)
    factors = {"Y": _normal(6, ROWS, 4, 5), "start": _normal(7, ROWS, 4, 2), "begin": _normal(8, ROWS, 2, 5)}
    return (
        Question(
            "curved valley", curved, {"y": 0.5 + 0.1 * _normal(4, ROWS, 4), "start": _normal(9, ROWS, 4)},
            frozenset(), ("x",), "y", convex=False,
        ),
        Question(
            "rotors", rotors, {"y": 0.5 * _normal(19, ROWS, 5), "start": 0.2 * _normal(20, ROWS, 5)},
            frozenset(), ("x",), "y", convex=False,
        ),
        Question("two factors", blocks, factors, frozenset(), ("U", "V"), "Y", convex=False),
        Question("two bounded factors", bounded, positive, frozenset(), ("U", "V"), "Y", convex=False),
        Question("a factor of shares", shares, positive, frozenset(), ("U", "V"), "Y", convex=False),
    )  # fmt: skip


def _structured() -> tuple[Question, ...]:
    chain = """model m(n: int) {
      observed y : real[n]; observed start : real[n]; latent x : real[n] = start
      for t in 0..n { energy data[t] = huber(y[t] - x[t]) + 0.01 * x[t]^2 }
      for t in 0..n-1 { energy smooth[t] = 2 * huber(x[t+1] - x[t]) }
      infer x }"""
    grid = """model m(n: int, k: int) {
      observed y : real[n, k]; observed start : real[n, k]; latent x : real[n, k] = start
      energy data = 1/2 * ||x - y||^2
      energy down = sum(huber(x[1.., ..] - x[..n-1, ..], delta = 0.1))
      energy right = sum(huber(x[.., 1..] - x[.., ..k-1], delta = 0.1))
      infer x }"""
    control = """model m(T: int, d: int, k: int) {
      shared observed A : real[d, d]; shared observed B : real[d, k]; observed s0 : real[d]
      observed start : real[T, k]; latent a : real[T, k] = start
      let s[0] = s0
      for t in 0..T { let s[t+1] = A @ s[t] + B @ a[t]; energy e[t] = ||s[t+1]||^2 + 0.1 * ||a[t]||^2 }
      infer a }"""
    limited = control.replace("infer a", "for t in 0..T { subject to room[t] : s[t+1] <= 0.5 } infer a")
    bent = control.replace("A @ s[t] + B @ a[t]", "sin(A @ s[t]) + B @ a[t]")
    both = {"A": 0.5 * _normal(10, 3, 3), "B": _normal(11, 3, 2), "s0": _normal(12, ROWS, 3)}
    both["start"] = torch.zeros(ROWS, 5, 2, dtype=F64)
    shared = frozenset(["A", "B"])
    series = {"y": 3 * _normal(13, ROWS, 12), "start": torch.zeros(ROWS, 12, dtype=F64)}
    picture = {"y": _normal(14, ROWS, 5, 6), "start": torch.zeros(ROWS, 5, 6, dtype=F64)}
    return (
        Question("robust chain", chain, series, frozenset(), ("x",), "y"),
        Question("grid", grid, picture, frozenset(), ("x",), "y"),
        Question("linear-quadratic control", control, both, shared, ("a",), "s0"),
        Question("limited control", limited, both, shared, ("a",), "s0"),
        Question("smooth control", bent, both, shared, ("a",), "s0", convex=False),
    )


def _others() -> tuple[Question, ...]:
    start = torch.full((ROWS, 4), 0.2, dtype=F64)
    limited = f"{_FREE}{_FIT}; subject to whole : sum(x) == 1; subject to enough : x[0] >= 0.1"
    priced = f"{_FREE}energy price = dot(y @ A, x); subject to whole : sum(x) == 1; subject to room : x >= -1"
    tied = f"{_FREE}energy fit = sum(softplus(y - A @ x)) + ||x||^2; subject to whole : sum(x) == 1"
    round_ = f"{_FREE}{_FIT}; subject to ball : ||x||^2 <= 1"
    spins = """model m(n: int) {
      observed h : real[n]; latent s : bool[n]
      energy field = -sum(h * s)
      for i in 0..n-1 { energy tie[i] = 0.7 * (s[i] - s[i+1])^2 }
      infer s }"""
    matching = """model m(n: int) {
      observed C : real[n, n]; latent p : permutation[n]
      for i in 0..n { energy pays[i] = C[i, p[i]] }
      infer p }"""
    tour = """model m(n: int) {
      observed D : real[n, n]; latent p : permutation[n]
      for t in 0..n { energy leg[t] = D[p[t], p[(t + 1) % n]] }
      infer p }"""
    switched = """model m(n: int) {
      observed y : real[n]; latent c : bool[2]; latent x : real[n]
      energy fit = 1/2 * ||x - y||^2
      energy level = where(c[0], sum((x - 2)^2), 2 * sum((x + 1)^2)) + where(c[1], x[0]^2, 0.3)
      infer c, x }"""
    steps = f"{_FREE}{_FIT}; for t in 0..n-1 {{ energy tie[t] = 0.3 * |x[t+1] - x[t] - 0.1| }}"
    return (
        _linear("fit with steps", steps, start=start),
        _linear("largest residual", f"{_FREE}energy worst = max(|A @ x - y|)", start=start),
        _linear("hinges", f"{_FREE}energy h = sum(relu(1 - y * (A @ x))); energy s = ||x||^2", start=start),
        Question("switched", switched, {"y": _normal(16, ROWS, 3)}, frozenset(), ("c", "x"), convex=False),
        _linear("quadratic program", limited, start=start),
        _linear("linear program", priced, start=start),
        _linear("tied entries", tied, start=start),
        _linear("least squares in a ball", round_, start=start),
        Question("matching", matching, {"C": _normal(17, ROWS, 5, 5)}, frozenset(), ("p",)),
        Question("tour", tour, {"D": _normal(18, ROWS, 5, 5)}, frozenset(), ("p",), convex=False),
        Question("spins", spins, {"h": _normal(15, ROWS, 6)}, frozenset(), ("s",)),
    )


QUESTIONS: tuple[Question, ...] = (
    *_searches(),
    *_nonconvex(),
    *_structured(),
    *_others(),
    _holed("least squares, x in part", f"{_FIT};"),
    _holed("lasso, x in part", f"{_FIT}; energy few = 0.1 * ||x||_1;"),
    _holed("bounded least squares, x in part", f"{_FIT};", " in [0, 0.5]"),
    _holed("robust, x in part", "energy fit = sum(huber(y - A @ x)); energy size = 0.1 * ||x||^2;"),
)


@cache
def model_of(question: Question) -> ebmlang.Model:
    return ebmlang.loads(question.text)


def fits(question: Question, method: str) -> bool:
    """Whether all that the method needs is found."""
    plan: Plan = model_of(question).choice(find=question.sought, using=method)
    row = next(row for row in ALL_METHODS if row.name == method)
    return plan.method == row and all(has(plan.structure, need) for need in row.needs)


def chosen(question: Question) -> str:
    """The method that is picked without asking."""
    method = model_of(question).choice(find=question.sought).method
    return "" if method is None else method.name
