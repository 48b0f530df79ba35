"""Patterns of bound models against Hessians by automatic differentiation, and how tight they are."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import torch

from ebmlang.compiler import pipeline
from ebmlang.compiler.query import Query
from ebmlang.compiler.source import Source
from ebmlang.compiler.structure import Block
from ebmlang.compiler.structure.pattern import find_pattern
from ebmlang.runtime import pattern as patterns
from ebmlang.runtime.bind import Bound
from ebmlang.runtime.linear.patterns import (
    ArrowPattern,
    BandedPattern,
    BlockDiagonalPattern,
    BlockTridiagonalPattern,
    DensePattern,
    DiagonalPattern,
    Pattern,
    sparse_pattern,
)
from ebmlang.runtime.pattern import listed, pattern_of
from ebmlang.runtime.problem import Problem
from tests.properties.energies import Models, values
from tests.properties.generated import Asked, Rejected, checked
from tests.runtime.hessians import allowed, bound_model, hessians, missing, mixed_difference, problem_of
from tests.structure.sparsity_cases import CASES, DATA, Case


def described(pattern: Pattern) -> str:
    name = type(pattern).__name__.removesuffix("Pattern")
    match pattern:
        case BandedPattern():
            return f"{name} {pattern.bandwidth}" + " ordered" * (pattern.order is not None)
        case BlockDiagonalPattern() | BlockTridiagonalPattern():
            return f"{name} {pattern.blocks} {pattern.block}" + " ordered" * (pattern.order is not None)
        case ArrowPattern():
            return f"{name} {len(pattern.hubs)} {described(pattern.inner)}"
    return name


def bound_case(case: Case, sizes: dict[str, int] | None = None) -> Bound:
    model = pipeline.check_source(Source(case.name, case.text)).models[-1]
    own = sizes or case.sizes
    given = {v.name: DATA[v.name](own) for v in model.variables if v.role == "observed"}
    return bound_model(case.text, given, own, case.sought or None)


def somewhere(problem: Problem, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    shape = (problem.space.rows, problem.space.size)
    return torch.rand(shape, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_chosen_models(case: Case) -> None:
    bound = bound_case(case)
    problem = problem_of(bound)
    pattern = pattern_of(bound, problem.space)
    assert pattern.size == problem.space.size
    assert described(pattern).startswith(case.pattern)
    if problem.space.size <= 130:
        assert missing(problem, pattern, somewhere(problem)) == []


EXACT = (
    "smoother", "second_differences", "stride_two", "odd_guard", "slices", "entrywise", "pairs_of_variables",
    "tree", "ring", "edges", "chosen_pairs", "nested_plates",
    "chain_and_scalar", "first_entry", "groups", "narrow_grid", "columns_of_chains", "reversed",
)  # fmt: skip


@pytest.mark.parametrize("case", [c for c in CASES if c.name in EXACT], ids=lambda c: c.name)
def test_listed_couplings_are_exactly_the_hessian(case: Case) -> None:
    """What binding lists has no place too many: compared at a point where no second derivative vanishes."""
    bound = bound_case(case)
    problem = problem_of(bound)
    size = problem.space.size
    first, second = listed(bound.module.COUPLINGS.couplings, bound, problem.space)
    found = np.zeros((size, size), dtype=bool)
    found[first, second] = found[second, first] = True
    true = (hessians(problem, 0.3 * somewhere(problem)) != 0).any(0)
    np.fill_diagonal(found, True)
    np.fill_diagonal(true, True)
    assert (found == true).all()


@pytest.mark.parametrize("seed", range(30))
def test_random_models(seed: int) -> None:
    """No second derivative, and no mixed difference of a rough energy, outside of what is listed."""
    chance = random.Random(seed)
    text = Models(chance.randrange).model(2)
    try:
        model = checked(text)
    except Rejected:
        return
    rng = np.random.default_rng(seed)
    shared, rows = values(rng, 2)
    reals = [v.name for v in model.variables if v.type.kind == "real" and v.role != "hyper"]
    sought = tuple(n for n in reals if rng.random() < rng.choice([0.3, 0.7])) or ("x",)
    bound = Asked(model, sought).bound(shared, rows)
    problem = problem_of(bound)
    size = problem.space.size
    first, second = listed(bound.module.COUPLINGS.couplings, bound, problem.space)
    found = sparse_pattern(size, first, second)
    x = torch.from_numpy(rng.normal(size=(problem.space.rows, size)))
    assert missing(problem, found, x) == []
    assert missing(problem, pattern_of(bound, problem.space), x) == []
    apart = np.argwhere(np.triu(~allowed(found)))
    energy = problem.energy(x)
    for i, j in apart[rng.permutation(len(apart))[:8]]:
        mixed = mixed_difference(problem, x, int(i), int(j), 0.7)
        rough = torch.isfinite(mixed) & (mixed.abs() > 1e-8 * (1 + energy.abs()))
        assert not rough.any(), (sought, int(i), int(j))


def test_a_missing_coupling_would_be_seen() -> None:
    """The comparison itself can fail."""
    bound = bound_case(CASES[0])
    problem = problem_of(bound)
    assert missing(problem, DiagonalPattern(problem.space.size), somewhere(problem))


# --- sizes and layouts --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["smoother", "two_along_an_index", "states", "chain_and_scalar", "columns_of_chains"]
)
def test_chains_of_any_length(name: str) -> None:
    case = next(c for c in CASES if c.name == name)
    for length in (1, 2, 3, 7, 16):
        bound = bound_case(case, {**case.sizes, "T": length})
        problem = problem_of(bound)
        pattern = pattern_of(bound, problem.space)
        assert pattern.size == problem.space.size
        assert missing(problem, pattern, somewhere(problem)) == []


def test_a_long_chain_is_not_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a chain was listed")

    monkeypatch.setattr(patterns, "listed", refuse)
    case = next(c for c in CASES if c.name == "smoother")
    bound = bound_case(case, {"T": 1_000_000})
    pattern = pattern_of(bound, problem_of(bound).space)
    assert isinstance(pattern, BandedPattern)
    assert (pattern.size, pattern.bandwidth, pattern.order) == (1_000_000, 1, None)


def test_findings_do_not_depend_on_sizes() -> None:
    """The same finding, and the same number of couplings, with the sizes written into the program."""
    for case in CASES:
        large = case.text
        head, body = large.split("{", 1)
        names = [part.split(":")[0].strip() for part in case.head.split(",")]
        sized = f"model small({', '.join(f'{n}: int = {10**6 + k}' for k, n in enumerate(names))}) {{{body}"
        model = checked(sized)
        sought = case.sought or tuple(v.name for v in model.variables if v.role == "latent")
        found = find_pattern(Block(pipeline.graph_of(model), Query(sought)))
        assert found[0].property == f"{case.says} Hessian", head


def test_examples_of_a_joint_problem() -> None:
    text = (
        "model m(n: int) { observed y : real[n]\n latent z : real[n]\n param level : real\n"
        " energy near = sum((y - z)^2 + (z - level)^4) }"
    )
    bound = bound_model(text, {"y": np.zeros((6, 5))}, sought=("z", "level"))
    problem = problem_of(bound)
    assert problem.space.joint
    pattern = pattern_of(bound, problem.space)
    assert described(pattern) == "Arrow 1 Diagonal"
    assert missing(problem, pattern, somewhere(problem)) == []


def test_rows_with_data_of_their_own_share_a_pattern() -> None:
    """What any row couples is in the pattern of all."""
    text = (
        "model m(n: int) { observed on : bool[n]\n latent x : real[n]\n"
        " for i in 0..n-1 if on[i] { energy e[i] = (x[i] - x[i+1])^4 } }"
    )
    on = np.zeros((2, 12), dtype=bool)
    on[0, 2], on[1, 7] = True, True
    bound = bound_model(text, {"on": on}, {"n": 12})
    space = problem_of(bound).space
    first, second = listed(bound.module.COUPLINGS.couplings, bound, space)
    assert sorted(
        zip(np.minimum(first, second).tolist(), np.maximum(first, second).tolist(), strict=True)
    ) == [
        (2, 3),
        (7, 8),
    ]
    assert missing(problem_of(bound), pattern_of(bound, space), somewhere(problem_of(bound))) == []


def test_coordinates_of_open_domains_that_mix_entries() -> None:
    """A positive definite matrix has coordinates that move several entries: its point is one block."""
    text = (
        "model m(n: int) { latent S : real[n, 2, 2] in positive_definite\n"
        " for i in 0..n { energy e[i] = trace(S[i]) - log(S[i, 0, 0]) }\n"
        " for i in 0..n-1 { energy f[i] = (S[i, 0, 0] - S[i+1, 1, 1])^2 } }"
    )
    bound = bound_model(text, {}, {"n": 30})
    problem = problem_of(bound)
    pattern = pattern_of(bound, problem.space)
    assert missing(problem, pattern, somewhere(problem)) == []
    assert allowed(pattern).mean() < 0.5


def test_given_entries_keep_their_places() -> None:
    from ebmlang.runtime.posing import make_problem

    text = (
        "model m(T: int) { observed x : real[T] missing\n"
        " for t in 0..T-1 { energy e[t] = (x[t] - x[t+1])^4 } }"
    )
    model = checked(text)
    asked = Asked(model, ("x",))
    from ebmlang.runtime.bind import Settings, bind

    values_of_x = torch.arange(20.0, dtype=torch.float64)
    settings = Settings(torch.float64, torch.device("cpu"))
    bound = bind(asked.module, {}, {"x": values_of_x}, settings, frozenset({"x"}), frozenset({"x"}))
    problem = make_problem(bound, {"x": (values_of_x % 3 == 0)[None]})
    pattern = pattern_of(bound, problem.space)
    assert described(pattern) == "Banded 1"
    assert missing(problem, pattern, somewhere(problem)) == []


def test_data_that_is_not_there_makes_no_claim() -> None:
    case = next(c for c in CASES if c.name == "edges")
    bound = bound_case(case)
    space = problem_of(bound).space
    known: dict[str, Any] = {n: v for n, v in bound.values.items() if n != "edges"}
    from dataclasses import replace

    assert isinstance(pattern_of(replace(bound, values=known), space), DensePattern)
