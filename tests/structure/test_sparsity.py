"""Findings about the sparsity of the Hessian: what is said of chosen models, and what it costs."""

from __future__ import annotations

import pytest

from ebmlang.compiler import pipeline
from ebmlang.compiler.couplings import LiftedPattern
from ebmlang.compiler.query import Query, default_question, default_sought
from ebmlang.compiler.source import Source
from ebmlang.compiler.structure import Block
from ebmlang.compiler.structure.pattern import find_pattern, lifted_pattern
from tests.numeric.gallery import FILES
from tests.structure.sparsity_cases import CASES, Case

GALLERY = {
    "graph_smoothing": "sparse Hessian in x: tie couples x[i] with x[j]",
    "hopfield": "dense Hessian in x: recall couples x[i] with x[j]",
    "lasso": "dense Hessian in w, b: fit couples w[i] with w[k]",
    "logistic": "dense Hessian in w, b: surprise couples w[i] with w[k]",
    "nnls": "dense Hessian in w: fit couples w[i] with w[k]",
    "pca_codes": "dense Hessian in z: reconstruction couples z[i] with z[k]",
    "ridge": "dense Hessian in w, b: fit couples w[i] with w[k]",
    "smoothing_chain": "block-banded Hessian in x: blocks of 1, bandwidth 1:"
    " smooth couples x[t] with x[t + 1]",
    "sparse_coding": "dense Hessian in z: reconstruction couples z[i] with z[k]",
}


def block_of(text: str, sought: tuple[str, ...] = ()) -> Block:
    checked = pipeline.check_source(Source("<sparsity>", text))
    assert not checked.failed, checked.diagnostics[0].diagnostic
    model = checked.models[-1]
    names = sought or default_sought(model, default_question(model))
    return Block(pipeline.graph_of(model), Query(names))


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_chosen_models(case: Case) -> None:
    found = find_pattern(block_of(case.text, case.sought))
    assert found[0].property == f"{case.says} Hessian", found[0]
    assert case.shows in found[0].because
    assert "".join(f.because for f in found[1:]) == case.separable


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_gallery(path: object) -> None:
    from pathlib import Path

    assert isinstance(path, Path)
    block = block_of(path.read_text("utf-8"), ("x",) if path.stem == "hopfield" else ())
    if path.stem in GALLERY:
        assert str(find_pattern(block)[0]) == GALLERY[path.stem]
    # Discrete unknowns have no Hessian.
    assert bool(find_pattern(block)) == (not block.discrete)


def lifted(body: str, head: str = "n: int, m: int, T: int", sought: tuple[str, ...] = ()) -> LiftedPattern:
    return lifted_pattern(block_of(f"model one({head}) {{\n{body}\n}}\n", sought))


def pairs(body: str, sought: tuple[str, ...] = ()) -> set[str]:
    return {f"{c.first} {c.second}" for c in lifted(body, sought=sought).couplings}


@pytest.mark.parametrize(
    ("energy", "expected"),
    [
        ("x[0] * x[1] + sum(y * x)", {"x[0] x[1]"}),
        ("(x[0] + x[2]) * x[1]", {"x[0] x[1]", "x[2] x[1]"}),
        ("x[0] / x[1]", {"x[0] x[1]"}),
        ("(x[0] - x[1]) / 2 + exp(x[2]) * y[0]", set()),
        ("where(x[0] > 0, x[1], x[2])", {"x[0] x[1]", "x[0] x[2]"}),
        ("floor(x[0] + x[1])", {"x[0] x[1]"}),
        ("max(x[0], x[1]) - x[2]", {"x[0] x[1]"}),
        ("x[0] ^ x[1]", {"x[0] x[1]"}),
        ("sum([x[0], x[1]]^2)", set()),
        ("[x[0], x[1]] @ [x[2], y[0]]", {"x[0] x[2]"}),
        ("sum(concat(x[0..1], y[0..1]) * concat(x[1..2], x[2..3]))", {"x[i] x[i + 1]"}),
        ("trace(outer(x, y))", set()),
        ("sum(diag(outer(x, x)))", set()),
        ("sum(cumsum(x))", set()),
        ("mean(x) * y[0]", set()),
        ("linear_solve(outer(y, y), x) @ y", set()),
        ("||x||_1 + ||x||^2 - entropy(x)", set()),
        ("||x||", {"x[i] x[j]"}),
        ("max(x)", {"x[i] x[j]"}),
        ("logsumexp(x)", {"x[i] x[j]"}),
        ("var(x)", {"x[i] x[j]"}),
        ("prod(x)", {"x[i] x[j]"}),
        ("sum(softmax(x) * y)", {"x[i] x[j]"}),
        ("sum(x)^2", {"x[i] x[j]"}),
        ("sum(sort(x))", {"x[i] x[j]"}),
        ("det(outer(x, y))", {"x[i] x[j]"}),
        ("x[argmax(x)]", {"x[i] x[j]"}),
    ],
)
def test_what_an_operation_couples(energy: str, expected: set[str]) -> None:
    body = f"observed y : real[n]\nlatent x : real[n]\nenergy e = {energy}"
    checked = pairs(body.replace("real[n]", "real[3]"))
    assert checked == expected


def test_a_guard_on_given_values_stays_as_a_condition() -> None:
    body = (
        "shared observed b : bool[n]\nlatent x : real[n]\n"
        "for i in 0..n-1 if b[i] { energy e[i] = (x[i] - x[i+1])^2 }"
    )
    (coupling,) = lifted(body, "n: int").couplings
    assert [f"{c.left} {c.op} {c.right:g}" for c in coupling.where] == ["b[i] ne 0"]


def test_what_cannot_be_read_couples_everything() -> None:
    """Entries chosen by unknowns, and rows of an edge list that is sought itself."""
    assert pairs("latent c : class[n]\nlatent x : real[n]\nenergy e = x[c]") >= {"x[i] x[j]"}
    edges = (
        "shared observed edges : class[n][m, 2]\nlatent x : real[n]\n"
        "for (i, j) in edges { energy e[i, j] = (x[i] - x[j])^2 }"
    )
    assert len(pairs(edges)) == 1
    assert "x[j] x[k]" in pairs(edges, ("x", "edges")) or "x[i] x[j]" in pairs(edges, ("x", "edges"))


def test_examples_of_a_joint_problem_meet_only_through_what_they_share() -> None:
    body = "observed y : real[n]\nlatent z : real[n]\nparam w : real[n]\nenergy e = ||y - w * z||^2"
    found = find_pattern(block_of(f"model one(n: int) {{\n{body}\n}}\n", ("z", "w")))
    assert found[0].property == "bipartite Hessian"
    assert found[1].because == "over the entries of z and the entries of w"
    batch = "latent s : real\nbatch energy e = var(s, over = batch)"
    assert find_pattern(block_of(f"model one {{\n{batch}\n}}\n"))[0].property == "dense Hessian"


def test_long_sums_and_many_variables_take_no_long() -> None:
    """The work does not grow with the square of a sum, or exponentially with the variables."""
    terms = " + ".join(f"(x[{i}] - x[{i + 1}])^2" for i in range(400))
    body = "\n".join(f"latent v{i} : real[3]" for i in range(20))
    pair = " + ".join(f"v{i}[0] * v{i + 1}[1]" for i in range(19))
    block = block_of(
        f"model one {{\nlatent x : real[401]\n{body}\nenergy e = {terms}\nenergy f = {pair}\n}}\n"
    )
    with pipeline.room_for_passes():
        found = find_pattern(block)
    assert found[0].property == "block-banded Hessian"
    assert found[0].because.startswith("blocks of 21, bandwidth 1")


def test_constraints_and_domains_may_tie_what_no_term_couples() -> None:
    near = "latent x : real[n]\nlatent v : real[n]\nenergy near = ||x - v||^2\n"
    limit = "subject to total_mass : sum(x) <= 1\n"
    tied = near.replace("latent x : real[n]", "latent x : real[n] in simplex")
    for body, says in ((near, True), (near + limit, False), (tied, False)):
        found = find_pattern(block_of(f"model one(n: int) {{\n{body}}}\n"))
        assert found[0].property == "block-diagonal Hessian"
        assert (len(found) == 2) is says
