"""Which sampler a question gets, what is refused and with which words, and the verdicts on rows."""

from __future__ import annotations

import pytest
import torch

import ebmlang
from ebmlang.errors import DataError
from ebmlang.explaining import explain_file
from ebmlang.runtime.samplers.samples import Course, Health, judged
from tests.samplers.problems import GAUSSIAN, ISING, PAIR

PLAIN = "model m(n: int = 2) { latent z : real[n] = 0; energy e = sum(z^2); LINE }"


def _plain(line: str = "sample z") -> ebmlang.api.Model:
    return ebmlang.loads(PLAIN.replace("LINE", line))


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("latent z : real[n]; energy e = sum(z^2) + (z[0] - z[1])^2", "gaussian"),
        ("latent z : real[n]; energy e = sum(z^4)", "nuts"),
        ("latent z : real[n] in [0, 1]; energy e = sum(z^2)", "nuts"),
        ("latent z : real[n] in positive; energy e = sum(z^2)", "nuts"),
        ("latent z : real[n]; energy e = ||z||_1", "nuts"),
        ("latent s : bool[n]; energy e = sum(where(s, 1.0, 0.0))", "ancestral"),
        ("latent s : bool; latent z : real[n]; energy e = where(s, 2.0, 1.0) * sum(z^2)", "gibbs"),
    ],
)
def test_the_sampler_follows_from_what_is_proven(text: str, wanted: str) -> None:
    found = ebmlang.loads(f"model m(n: int = 2) {{ {text} }}").sample(draws=4, warmup=4, chains=2)
    assert found.method == wanted


def test_elimination_that_is_too_wide_gives_way_to_chains() -> None:
    text = """model m(n: int) { shared observed C : real[n, n]; latent s : bool[n]
      for i in 0..n, j in 0..n if i < j { energy pair[i, j] = where(s[i] == s[j], C[i, j], 0) } }"""
    found = ebmlang.loads(text).sample(C=torch.zeros(40, 40), draws=4, warmup=2, chains=2)
    assert found.method == "gibbs"
    assert "so gibbs instead" in found.because


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"using": "nutz"}, "there is no sampler `nutz`\n  try: did you mean `nuts`?"),
        ({"using": "gibbs"}, "gibbs does not fit: the unknowns are real numbers"),
        ({"chains": 0}, "chains is 0, and must be at least 1"),
        ({"warmup": -1}, "warmup is -1, and must not be negative"),
        ({"step": -1.0}, "step is -1, not a positive number"),
        ({"temperature": float("inf")}, "temperature is inf, not a positive number"),
        ({"using": "gaussian", "step": 0.1}, "gaussian takes no step size"),
        ({"start": "here"}, "there is no start `here`\n  try: starts are declared, infer"),
        ({"z": torch.zeros(1, 2)}, "nothing is left to draw: every unknown is given"),
        ({"find": ["w"]}, "the model has no variable `w`"),
        ({"objective": "other"}, "no `sample` line is called `other`"),
    ],
)
def test_what_is_wrong_is_said(options: dict[str, object], words: str) -> None:
    with pytest.raises(DataError) as caught:
        _plain().sample(**options)  # type: ignore[arg-type]
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (
            "latent z : real[3] in SE2; energy e = sum(z)",
            "`z` is in SE2, and no sampler keeps a variable there",
        ),
        ("latent z : real[3] in simplex(2); energy e = sum(z)", "no sampler keeps a variable there"),
        (
            "latent z : real[3]; energy e = sum(z^2); subject to low : sum(z) <= 1",
            "hard constraints are not kept by any sampler (low)",
        ),
        (
            "shared observed C : real[10, 10]; latent p : permutation[10]\n"
            "energy e = sum(C[i, p[i]], over = i in 0..10)",
            "no chain is built for orders and subsets",
        ),
    ],
)
def test_what_no_sampler_keeps_is_refused(body: str, words: str) -> None:
    data = {"C": torch.zeros(10, 10)} if "C :" in body else {}
    with pytest.raises(DataError) as caught:
        ebmlang.loads(f"model m {{ {body} }}").sample(data)
    assert words in str(caught.value)


def test_options_of_the_line_and_of_the_call() -> None:
    model = _plain("sample first: z using hmc(chains = 3, draws = 5, warmup = 7, leapfrogs = 2)")
    assert model.sample()["z"].shape == (1, 3, 5, 2)
    assert model.sample().method == "hmc"
    again = model.sample(objective="first", chains=2, using="mala")
    assert again["z"].shape == (1, 2, 5, 2)
    assert again.method == "mala"


def test_other_latents_are_drawn_along_and_given_ones_are_not() -> None:
    text = "model m { latent a : real = 0; latent b : real = 0; energy e = a^2 + (a - b)^2; sample a }"
    both = ebmlang.loads(text).sample(draws=5)
    assert set(both.values) == {"a", "b"}
    one = ebmlang.loads(text).sample(draws=5, b=torch.tensor([1.0]))
    assert set(one.values) == {"a"}


@pytest.mark.parametrize(
    ("body", "options", "words"),
    [
        ("energy e = (z[0] - z[1])^2", {}, "no law: the energy does not curve along z[0] + z[1]"),
        ("energy e = z[0]^2 - z[1]^2", {}, "no law: the energy curves downwards along z[1]"),
        ("energy e = log(z[0] - 9) + sum(z^2)", {}, "no start: the energy is not finite"),
        ("energy e = 30 * (z[0]^2 - 1)^2 + z[1]^2", {"using": "mala"}, "not mixed: R-hat is "),
        ("energy e = sum(z^4)", {"draws": 2}, "too short to judge: 2 draws in a chain"),
        ("energy e = -sum(z^4)", {"using": "hmc", "step": 1.0, "warmup": 0}, "divergent: "),
    ],
)
def test_rows_that_went_wrong_say_so(body: str, options: dict[str, object], words: str) -> None:
    wanted: dict[str, object] = {"draws": 100, "warmup": 60, "seed": 1, **options}
    found = ebmlang.loads(f"model m {{ latent z : real[2] = 0; {body} }}").sample(**wanted)  # type: ignore[arg-type]
    assert found.status[0].startswith(words)
    assert not bool(found.converged.any())


def test_too_few_effective_draws_are_said() -> None:
    """Halves of four chains with nearly the same values, each in its own order: nothing sets them apart."""
    values = torch.linspace(-1, 1, 90)
    orders = [torch.randperm(45, generator=torch.Generator().manual_seed(k)) for k in range(4)]
    draws = torch.stack([torch.cat((values[::2][o], values[1::2][o])) for o in orders])[None]
    zero = torch.zeros(1, 4)
    course = Course(zero, zero.long(), torch.zeros(1), ("",), torch.tensor([False]), 90, exact=False)
    found = judged({"z": draws}, draws, course)
    assert found.health == (Health.FEW,)
    assert found.status[0].startswith("few effective draws: ")
    assert " of 360 at " in found.status[0]


def test_impossible_rows_of_countable_unknowns_have_no_law() -> None:
    text = "model m { observed a : bool; latent s : bool; energy e = where(s and a, 1.0, inf); sample s }"
    found = ebmlang.loads(text).sample(a=torch.tensor([True, False]), draws=5)
    assert found.status == ("exact: independent draws", "no law: every assignment has the energy inf")
    assert bool(found["s"][0].all())


def test_chains_may_begin_at_the_answer_of_inference() -> None:
    text = "model m { latent z : real = 0; energy e = 1000 * (z - 50)^2; sample z using langevin }"
    model = ebmlang.loads(text)
    near = model.sample(draws=1, warmup=0, step=1e-7, start="infer")["z"]
    far = model.sample(draws=1, warmup=0, step=1e-7)["z"]
    assert float((near - 50).abs().max()) < 5
    assert float((far - 50).abs().min()) > 40


def test_explain_tells_the_sampler_and_its_reason(tmp_path: pytest.TempPathFactory) -> None:
    path = tmp_path / "m.ebm"  # type: ignore[operator]
    path.write_text(GAUSSIAN)
    told = explain_file(path, None, (), None, None, None, None, True)
    assert "draw z" in told
    assert "sampler  gaussian: independent draws from the Gaussian" in told
    assert "not      hmc: it is taken only by name" in told
    path.write_text(ISING.replace("sample s, c", "sample s, c using gibbs"))
    told = explain_file(path, None, (), None, None, None, None, True)
    assert "sampler  gibbs" in told
    assert "because  asked for by name" in told


def test_missing_names_of_draws_list_what_there_is() -> None:
    found = ebmlang.loads(GAUSSIAN).sample(y=PAIR, draws=2)
    with pytest.raises(KeyError, match="no draws of 'x'; there are: z"):
        found["x"]
