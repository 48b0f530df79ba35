"""Training of nets: against loops written by hand, with searches inside, averages, dropout, runs on disk."""

from __future__ import annotations

import copy
import itertools
import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import ebmlang
from ebmlang import cli
from ebmlang.compiler.pipeline import check_source
from ebmlang.compiler.source import Source
from tests.nets.programs import net

REGRESSION = """model regression(n: int = 4, d: int = 2) {
  observed x : real[n]
  observed y : real[d]
  net f : real[n] -> real[d] = mlp([8], act = tanh)
  param b : real[d] = 0
  energy fit = ||y - f(x) - b||^2
  train using sgd(lr = 0.05)
}
"""

DECODER = """model decoder(n: int = 5, k: int = 2) {
  observed y : real[n]
  latent z : real[k] = 0
  net dec : real[k] -> real[n] = mlp([6], act = tanh)
  energy fit = ||y - dec(z)||^2
  regularizer small = 0.5 * ||z||^2
  infer z
  train dec using adam(lr = 0.01)
}
"""

EMBEDDING = """model embedding(n: int = 4, d: int = 3) {
  observed x : real[n]
  observed y : real[n]
  net enc : real[n] -> real[d] = mlp([6], act = gelu)
  net pred : real[d] -> real[d] = linear()
  net target : real[n] -> real[d] = ema(enc, decay = 0.9)
  energy prediction = ||pred(enc(x)) - stop(target(y))||^2
  train using sgd(lr = 0.05)
}
"""


def data(**shapes: tuple[int, ...]) -> dict[str, Tensor]:
    rng = np.random.default_rng(2)
    return {name: torch.from_numpy(rng.normal(size=shape)) for name, shape in shapes.items()}


def test_full_batches_equal_a_loop_written_by_hand() -> None:
    values = data(x=(20, 4), y=(20, 2))
    model = ebmlang.loads(REGRESSION, seed=1).bind(values)
    f = copy.deepcopy(net(model, "f"))
    b = nn.Parameter(torch.zeros(2, dtype=torch.float64))
    assert next(f.parameters()).dtype == torch.float64
    history = model.fit(values, epochs=12)
    optimiser = torch.optim.SGD([*f.parameters(), b], lr=0.05)
    losses = []
    for _ in range(12):
        loss = (values["y"] - f(values["x"]) - b).square().sum(-1).mean()
        losses.append(float(loss.detach()))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    np.testing.assert_allclose([r.loss for r in history.records], losses, rtol=1e-12)
    for own, other in zip(net(model, "f").parameters(), f.parameters(), strict=True):
        torch.testing.assert_close(own, other, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(model.value("b"), b, rtol=1e-12, atol=1e-12)


def test_parameters_in_single_precision_learn_from_data_in_double() -> None:
    """Parameters that are used in another precision are taken as they are at every step."""
    values = data(x=(20, 4), y=(20, 2))
    model = ebmlang.loads(REGRESSION).bind({n: v.float() for n, v in values.items()})
    history = model.fit(values, epochs=30, dtype="float64")
    losses = [r.loss for r in history.records]
    assert losses[-1] < 0.9 * losses[0]
    assert all(b < a for a, b in itertools.pairwise(losses[:6]))


def test_the_gradient_with_a_search_inside_is_that_of_the_minimum() -> None:
    """d/dw of min_z E against central differences of the minimum itself."""
    values = data(y=(6, 5))
    model = ebmlang.loads(DECODER, seed=3).bind(values)
    loss = model(**values)
    loss.backward()
    rng = np.random.default_rng(0)
    for p in net(model, "dec").parameters():
        assert p.grad is not None
        way = torch.from_numpy(rng.normal(size=tuple(p.shape)))
        ends = []
        for sign in (1.0, -1.0):
            p.data += sign * 1e-5 * way
            ends.append(float(model.infer(values, tol=1e-11).energy.mean()))
            p.data -= sign * 1e-5 * way
        assert (ends[0] - ends[1]) / 2e-5 == pytest.approx(float((p.grad * way).sum()), rel=1e-4, abs=1e-7)


def test_moving_averages_follow_and_are_not_trained() -> None:
    values = data(x=(16, 4), y=(16, 4))
    model = ebmlang.loads(EMBEDDING, seed=4).bind(values)
    enc, pred, target = (copy.deepcopy(net(model, name)) for name in ("enc", "pred", "target"))
    history = model.fit(values, epochs=6)
    optimiser = torch.optim.SGD([*enc.parameters(), *pred.parameters()], lr=0.05)
    losses = []
    for _ in range(6):
        loss = (pred(enc(values["x"])) - target(values["y"]).detach()).square().sum(-1).mean()
        losses.append(float(loss.detach()))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        with torch.no_grad():
            for shadow, own in zip(target.parameters(), enc.parameters(), strict=True):
                shadow.mul_(0.9).add_(own, alpha=0.1)
    np.testing.assert_allclose([r.loss for r in history.records], losses, rtol=1e-10)
    for own, other in zip(net(model, "target").parameters(), target.parameters(), strict=True):
        torch.testing.assert_close(own, other, rtol=1e-10, atol=1e-12)


def test_a_line_names_the_nets_that_it_trains() -> None:
    text = REGRESSION.replace("train using", "train f using")
    values = data(x=(10, 4), y=(10, 2))
    model = ebmlang.loads(text).bind(values)
    before = net(model, "f")[0].weight.detach().clone()
    model.fit(values, epochs=2)
    assert torch.equal(model.value("b"), torch.zeros(2, dtype=torch.float64))
    assert not torch.equal(net(model, "f")[0].weight, before)
    assert "train f" in cli_text(model)


def cli_text(model: ebmlang.Model) -> str:
    from ebmlang.compiler.dump import dump_model

    return dump_model(model.checked)


def test_frozen_parts_of_a_net_from_outside_stay() -> None:
    body = nn.Linear(4, 3).requires_grad_(False)
    module = nn.Sequential(body, nn.Tanh(), nn.Linear(3, 2))
    text = REGRESSION.replace("net f", "extern net f").replace(" = mlp([8], act = tanh)", "")
    model = ebmlang.loads(text, nets={"f": module})
    before = [p.detach().clone() for p in module.parameters()]
    model.fit(data(x=(10, 4), y=(10, 2)), epochs=2)
    moved = [not torch.equal(a, b) for a, b in zip(before, module.parameters(), strict=True)]
    assert moved == [False, False, True, True]


def test_dropout_is_on_in_training_only() -> None:
    text = """model m(n: int = 30, d: int = 400) {
      observed x : real[n]
      net f : real[n] -> real[n] = mlp([d], act = relu, dropout = 0.25)
      energy fit = ||x - f(x)||^2
      train
    }"""
    values = data(x=(8, 30))
    model = ebmlang.loads(text).bind(values)
    f = net(model, "f")
    plain = (values["x"] - f[3](torch.relu(f[0](values["x"])))).square().sum(-1)
    torch.testing.assert_close(model.energy(values), plain, rtol=1e-10, atol=1e-10)
    first, again = model(**values), model(**values)
    for loss in (first, again):
        assert abs(float(loss.detach()) - float(plain.mean().detach())) > 1e-3
    assert float(first.detach()) != float(again.detach())  # every loss is a new question
    # A mask belongs to its row: rows that are asked for alone have the same one.
    from ebmlang.runtime.layers import THINNING, Thinning

    rows = np.arange(8)
    ones = torch.ones(8, 400, dtype=torch.float64)
    token = THINNING.set(Thinning(0, "f", rows, 1))
    mask = f[2](ones)
    THINNING.reset(token)
    token = THINNING.set(Thinning(0, "f", rows[3:5], 1))
    torch.testing.assert_close(f[2](ones[3:5]), mask[3:5])
    THINNING.reset(token)
    assert set(mask.unique().tolist()) == {0.0, 1 / 0.75}
    assert float((mask == 0).double().mean()) == pytest.approx(0.25, abs=0.03)


def test_a_run_keeps_nets_and_infer_takes_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "m.ebm").write_text(DECODER)
    y = data(y=(9, 5))["y"].float().numpy()
    np.savez(tmp_path / "y.npz", y=y)
    run, words = tmp_path / "run", ["--data", str(tmp_path / "y.npz"), "--no-progress"]
    assert cli.main(["train", str(tmp_path / "m.ebm"), *words, "--epochs", "5", "-o", str(run)]) == 0
    assert json.loads((run / "run.json").read_text())["trained"] == [
        "dec.0.weight", "dec.0.bias", "dec.2.weight", "dec.2.bias",
    ]  # fmt: skip
    out = tmp_path / "z.npz"
    assert cli.main(["infer", str(tmp_path / "m.ebm"), *words, "--params", str(run), "-o", str(out)]) == 0
    capsys.readouterr()
    model = ebmlang.loads(DECODER, seed=0)
    model.fit(y=y, epochs=5)
    np.testing.assert_allclose(np.load(out)["z"], model.infer(y=y)["z"].numpy(), rtol=1e-4, atol=1e-5)


def test_extern_nets_from_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    text = DECODER.replace("net dec", "extern net dec").replace(" = mlp([6], act = tanh)", "")
    Path("m.ebm").write_text(text.replace("infer z", "infer z using lbfgs"))
    Path("my_nets_of_this_test.py").write_text(
        "import torch\n\ndef make():\n    return torch.nn.Linear(2, 5)\n\nnumber = 3\n"
    )
    np.savez("y.npz", y=data(y=(3, 5))["y"].numpy())
    words = ["infer", "m.ebm", "--data", "y.npz", "-o", "z.npz", "--force", "--no-progress", "--bind"]
    assert cli.main([*words, "dec=my_nets_of_this_test:make"]) == 0
    assert np.isfinite(np.load("z.npz")["z"]).all()
    capsys.readouterr()
    for bind, said in (
        ("dec=my_nets_of_this_test", "names no function"),
        ("dec=my_nets_of_this_test:mak", "has no `mak`"),
        ("dec=my_nets_of_this_test:number", "is no function"),
        ("dec=no_such_module_at_all:make", "No module named"),
        ("f=my_nets_of_this_test:make", "no net `f`"),
    ):
        assert cli.main([*words, bind]) == 1
        assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("train target", "it is the average of enc"),
        ("train lonely", "no term depends on it"),
        ("train", "no term depends on it"),
    ],
)
def test_what_cannot_be_trained(line: str, said: str) -> None:
    lines = f"  net lonely : real -> real = linear()\n  {line}"
    text = EMBEDDING.replace("  train using sgd(lr = 0.05)", lines)
    found = check_source(Source("<text>", text)).diagnostics
    assert [d.diagnostic.code for d in found] == ["E0542"]
    assert said in found[0].diagnostic.message() + found[0].diagnostic.label()


def test_a_copy_of_a_model_has_nets_of_its_own() -> None:
    values = data(x=(10, 4), y=(10, 4))
    model = ebmlang.loads(EMBEDDING).bind(values)
    twin = copy.deepcopy(model)
    before = [p.detach().clone() for p in model.parameters()]
    twin.fit(values, epochs=2)
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(before, twin.parameters(), strict=True))
    unmade = copy.deepcopy(ebmlang.loads(EMBEDDING)).bind(values)
    assert net(unmade, "enc") is unmade.get_submodule("enc")


DECAYS = """
model branch(n: int, tau: real = 0.9) {
  observed x : real[n]
  net f : real[n] -> real[3] = linear()
  net g : real[n] -> real[3] = ema(f, decay = 1 - (1 - tau) * exp(-step / 2))
  let code = f(x)
  let slow = g(x)
}
model decays(n: int, tau: real = 0.8) {
  observed x : real[n]
  net f       : real[n] -> real[3] = linear()
  net hyper   : real[n] -> real[3] = ema(f, decay = tau)
  net named   : real[n] -> real[3] = ema(f, rising)
  net written : real[n] -> real[3] = ema(f, decay = linear(0.5, 1, steps = 2))
  net sized   : real[n] -> real[3] = ema(f, 1 - 1 / (n + 1))
  schedule rising = linear(0.2, 0.6, steps = 4)
  use branch(tau = 0.7) as set  with x = x
  use branch            as left with x = x
  net of_part : real[n] -> real[3] = ema(set.f, 0.25)
  energy all = ||f(x) + hyper(x) + named(x) + written(x) + sized(x) + of_part(x)||^2
  energy parts = ||set.code - set.slow - 1||^2 + ||left.code - left.slow + 1||^2
  train using sgd(lr = 0.01)
}"""


def test_decays_that_are_computed() -> None:
    """Each average against its formula, from the nets before and after every step of a run."""
    x = torch.randn(6, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    rates: dict[str, tuple[str, Callable[[int], float]]] = {
        "hyper": ("f", lambda step: 0.8),
        "named": ("f", lambda step: 0.2 + 0.1 * step),
        "written": ("f", lambda step: min(0.5 + 0.25 * step, 1)),
        "sized": ("f", lambda step: 2 / 3),
        "of_part": ("set.f", lambda step: 0.25),
        "set.g": ("set.f", lambda step: 1 - 0.3 * math.exp(-step / 2)),
        "left.g": ("left.f", lambda step: 1 - 0.1 * math.exp(-step / 2)),
    }
    runs = []
    for steps in range(4):
        model = ebmlang.loads(DECAYS, seed=1).bind(x=x)
        if steps:
            model.fit(x=x, steps=steps)
        runs.append({name: value.clone() for name, value in model.state_dict().items()})
    for step, (before, after) in enumerate(itertools.pairwise(runs)):
        for name, (source, rate) in rates.items():
            for kind in ("weight", "bias"):
                own, other = before[f"{name}.{kind}"], after[f"{source}.{kind}"]
                expected = rate(step) * own + (1 - rate(step)) * other
                torch.testing.assert_close(after[f"{name}.{kind}"], expected, msg=f"{name} at {step}")


def test_decays_in_a_loop_of_ones_own() -> None:
    x = torch.randn(6, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    model = ebmlang.loads(DECAYS, seed=1).bind(x=x)
    with pytest.raises(ebmlang.DataError, match=r'computed(?s:.*)after_step\({"hyper.decay": 0.99}\)'):
        model.after_step()
    names = model.nets.computed_decays
    with pytest.raises(ebmlang.DataError, match="between 0 and 1"):
        model.after_step(dict.fromkeys(names, 1.5))
    own, average = (next(model.net(name).parameters()) for name in ("f", "hyper"))
    with torch.no_grad():
        own.add_(1.0)
    before = average.clone()
    model.after_step(dict.fromkeys(names, 0.75))
    torch.testing.assert_close(average, before + 0.25)
