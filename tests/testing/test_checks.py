"""Checks on models with planted faults: each is found, by the right check, and its values are small."""

import contextlib
import io
import math
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from torch import Tensor

import ebmlang
from ebmlang import testing
from ebmlang.api import Model
from ebmlang.runtime.result import Result
from ebmlang.testing import run
from ebmlang.testing.run import Counterexample, Finding, run_checks


def findings(text: str, *only: str, examples: int = 60) -> dict[str, Finding]:
    return {f.check: f for f in run_checks(ebmlang.loads(text), examples=examples, only=only or None)}


def verdict(text: str, check: str) -> str:
    return findings(text, check)[check].verdict


def shown(finding: Finding) -> Counterexample:
    assert finding.verdict == "fails"
    assert finding.counterexample is not None
    return finding.counterexample


def lists(case: testing.Case) -> Mapping[str, Any]:
    return {name: array.tolist() for name, array in case.items()}


GOOD = """## A lasso with everything that a model may declare a property about.
model good(n: int, k: int = 16, lam: real in nonnegative = 0.5) {
  observed y : real[n]
  latent   z : real[k] = 0
  param    D : real[n, k] in unit_columns = normal()
  energy      fit  = 1/2 * ||y - D @ z||^2
  regularizer size = lam * ||z||_1
  property nonneg : forall z : real[k] { size >= 0 }
  property even   : forall z : real[k] { (fit with z = -z, y = -y) ~= fit }
  property scales : forall z : real[k], t : real { (size with z = t * z) ~= abs(t) * size }
  property convex : forall z : real[k], u : real[k], t : real in [0, 1] {
    (fit with z = t * z + (1 - t) * u) <= t * fit + (1 - t) * (fit with z = u) }
  infer z
}"""


def test_a_good_model_passes_every_check() -> None:
    found = findings(GOOD)
    assert list(found) == [
        "finite", "batch equals loop", "terms sum to the total", "gradient", "inference",
        "property nonneg", "property even", "property scales", "property convex",
    ]  # fmt: skip
    assert {f.verdict for f in found.values()} == {"holds"}
    assert found["gradient"].remarks["entries compared"] > 300
    assert found["gradient"].remarks["entries at a kink"] > 0
    assert sum(found["inference"].remarks.values()) >= 12
    assert found["finite"].examples == 60


# --- energies that are no numbers ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("energy", "domain", "value", "words"),
    [
        ("sum(sqrt(z))", "", [[-1.0]], "nan"),
        ("sum(log(z))", " in nonnegative", [[0.0]], "-inf"),
        ("||y||^2 / ||z||^2", "", [[0.0]], "nan"),
        ("-1 / sum(z^2)", "", [[0.0]], "-inf"),
    ],
)
def test_values_that_make_no_number(energy: str, domain: str, value: list[Any], words: str) -> None:
    text = f"""model faulty(n: int) {{
      observed y : real[n]
      latent z : real[n]{domain}
      energy fine = ||y - z||^2
      energy bad = {energy}
    }}"""
    example = shown(findings(text, "finite")["finite"])
    assert example.message == f"the term `bad` is {words}"
    assert example.case.hypers == {"n": 1}
    assert lists(example.case) == {"y": [[0.0]], "z": value}


def test_plus_infinity_is_counted_and_passes() -> None:
    text = "model barrier(n: int) { latent z : real[n] in nonnegative = 1; energy e = sum(z - log(z)) }"
    finite = findings(text, "finite")["finite"]
    assert finite.verdict == "holds"
    assert finite.remarks["examples of energy +inf"] > 0


def test_a_hyperparameter_without_a_domain_takes_any_value() -> None:
    text = "model m(s: real) { latent z : real; energy e = z^2 / s }"
    example = shown(findings(text, "finite")["finite"])
    assert example.case.hypers == {"s": 0.0}
    assert verdict(text.replace("s: real", "s: real in positive"), "finite") == "holds"


def test_what_an_energy_raises_is_a_finding() -> None:
    text = "model m(n: int) { latent A : real[n, n]; energy e = sum(inverse(A)^2) }"
    example = shown(findings(text, "finite")["finite"])
    assert "singular" in example.message or "inf" in example.message or "nan" in example.message
    # 1 / 0 squared is +inf; two rows of zeros are the smallest matrix without any inverse
    assert lists(example.case) == {"A": [[[0.0, 0.0], [0.0, 0.0]]]}


# --- properties ---------------------------------------------------------------------------------


def test_a_false_property_has_a_small_counterexample() -> None:
    text = """model m(n: int, k: int) {
      latent z : real[n, k]
      energy size = sum(z)
      property positive : forall z : real[n, k] { size >= 0 }
    }"""
    example = shown(findings(text, "property positive")["property positive"])
    assert example.message == "the property `positive` is false: size >= 0, found -1 and 0"
    assert example.case.hypers == {"n": 1, "k": 1}
    assert lists(example.case) == {"z": [[[-1.0]]]}


def test_sizes_shrink_apart_from_the_values_that_matter() -> None:
    text = """model m(n: int, k: int) {
      observed y : real[n]
      latent z : real[k] in [0, 1]
      param D : real[n, k]
      energy size = sum(z) + 0 * ||y - D @ z||^2
      property small : forall z : real[k] in [0, 1] { size <= 2 }
    }"""
    example = shown(findings(text, "property small", examples=200)["property small"])
    assert example.case.hypers == {"n": 1, "k": 3}
    assert sum(example.case["z"][0]) > 2
    assert example.case["D"].tolist() == [[0.0, 0.0, 0.0]]


@pytest.mark.parametrize(
    ("claim", "holds"),
    [
        ("e ~= e + 1e-7", True),
        ("e ~= e + 1e-5", False),
        ("e + 0.1 - 0.1 >= e", True),
        ("e > e", False),
        ("e >= e + 1e-6", False),
        ("e == e", True),
        ("e != e", False),
        ("z < 2", False),
        ("z <= 2 or z > 2", True),
        ("z <= 2", False),
        ("log(-1 - e) >= 0", False),
    ],
)
def test_relations(claim: str, holds: bool) -> None:
    text = f"model m() {{ latent z : real; energy e = z^2; property p : forall z : real {{ {claim} }} }}"
    assert verdict(text, "property p") == ("holds" if holds else "fails")


def test_a_property_is_only_claimed_where_it_says() -> None:
    text = """model m(top: real = 1) {
      latent z : real
      energy e = z^2
      property p : forall z : real in [-top, top] { e <= top }
    }"""
    model = ebmlang.loads(text)
    assert verdict(text, "property p") == "holds"
    assert testing.check_properties(model, {"z": 2.0})["examples outside the stated domain"] == 1
    with pytest.raises(testing.CheckFailed, match=r"`p` is false: e <= 0\.1, found 0\.25 and 0\.1"):
        testing.check_properties(ebmlang.loads(text.replace("{ e <= top }", "{ e <= 0.1 }")), {"z": 0.5})


def test_a_property_with_a_name_of_its_own_needs_a_value() -> None:
    model = ebmlang.loads(GOOD, n=1, k=1)
    values = {"y": [[0.0]], "z": [[1.0]], "D": [[1.0]]}
    assert any(words.startswith("not checked") for words in testing.check_properties(model, values))
    with pytest.raises(ebmlang.DataError, match="no value for `t`"):
        testing.check_properties(model, values, "scales")
    testing.check_properties(model, {**values, "t": -2.0}, "scales")
    with pytest.raises(ebmlang.DataError, match="no property `scale`"):
        testing.check_properties(model, values, "scale")


# --- gradients ----------------------------------------------------------------------------------


def test_kinks_and_edges_are_left_out_and_counted() -> None:
    model = ebmlang.loads("model m() { latent z : real[4]; energy e = sum(|z|) + sum(sqrt(1 - z)) }")
    remarks = testing.check_gradient(model, {"z": [[0.0, 1.0, -0.3, 0.7]]})
    assert remarks == {"entries compared": 2, "entries at a kink": 1, "entries at an edge": 1}


@pytest.mark.parametrize("distance", [1e-5, 1e-4, 1.5e-4, 1e-3])
def test_a_kink_nearby_is_no_fault(distance: float) -> None:
    model = ebmlang.loads("model m() { latent z : real; energy e = |z - 1| + huber(z) + relu(z - 1) }")
    testing.check_gradient(model, {"z": [1.0 + distance]})
    testing.check_gradient(model, {"z": [1.0 - distance]})


def test_steep_and_flat_energies_are_compared() -> None:
    model = ebmlang.loads("model m() { latent z : real; energy e = exp(4 * z) + 1e-3 * z + z^6 }")
    for z in (-8.0, -1.0, 0.0, 0.5, 2.0, 3.0):
        assert testing.check_gradient(model, {"z": [z]})["entries compared"] == 1


def broken(model: Model) -> Model:
    """The model with a gradient that is wrong where z > 1: detached, so the values stay right."""
    _, module = next(iter(model._compiled.modules.values()))
    kind = module.MODEL

    class Wrong(kind):  # type: ignore[misc, valid-type]
        def terms(self, unknown: Any, held: Any) -> Any:
            z = unknown["z"]
            seen = {**unknown, "z": z.where(z <= 1, z.detach())}
            return super().terms(seen, held)

    setattr(module, "MODEL", Wrong)  # noqa: B010
    return model


def test_a_wrong_gradient_is_found_and_located() -> None:
    model = ebmlang.loads("model m(n: int) { latent z : real[n]; energy e = ||z||^2 }")
    values = {"z": [[0.5, 1.5], [0.25, 0.75]]}
    testing.check_gradient(model, values)
    with pytest.raises(testing.CheckFailed, match=r"gradient in `z`\[0, 1\] is 0, finite differences give 3"):
        testing.check_gradient(broken(model), values)


# --- batches and sums ---------------------------------------------------------------------------


def mixed(energy: Tensor) -> Tensor:
    return energy + 1e-3 * energy.mean() * (energy.shape[0] > 1)


def coupled(model: Model, name: str) -> None:
    """Plant what the language cannot express: a method whose rows look at each other."""
    _, module = next(iter(model._compiled.modules.values()))
    kind = module.MODEL
    inner: Callable[[Any, Any, Any], Any] = getattr(kind, name)

    def wrong(self: Any, unknown: Any, held: Any) -> Any:
        found = inner(self, unknown, held)
        if isinstance(found, dict):
            return {n: mixed(e) for n, e in found.items()}
        return mixed(found)

    setattr(kind, name, wrong)


TIED = "model m(n: int) { latent z : real[n]; for i in 0..n { energy e[i] = z[i]^2 } }"


def test_rows_that_look_at_each_other_are_found() -> None:
    model = ebmlang.loads(TIED)
    values = {"z": [[1.0], [2.0]]}
    testing.check_batch_equals_loop(model, values)
    coupled(model, "terms")
    with pytest.raises(testing.CheckFailed, match=r"the term `e` in row 0: in the batch 1\.0025, alone 1\.0"):
        testing.check_batch_equals_loop(model, values)


@pytest.mark.parametrize("method", ["energy", "factors"])
def test_sums_that_do_not_add_up_are_found(method: str) -> None:
    model = ebmlang.loads(TIED)
    values = {"z": [[1.0], [2.0]]}
    testing.check_terms_sum(model, values)
    coupled(model, method)
    with pytest.raises(testing.CheckFailed, match=r"total|positions"):
        testing.check_terms_sum(model, values)


def test_a_batch_energy_may_look_at_all_rows() -> None:
    text = """model m(n: int) {
      latent z : real[n]
      energy own = ||z||^2
      batch energy spread = sum(mean(z, over = batch)^2)
    }"""
    for check in ("batch equals loop", "gradient", "terms sum to the total"):
        assert verdict(text, check) == "holds"


# --- inference ----------------------------------------------------------------------------------


def faked(monkeypatch: pytest.MonkeyPatch, **changes: Any) -> None:
    from dataclasses import replace

    from ebmlang.runtime import ask

    honest = ask.infer

    def lying(*arguments: Any, **options: Any) -> Result:
        found = honest(*arguments, **options)
        values = dict(found.values)
        for name, change in changes.items():
            values[name] = change(values[name])
        return replace(found, values=values)

    monkeypatch.setattr(ask, "infer", lying)


BOX = (
    "model m(n: int) { observed y : real[n]; latent z : real[n] in [-1, 1]; energy e = ||y - z||^2; infer z }"
)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda z: z - 0.01, "called converged, but a move of 1e-07 lowers the energy at a rate of"),
        (lambda z: -z, "inference raised the energy in row 0"),
        (lambda z: z.clamp(min=1.5), "lies outside of its domain"),
        (lambda z: z * math.nan, "inference raised the energy in row 0 from"),
    ],
)
def test_answers_that_are_wrong(change: Any, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, values = ebmlang.loads(BOX), {"y": [[0.5, 2.75]]}
    assert testing.check_inference(model, values) == {"converged": 1}
    faked(monkeypatch, z=change)
    with pytest.raises(testing.CheckFailed, match=words):
        testing.check_inference(model, values)


def test_what_is_blank_is_found_too() -> None:
    text = """model m(n: int) {
      observed x : real[n] missing
      observed y : real[n]
      energy e = ||x - y||^2
    }"""
    nan = math.nan
    assert (
        testing.check_inference(ebmlang.loads(text), {"x": [[1.0, nan]], "y": [[0.0, 3.0]]})["converged"] == 1
    )
    assert findings(text, "inference", examples=30)["inference"].verdict == "holds"


def test_an_honest_status_is_no_fault() -> None:
    unbounded = "model m() { latent z : real = 1; energy e = -z; infer z }"
    found = findings(unbounded, "inference", examples=5)["inference"]
    assert found.verdict == "holds"
    assert "converged" not in found.remarks


def test_what_cannot_be_asked_is_not_checked() -> None:
    nothing = findings("model m() { observed y : real; energy e = y^2 }", "inference")["inference"]
    assert (nothing.verdict, nothing.examples, nothing.because) == ("not checked", 0, "nothing is sought")
    mixed = "model m(K: int) { latent c : class[K]; latent u : real[K]; energy e = u[c]^2 + ||u||^2 }"
    discrete = findings(mixed, examples=5)
    assert discrete["inference"].verdict == "not checked"
    assert discrete["finite"].verdict == "holds"


def test_discrete_answers_are_checked() -> None:
    text = "model m(K: int) { latent c : class[K]; param u : real[K]; energy e = u[c] }"
    assert findings(text, examples=10)["inference"].verdict == "holds"


# --- what is shown ------------------------------------------------------------------------------

FAULTS = {
    "check_finite": "model m(n: int, s: real) { latent z : real[n]; energy e = sum(log(z)) / s }",
    "check_properties": (
        "model m(n: int) { latent z : real[n]; energy e = sum(z)\n"
        "property p : forall z : real[n], t : real { t * e <= 3 } }"
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_the_printed_program_shows_the_fault(name: str) -> None:
    text = FAULTS[name]
    check = {"check_finite": "finite", "check_properties": "property p"}[name]
    example = shown(findings(text, check)[check])
    assert f"testing.{name}(m, values" in example.program
    with pytest.raises(testing.CheckFailed) as raised, contextlib.redirect_stdout(io.StringIO()):
        exec(example.program, {"text": text})
    assert raised.value.message == example.message


def test_programs_carry_what_was_set() -> None:
    text = """model other() { energy e = 1 }
      model m(n: int, lambda: real = 2) { latent z : real[n]; energy e = log(-lambda) * sum(z) }"""
    model = ebmlang.loads(text, model="m", n=3)
    found = list(run.run_checks(model, examples=10, of_several=True, only=("finite",)))
    program = shown(found[0]).program
    assert "m = ebmlang.loads(text, model='m', n=3" in program
    with pytest.raises(testing.CheckFailed):
        exec(program, {"text": text})


def test_the_same_seed_gives_the_same_findings() -> None:
    first, again = (findings(FAULTS["check_finite"], "finite", "gradient", examples=20) for _ in range(2))
    assert shown(first["finite"]).program == shown(again["finite"]).program
    assert {n: dict(f.remarks) for n, f in first.items()} == {n: dict(f.remarks) for n, f in again.items()}
    model = ebmlang.loads(GOOD)
    seeds = [next(run_checks(model, examples=10, seed=s, only=["gradient"])).remarks for s in (1, 2)]
    assert seeds[0] != seeds[1]


def test_progress_is_told_per_check() -> None:
    heard: list[tuple[str, int, int]] = []
    list(run_checks(ebmlang.loads(BOX), examples=10, progress=lambda *now: heard.append(now)))
    assert {name for name, _, _ in heard} == {check.name for check in run.CHECKS}
    assert all(0 <= done < total for _, done, total in heard)


# --- in a test suite of one's own, as the documentation of the package shows ----------------------

MODEL = ebmlang.loads(GOOD)


@given(values=testing.values(MODEL))
@settings(max_examples=10)
def test_as_in_the_documentation(values: testing.Case) -> None:
    testing.check_finite(MODEL, values)
    testing.check_gradient(MODEL, values)
    sized = ebmlang.loads(GOOD, **values.hypers)
    assert set(sized.terms(**values)) == {"fit", "size"}
