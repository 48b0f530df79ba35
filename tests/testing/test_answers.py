"""Properties of answers: unknowns that a property does not quantify are what the `infer` line finds."""

import pytest
import torch

import ebmlang
from ebmlang import testing
from ebmlang.testing.run import run_checks
from tests.draws import normal

ATTENTION = """
import std.attention
model lookup(m: int, d: int, dv: int) {
  observed q : real[d]
  observed K : real[m, d]
  observed V : real[m, dv]
  latent   c : real[m] in simplex
  energy match  = -dot(c, K @ q)
  energy spread = SPREAD
  let y = V.T @ c
  infer c
  property permutation : forall P : permutation[m] { (y with K = K[P], V = V[P]) ~= y }
  property keys_alone  : forall P : permutation[m] { (y with K = K[P]) ~= y }
}"""

NONNEGATIVE = """
model nonnegative(n: int, k: int, lam: real in positive = 0.3) {
  observed A : real[n, k]
  observed y : real[n]
  latent   z : real[k] in nonnegative
  energy fit   = ||A @ z - y||^2
  energy small = lam * sum(z) + 0.1 * ||z||^2
  infer z
  property equations   : forall P : permutation[n] { (z with y = y[P], A = A[P]) ~= z }
  property values      : forall P : permutation[n] { (z with y = y[P]) ~= z }
  property nothing     : (z with y = 0 * y) ~= 0 * z
  property least       : forall u : real[k] in nonnegative { fit + small <= (fit + small with z = u) }
  property always      : forall z : real[k] { fit >= 0 }
  property not_at_rest : forall z : real[k] in nonnegative { fit <= (fit with z = 0 * z) }
}"""

PART = """
import std.attention
model gained(m: int, d: int) {
  observed q : real[d]
  observed K : real[m, d]
  observed V : real[m, d]
  solve attention as att with q = q, K = K, V = V
  latent g : real
  energy e = ||g * att.y - q||^2 + 0.1 * g^2
  infer g
  property slots : forall P : permutation[m] { (g with K = K[P], V = V[P]) ~= g }
  property keys  : forall P : permutation[m] { (g with K = K[P]) ~= g }
}"""

FALSE = {"keys_alone", "values", "not_at_rest", "keys"}


@pytest.mark.parametrize(
    "text",
    [ATTENTION.replace("SPREAD", "-entropy(c)"), ATTENTION.replace("SPREAD", "||c||^2"), NONNEGATIVE, PART],
    ids=["softmax", "search", "bounds", "part"],
)
def test_true_ones_hold_and_false_ones_fail(text: str) -> None:
    model = ebmlang.loads(text)
    names = {p.name for p in model.checked.properties}
    found = run_checks(model, examples=15, only=tuple(f"property {n}" for n in names))
    assert {f.check.removeprefix("property "): f.verdict for f in found} == {
        name: "fails" if name in FALSE else "holds" for name in names
    }


def test_a_wrong_model_has_a_counterexample() -> None:
    """A weight that belongs to the place of a slot breaks the symmetry of attention."""
    wrong = ATTENTION.replace("SPREAD", "-entropy(c) + c[0]")
    model = ebmlang.loads(wrong)
    (found,) = run_checks(model, examples=20, only=("property permutation",))
    assert found.verdict == "fails"
    assert found.counterexample is not None
    with pytest.raises(testing.CheckFailed, match="permutation"):
        testing.check_properties(
            ebmlang.loads(wrong, **found.counterexample.case.hypers), found.counterexample.case, "permutation"
        )


def test_both_sides_are_the_answers_of_infer() -> None:
    text = NONNEGATIVE.replace("(z with y = 0 * y) ~= 0 * z", "sum(z) <= 0.25")
    A, y = normal(2, 6, 3), normal(2, 6, seed=1)
    model = ebmlang.loads(text)
    most = float(model.infer(A=A, y=y, dtype="float64")["z"].sum(-1).max())
    assert most > 0.01
    zero = torch.zeros(2, 3)  # the drawn value of the unknown: not what the claim is about
    for bound, holds in ((most * 1.001, True), (most * 0.999, False)):
        again = ebmlang.loads(text.replace("0.25", f"{bound!r}"))
        if holds:
            testing.check_properties(again, {"A": A, "y": y, "z": zero}, "nothing")
        else:
            with pytest.raises(testing.CheckFailed):
                testing.check_properties(again, {"A": A, "y": y, "z": zero}, "nothing")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (
            "model m(n: int) { observed y : real[n]; latent z : real[n] per batch; energy e = ||z - y||^2; "
            "infer z; property p : e >= 0 }",
            "one value for all examples",
        ),
        (
            "model m(n: int) { observed y : real[n]; latent z : real[n]; "
            "batch energy e = ||mean(z - y, over = batch)||^2; infer z; property p : e >= 0 }",
            "joins all examples",
        ),
    ],
)
def test_what_cannot_be_asked_inside_is_drawn_and_said(text: str, why: str) -> None:
    (found,) = run_checks(ebmlang.loads(text), examples=5, only=("property p",))
    assert found.verdict == "holds"
    assert any("drawn unknowns" in words and why in words for words in found.remarks)


def test_without_a_question_unknowns_are_drawn() -> None:
    text = "model m() { latent z : real; energy e = (z - 1)^2; property p : e <= 1e-3 }"
    (found,) = run_checks(ebmlang.loads(text), examples=20, only=("property p",))
    assert found.verdict == "fails"
    (found,) = run_checks(
        ebmlang.loads(text.replace("; property", "; infer z; property")), examples=20, only=("property p",)
    )
    assert found.verdict == "holds"


def test_searches_of_properties_do_not_change_the_question() -> None:
    plain = ebmlang.loads(NONNEGATIVE[: NONNEGATIVE.index("  property")] + "}")
    model = ebmlang.loads(NONNEGATIVE)
    assert model.choice().method == plain.choice().method
    data = {"A": normal(3, 5, 2), "y": normal(3, 5, seed=1)}
    assert torch.equal(model.infer(data)["z"], plain.infer(data)["z"])


def test_an_answer_of_an_energy_with_a_net() -> None:
    """At the minimum the energy is below that of any other point, and of drawn unknowns it is not."""
    text = (
        "model m(n: int) { observed y : real[n]; latent z : real[n]; "
        "net f : real[n] -> real[n] = linear(); energy e = ||f(z) - y||^2 + ||z||^2; infer z; "
        "property p : e <= ||f(0 * y) - y||^2 + 0.001 }"
    )
    (found,) = run_checks(ebmlang.loads(text), examples=5, only=("property p",))
    assert found.verdict == "holds"
    assert not any("drawn unknowns" in words for words in found.remarks)
