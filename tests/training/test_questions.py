"""What a `train` line means, and what is refused, with its place."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import ebmlang
from ebmlang import DataError, ModelError
from tests.training import programs


def rows(count: int, *shape: int, seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(count, *shape)))


def refused(text: str, data: dict[str, object] | None = None, **course: object) -> str:
    with pytest.raises(ModelError) as caught:
        ebmlang.loads(text).fit(data or {"y": np.ones((4, 2))}, **course)  # type: ignore[arg-type]
    return str(caught.value)


# --- roles --------------------------------------------------------------------------------------

WORLD = """model world(n: int) {
  observed s : real[n]
  observed next : real[n]
  observed goal : real[n]
  latent   a : real[n] = 0
  latent   q : real[n]
  param A : real[n, n] = 0.1 * normal()
  energy dynamics = ||next - A @ s - a||^2
  regularizer effort = ||a||^2
  cost   distance = ||A @ s + q - goal||^2
  infer a
  train A using sgd(lr = 0.1)
}
"""


def test_costs_are_left_out_and_do_not_need_what_only_they_read() -> None:
    s, following = rows(12, 3), rows(12, 3, seed=1)
    m = ebmlang.loads(WORLD).bind(s=s, next=following, goal=s)
    (a,) = (m.value("A").detach().clone(),)
    # min_a |r - a|^2 + |a|^2 = |r|^2 / 2
    want = (following - s @ a.T).square().sum(1).mean() / 2
    history = m.fit(s=s, next=following, steps=1)
    assert history.loss[0] == pytest.approx(float(want), rel=1e-10)
    assert history.names == ("dynamics", "effort")


def test_a_step_size_follows_its_schedule_where_costs_are_left_out() -> None:
    s, following = rows(12, 3), rows(12, 3, seed=1)
    text = WORLD.replace("sgd(lr = 0.1)", "sgd(lr = rate)").replace(
        "infer a", "schedule rate = linear(0.1, 0, steps = 2)\n  infer a"
    )
    found = []
    for written in (text, text.replace("linear(0.1, 0, steps = 2)", "piecewise([0.1, 0.05], at = [1])")):
        m = ebmlang.loads(written, seed=0).bind(s=s, next=following, goal=s)
        m.fit(s=s, next=following, steps=2)
        found.append(m.value("A").detach().clone())
    assert torch.equal(*found)


def test_a_latent_that_is_given_is_not_sought() -> None:
    s, following, a = rows(12, 3), rows(12, 3, seed=1), rows(12, 3, seed=2)
    m = ebmlang.loads(WORLD).bind(s=s, next=following, goal=s)
    start = m.value("A").detach().clone()
    want = (following - s @ start.T - a).square().sum(1) + a.square().sum(1)
    assert m(s=s, next=following, a=a).item() == pytest.approx(float(want.mean()), rel=1e-10)


OF = """model weighted(n: int) {
  observed y : real[n]
  param W : real[n] = normal()
  energy fit = ||y - W||^2
  cost size = sum(abs(W))
  train plain: W
  train both: W of 3 * fit + size
}
"""


def test_of_is_any_objective() -> None:
    y = rows(10, 4)
    m = ebmlang.loads(OF).bind(y=y)
    w = m.value("W").detach()
    fit, size = (y - w).square().sum(1).mean(), w.abs().sum()
    assert m(y=y, objective="both").item() == pytest.approx(float(3 * fit + size), rel=1e-10)
    assert m(y=y, objective="plain").item() == pytest.approx(float(fit), rel=1e-10)
    with pytest.raises(DataError, match="2 `train` lines"):
        m(y=y)
    with pytest.raises(DataError, match="no `train` line `bth`") as caught:
        m.fit(y=y, objective="bth")
    assert "both" in caught.value.hint


def test_parameters_that_are_not_trained_stay() -> None:
    y = rows(30, 5)
    text = programs.AUTOENCODER.replace("train using", "train W using")
    m = ebmlang.loads(text, k=2).bind(y=y)
    w, v = (m.value(n).detach().clone() for n in ("W", "V"))
    m.fit(y=y, epochs=3)
    assert torch.equal(m.value("V"), v)
    assert not torch.equal(m.value("W"), w)


def test_training_goes_on_from_where_it_is() -> None:
    y = rows(30, 5)
    one, two = (ebmlang.loads(programs.AUTOENCODER, k=2) for _ in range(2))
    whole = one.fit(y=y, epochs=4, using="adam")
    first = two.fit(y=y, epochs=2, using="adam")
    again = two.fit(y=y, epochs=2, using="adam")
    assert list(first.loss) == list(whole.loss[:2])
    assert again.loss[0] == whole.loss[2]


def test_numbers_are_float32_unless_somebody_says() -> None:
    y = rows(8, 5)
    m = ebmlang.loads(programs.AUTOENCODER, k=2)
    m.fit(y=y.numpy(), epochs=1)
    assert m.value("W").dtype == torch.float32
    m.fit(y=y, epochs=1)  # existing parameters decide
    assert m.value("W").dtype == torch.float32
    wide = ebmlang.loads(programs.AUTOENCODER, k=2)
    wide.fit(y=y.numpy(), epochs=1, dtype="float64")
    assert wide.value("W").dtype == torch.float64


def test_missing_entries_are_found_inside() -> None:
    y = rows(20, 4)
    y[::3, 1] = torch.nan
    text = """model gaps(n: int) {
      observed y : real[n] missing
      param W : real[n] = normal()
      energy fit = ||y - W||^2
      train using sgd(lr = 0.3)
    }"""
    m = ebmlang.loads(text)
    history = m.fit(y=y, epochs=300, batch_size=None)
    np.testing.assert_allclose(m.value("W").detach(), np.nanmean(y.numpy(), 0), atol=1e-6)
    want = np.nansum((y.numpy() - np.nanmean(y.numpy(), 0)) ** 2) / 20
    assert history.loss[-1] == pytest.approx(want, rel=1e-6)


FREE = """model both(n: int, k: int = 2) {
  observed y : real[n]
  latent c : class[k]
  latent z : real[n]
  param M : real[k, n] = normal()
  energy fit = ||y - z||^2
  energy near = ||z - M[c]||^2
  marginalize c
  infer z
  train M
}
"""


def test_a_minimum_after_a_sum() -> None:
    """F = min_z -log sum_c exp(-E): its gradient is that of finite differences."""
    y = rows(6, 2, seed=3)
    m = ebmlang.loads(FREE).bind(y=y)
    loss = m(y=y)
    loss.backward()
    gradient = m.value("M").grad
    assert gradient is not None
    for at in ((0, 0), (1, 1)):
        ends = []
        for step in (1e-5, -1e-5):
            with torch.no_grad():
                m.value("M")[at] += step
            ends.append(m(y=y).item())
            with torch.no_grad():
                m.value("M")[at] -= step
        assert float(gradient[at]) == pytest.approx((ends[0] - ends[1]) / 2e-5, abs=1e-5)


# --- a module of torch --------------------------------------------------------------------------


def test_the_model_is_a_module_like_others() -> None:
    x = rows(20, 3)
    t = x.sum(1)
    m = ebmlang.loads(programs.LINEAR).bind(x=x, t=t)
    optimiser = torch.optim.SGD(m.parameters(), lr=0.05)
    losses = []
    for _ in range(5):
        optimiser.zero_grad()
        loss = m(x=x, t=t)
        loss.backward()
        losses.append(loss.item())
        optimiser.step()
    twin = ebmlang.loads(programs.LINEAR).bind(x=x, t=t)
    history = twin.fit(x=x, t=t, using="sgd", lr=0.05, epochs=5)
    np.testing.assert_allclose(history.loss, losses, rtol=1e-12)
    assert torch.equal(twin.value("W"), m.value("W"))


def test_a_copy_is_trained_by_itself() -> None:
    y = rows(12, 4)
    m = ebmlang.loads(programs.DICTIONARY, k=5).bind(y=y)
    before = m(y=y).item()
    twin = copy.deepcopy(m)
    assert twin(y=y).item() == before
    twin.fit(y=y, epochs=5)
    assert m(y=y).item() == before
    assert twin(y=y).item() < before
    m.load_state_dict(twin.state_dict())
    assert m(y=y).item() == twin(y=y).item()


def test_draws_of_the_loss() -> None:
    text = """model noisy(n: int) {
      observed y : real[n]
      random eps : real[n] ~ normal()
      param W : real[n]
      energy fit = ||y + eps - W||^2
    }"""
    y = rows(5, 2)
    m = ebmlang.loads(text).bind(y=y)
    assert m(y=y).item() != m(y=y).item()
    assert m(y=y, seed=3).item() == m(y=y, seed=3).item() != m(y=y, seed=4).item()
    m.eval()
    assert m(y=y).item() == m(y=y).item()


# --- what is refused ----------------------------------------------------------------------------


def test_nothing_to_train() -> None:
    shown = refused("model m(n: int) { observed y : real[n]; latent z : real[n]; energy e = ||y - z||^2 }")
    assert "<text>:1:1: error[E0541]" in shown


REFUSED = {
    "another energy inside": (
        "infer z of fit\n train W",
        "error[E0901]: training through `infer z of fit`",
    ),
    "an objective of its own": ("infer z\n train W of fit", "error[E0901]: training `of` something while z"),
    "a loss": ("train W by score_matching(y)", "error[E0545]: `score_matching` does not fit: `z` would"),
    "a constraint": (
        "subject to limit : sum(z * W) <= 1\n train W",
        "error[E0901]: training what the constraint `limit`",
    ),
}


@pytest.mark.parametrize(("lines", "words"), REFUSED.values(), ids=REFUSED)
def test_what_would_make_the_gradient_wrong(lines: str, words: str) -> None:
    text = f"""model m(n: int) {{
 observed y : real[n]
 latent z : real[n]
 param W : real[n] = normal()
 energy fit = ||y - W * z||^2
 energy size = ||z||^2
 {lines}
}}"""
    assert words in refused(text)


def test_a_domain_that_moves_with_a_parameter() -> None:
    text = """model m(n: int) {
      observed y : real[n]
      param W : real = 1
      random eps : real ~ normal(0, W)
      latent z : real[n] in [0, abs(eps)]
      energy fit = ||y - z||^2 + W^2
    }"""
    assert "training what the domain of `z` depends on" in refused(text)


def test_a_search_of_all_examples_with_another_weight() -> None:
    text = """model m(n: int) {
      observed y : real[n]
      latent z : real[n] per batch
      param W : real[n] = 1
      energy fit = ||y - W * z||^2
      regularizer size = ||z||^2
      infer z
    }"""
    assert "error[E0901]: training while all examples search z together" in refused(text)


BAD = {
    "unknown optimiser": ({"using": "adan"}, "there is no optimiser `adan`"),
    "no step size": ({"lr": -1.0}, "the option `lr` of adam is -1.0"),
    "no epochs": ({"epochs": 0}, "epochs is 0"),
    "half a batch": ({"batch_size": 0.5}, "batch_size is 0.5"),
    "batches for lbfgs": ({"using": "lbfgs", "batch_size": 4}, "lbfgs looks at all rows"),
}


@pytest.mark.parametrize(("course", "words"), BAD.values(), ids=BAD)
def test_arguments_that_are_wrong(course: dict[str, object], words: str) -> None:
    with pytest.raises(DataError) as caught:
        ebmlang.loads(programs.LINEAR).fit(x=rows(9, 2), t=rows(9), **course)  # type: ignore[arg-type]
    assert words in caught.value.message
    assert caught.value.hint


def test_data_that_is_wrong() -> None:
    m = ebmlang.loads(programs.LINEAR)
    x, t = rows(9, 2), rows(9)
    with pytest.raises(DataError, match="no examples"):
        m.fit(x=x[:0], t=t[:0])
    broken = x.clone()
    broken[7, 1] = torch.nan
    with pytest.raises(DataError, match="`x`"):
        m.fit(x=broken, t=t, batch_size=3)
    with pytest.raises(DataError, match="numbers of examples differ"):
        m.fit(x=x, t=t[:5])
    m.fit(x=x, t=t, epochs=1)
    with pytest.raises(DataError, match="`W` is declared"):
        m.fit(x=rows(9, 3), t=t)
    with pytest.raises(DataError, match="given and to be trained"):
        m.fit(x=x, t=t, W=np.zeros(2))
    m.value("b").requires_grad_(False)
    with pytest.raises(DataError, match="`b` is frozen"):
        m.fit(x=x, t=t)


def test_lbfgs_by_the_caller_meets_the_domains(tmp_path: Path) -> None:
    text = programs.DICTIONARY
    with pytest.raises(ModelError, match="E0543"):
        ebmlang.loads(text, k=3).fit(y=rows(5, 2), using="lbfgs")


def test_a_search_of_all_examples_with_the_weight_of_the_loss() -> None:
    """Where every term is one per example, the sum and the mean have the same minimum."""
    y = rows(11, 3, seed=4)
    text = """model m(n: int) {
      observed y : real[n]
      latent z : real[n] per batch
      param W : real[n] = 1
      energy fit = ||y - W * z||^2 + 0.1 * ||W||^2
      infer z
    }"""
    m = ebmlang.loads(text).bind(y=y)
    want = (y - y.mean(0)).square().sum(1).mean() + 0.3
    assert m(y=y).item() == pytest.approx(float(want), rel=1e-9)


def test_what_cannot_move_is_said_before_the_first_step() -> None:
    text = """model m(n: int) {
      observed y : real[n]
      extern net f : real[n] -> real[n]
      param w : real[n]
      energy e = ||f(y) - w||^2
    }"""
    frozen = torch.nn.Linear(2, 2).double().requires_grad_(False)
    with pytest.raises(DataError, match="nothing to move in the net `f`"):
        ebmlang.loads(text, nets={"f": frozen}).fit(y=rows(4, 2), steps=1)
    y = rows(4, 2)
    y[3, 1] = torch.nan
    with pytest.raises(DataError, match=r"`y` holds 1 NaN in 8 entries, the first in row 3, entry \[1\]"):
        ebmlang.loads(text, nets={"f": torch.nn.Linear(2, 2).double()}).fit(y=y, steps=1)


def test_what_a_gradient_cannot_reach() -> None:
    text = """model m(n: int) {
      observed y : real[n]
      param W : real[n]
      param V : real[n]
      let target = stop(W)
      energy fit = ||y - V - target||^2
    }"""
    assert "`W` cannot be trained: its gradient is stopped wherever the loss reads it" in refused(text)
    ebmlang.loads(text.replace("energy fit", "train V\n energy fit")).fit(y=rows(4, 2), steps=1)
