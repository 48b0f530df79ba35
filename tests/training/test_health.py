"""Looks at a run: numbers beside ones computed by hand, and what the rules say of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import ebmlang
from ebmlang import cli
from ebmlang.runtime.training.checkup import effective_rank
from ebmlang.runtime.training.history import History, Record
from ebmlang.runtime.training.rules import RULES
from tests.training.illnesses import ILLNESSES, VIEWS, Illness, digits, points

AUTOENCODER = """model autoencoder(n: int) {
  observed y : real[n]
  net enc : real[n] -> real[6] = mlp([20])
  net dec : real[6] -> real[n] = linear()
  energy fit = ||y - dec(enc(y))||^2
  train using adam(lr = 1e-2)
}
"""


def named(illness: object) -> str:
    assert isinstance(illness, Illness)
    return f"{illness.rule}-{illness.text.split('(')[0].split()[-1]}"


def run(illness: Illness, choice: str) -> History:
    model = ebmlang.loads(illness.text.format(choice), seed=0)
    return model.fit(**illness.data(), **illness.fit, seed=0)


# --- the rules ----------------------------------------------------------------------------------


@pytest.mark.parametrize("illness", ILLNESSES, ids=named)
def test_a_rule_tells_an_ill_run_from_a_well_one(
    illness: Illness, capsys: pytest.CaptureFixture[str]
) -> None:
    ill = run(illness, illness.ill)
    found = [w for w in ill.warnings if (w.rule, w.about) == (illness.rule, illness.about) and not w.over]
    assert len(found) == 1, ill.warnings
    said = capsys.readouterr().err
    assert f"warning[{illness.rule}]: step {found[0].step:,}" in said
    assert "try: " in said
    assert max(map(len, said.splitlines())) <= 80
    well = run(illness, illness.well)
    assert well.warnings == ()
    assert capsys.readouterr().err == ""


def test_every_rule_has_a_run_that_breaks_it() -> None:
    assert {rule.name for rule in RULES} == {illness.rule for illness in ILLNESSES}


def test_a_net_that_no_gradient_reaches_is_said_after_the_first_step() -> None:
    class Cut(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(64, 4)

        def forward(self, x: Tensor) -> Tensor:
            found: Tensor = self.inner(x)
            return found.detach()

    text = """model cut(n: int) {
      observed y : real[n]
      extern net f : real[n] -> real[4]
      net g : real[4] -> real[n] = linear()
      energy fit = ||y - g(f(y))||^2
      train using adam
    }
    """
    history = ebmlang.loads(text, nets={"f": Cut()}).fit(**digits(), steps=3)
    assert [(w.rule, w.about, w.step) for w in history.warnings] == [("vanishing_gradient", "f", 1)]
    assert json.loads(history.json_lines().splitlines()[0])["health"]["gradient.f"] is None


# --- the end by a rule --------------------------------------------------------------------------


def test_a_run_ends_by_a_rule(tmp_path: Path) -> None:
    folder, fit = tmp_path / "run", dict[str, Any]({**ILLNESSES[0].fit, "fail_on": ("collapse",)})
    history = ebmlang.loads(VIEWS.format("0"), seed=0).fit(**digits(), **fit, seed=0, checkpoint=folder)
    assert history.failed_on == "collapse"
    assert history.stopped == f"stopped after step {len(history)} by the warning collapse of enc"
    assert len(history) < 200
    assert [w.name for w in history.warnings] == ["collapse of enc"]
    later = ebmlang.loads(VIEWS.format("0"), seed=0).fit(**digits(), **fit, seed=0, checkpoint=folder)
    assert (later.failed_on, len(later)) == ("collapse", len(history) + 10)
    assert later.warnings == history.warnings
    well = ebmlang.loads(VIEWS.format("25"), seed=0).fit(**digits(), **{**fit, "steps": 60}, seed=0)
    assert (well.failed_on, well.stopped, len(well)) == ("", "", 60)


def test_at_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, data = tmp_path / "m.ebm", tmp_path / "d.npz"
    model.write_text(VIEWS.format("0"))
    np.savez(data, **digits())
    words = ["train", str(model), "--data", str(data), "--steps", "200", "--batch-size", "100"]
    words += ["--health-every", "10", "-o", str(tmp_path / "run")]
    assert cli.main([*words, "--fail-on", "low_rank", "--fail-on", "collapse"]) == 3
    shown = capsys.readouterr()
    assert "warning[collapse]" in shown.err
    assert "by the warning collapse of enc" in shown.out
    assert json.loads((tmp_path / "run" / "run.json").read_text())["warnings"] == ["collapse of enc"]
    records = [json.loads(line) for line in (tmp_path / "run" / "history.jsonl").read_text().splitlines()]
    assert [r["step"] for r in records if "health" in r] == [1, *range(10, len(records) + 1, 10)]
    assert [w["rule"] for r in records for w in r.get("warnings", ())] == ["collapse"]
    assert cli.main([*words, "--fail-on", "colapse"]) == 2
    assert "--fail-on colapse: there is no such rule; did you mean `collapse`?" in capsys.readouterr().err
    assert cli.main([*words, "--health-every", "0", "--fail-on", "any"]) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"fail_on": ("colapse",)}, "there is no rule of health `colapse`\n  try: did you mean `collapse`?"),
        ({"fail_on": "nothing"}, "there is no rule of health `nothing`"),
        ({"fail_on": "any", "health_every": 0}, "a run that is never looked at"),
        ({"health_every": -1}, "health_every is -1, not a whole number of at least 0"),
    ],
)
def test_wrong_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ebmlang.DataError) as error:
        ebmlang.loads(AUTOENCODER).fit(**digits(), steps=1, **arguments)
    assert message in str(error.value)


# --- the numbers --------------------------------------------------------------------------------


def test_spread_gradients_and_units_are_those_of_the_nets() -> None:
    y = torch.from_numpy(digits()["y"])
    model = ebmlang.loads(AUTOENCODER, seed=3).bind(y=y)
    enc, dec = (model.get_submodule(name) for name in ("enc", "dec"))
    with torch.no_grad():
        enc.get_parameter("0.bias")[:5] = -100.0  # units that never fire
    u = enc(y)
    loss = (y - dec(u)).square().sum(-1).mean()
    loss.backward()
    norms = {
        name: torch.cat([p.grad.flatten() for p in net.parameters() if p.grad is not None]).norm().item()
        for name, net in (("enc", enc), ("dec", dec))
    }
    singular = np.linalg.svd((u - u.mean(0)).detach().numpy(), compute_uv=False)
    share = singular / singular.sum()
    seen = model.fit(y=y, steps=1).records[0].health
    assert seen["std.enc"] == pytest.approx(u.std(0).mean().item(), rel=1e-6)
    assert seen["least_std.enc"] == pytest.approx(u.std(0).min().item(), rel=1e-6)
    assert seen["rank.enc"] == pytest.approx(np.exp(-(share * np.log(share)).sum()), rel=1e-6)
    assert seen["gradient.enc"] == pytest.approx(norms["enc"], rel=1e-6)
    assert seen["gradient.dec"] == pytest.approx(norms["dec"], rel=1e-6)
    assert seen["stuck.enc"] == pytest.approx(5 / 20)
    assert "std.dec" not in seen  # a reconstruction may be as constant as the data


def test_an_effective_rank_alone_prefers_the_collapsed_encoder() -> None:
    noise = torch.randn(200, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    spread = noise * torch.logspace(0, -1.5, 16, dtype=torch.float64)
    collapsed = 1 + 1e-6 * noise
    assert effective_rank(collapsed) > effective_rank(spread) > 1
    assert effective_rank(torch.ones(200, 16)) == 0.0
    assert effective_rank(noise[:, :1] @ noise[:1]) == pytest.approx(1.0, abs=1e-4)


def test_energies_of_data_and_negatives() -> None:
    text = """model contrast() {
      observed y : real[2]
      random u : real[2] ~ normal(0, 3)
      param m : real[2] = 1
      energy e = 1/2 * ||y - m||^2
      train by info_nce(y, noise = u) using sgd(lr = 0.1)
    }
    """
    y = torch.from_numpy(points()["y"])
    seen = ebmlang.loads(text).fit(y=y, steps=1, seed=0).records[0].health
    energy = 0.5 * (y - 1).square().sum(-1)
    assert seen["data_energy"] == pytest.approx(energy.mean().item())
    assert seen["energy_std"] == pytest.approx(energy.std(correction=0).item())
    # u - m is normal with deviation 3 around -1: the mean energy is 3^2 + 1.
    bound = 5 * np.sqrt(0.5 * (2 * 81 + 2 * 9 * 2) / len(y))
    assert seen["negative_energy"] == pytest.approx(10.0, abs=bound)
    assert seen["gap"] == pytest.approx(seen["negative_energy"] - seen["data_energy"])


def test_codes_are_counted_over_looks() -> None:
    text = """model means() {
      observed y : real
      latent c : class[4]
      param M : real[4] = 0
      energy distance = (y - M[c])^2
      infer c
      train M using sgd(lr = 1e-6)
    }
    """
    model = ebmlang.loads(text).bind(y=np.zeros(3))
    with torch.no_grad():
        model.value("M").copy_(torch.tensor([0.0, 1.0, 2.0, 50.0]))
    y = np.repeat([0.0, 1.0, 2.0], 20)
    found = model.fit(y=y, steps=4, health_every=1)["unused.c"]
    # A case is dead when 16 rows for each of the 4 have passed without it: 60 a step.
    assert found.tolist() == [0.0, 0.25, 0.25, 0.25]


# --- looking changes nothing --------------------------------------------------------------------


def test_the_run_is_the_same_however_often_it_is_looked_at() -> None:
    runs = {}
    for every in (0, 3):
        model = ebmlang.loads(VIEWS.format("25"), seed=0)
        history = model.fit(**digits(), steps=8, batch_size=50, seed=0, health_every=every)
        runs[every] = (list(history.loss), model.get_parameter("enc.0.weight").detach().clone())
        assert [r.step for r in history if r.health] == ([1, 3, 6] if every else [])
    assert runs[0][0] == runs[3][0]
    assert torch.equal(runs[0][1], runs[3][1])


def test_a_run_that_goes_on_is_looked_at_as_if_it_had_not_been_cut(tmp_path: Path) -> None:
    illness = next(i for i in ILLNESSES if i.rule == "saturation")
    fit: dict[str, Any] = {**illness.fit, "seed": 0, "steps": 70}

    def cut(record: Record, steps: int | None) -> None:
        if record.step == 25:
            raise KeyboardInterrupt

    def model() -> ebmlang.Model:
        return ebmlang.loads(illness.text.format(illness.ill), seed=0)

    whole = model().fit(**illness.data(), **fit)
    kept: dict[str, Any] = {"checkpoint": tmp_path / "run", "checkpoint_every": 7}
    with pytest.raises(KeyboardInterrupt):
        model().fit(**illness.data(), **fit, **kept, progress=cut)
    later = model().fit(**illness.data(), **fit, **kept)
    assert [(r.health, r.warnings) for r in later] == [(r.health, r.warnings) for r in whole]
    assert whole.warnings


def test_columns_and_json() -> None:
    history = ebmlang.loads(AUTOENCODER, seed=0).fit(**digits(), steps=4, health_every=2)
    column = history["std.enc"]
    assert np.isnan(column).tolist() == [False, False, True, False]
    assert history["health.std.enc"].tolist() == pytest.approx(column.tolist(), nan_ok=True)
    back = [Record.of_json(json.loads(line)) for line in history.json_lines().splitlines()]
    assert [r.health for r in back] == [r.health for r in history]
    with pytest.raises(KeyError, match=r"std\.enc"):
        history["std.encoder"]
