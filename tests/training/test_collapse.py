"""What the compiler says about collapse, against runs that do collapse and runs that do not."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

import ebmlang
from ebmlang.compiler import pipeline, typed
from ebmlang.compiler.collapse.verdict import Verdict, verdict_of
from ebmlang.compiler.source import Source
from ebmlang.explaining import explain_file
from tests.training.architectures import COLLAPSING, SAFE, Architecture


def named(architecture: object) -> str:
    assert isinstance(architecture, Architecture)
    return architecture.name.replace(" ", "_")


def checked(text: str) -> tuple[typed.Model, list[str]]:
    found = pipeline.check_source(Source("<text>", text))
    assert not found.failed, found.diagnostics
    return found.models[-1], [d.diagnostic.code for d in found.diagnostics]


def verdict(text: str) -> Verdict | None:
    model, _ = checked(text)
    line = next((q for q in model.questions if q.verb == "train"), None)
    with pipeline.room_for_passes():
        return verdict_of(model, line)


@pytest.mark.parametrize("architecture", COLLAPSING, ids=named)
def test_collapse_is_named(architecture: Architecture) -> None:
    found = verdict(architecture.text)
    assert found is not None
    assert found.because == ""
    assert (found.constant, found.minimal) == (architecture.constant, architecture.minimal)
    assert "W0544" in checked(architecture.text)[1]


@pytest.mark.parametrize("architecture", SAFE, ids=named)
def test_nothing_is_claimed_of_safe_ones(architecture: Architecture) -> None:
    found = verdict(architecture.text)
    assert found is not None
    assert architecture.because in found.because
    assert not found.collapses
    assert "W0544" not in checked(architecture.text)[1]


@pytest.mark.parametrize("architecture", [a for a in COLLAPSING if a.steps], ids=named)
def test_training_does_collapse(architecture: Architecture) -> None:
    before, after = spreads(architecture)
    assert before > 0.05
    assert after < 0.15 * before


@pytest.mark.parametrize("architecture", [a for a in SAFE if a.steps], ids=named)
def test_training_does_not_collapse(architecture: Architecture) -> None:
    before, after = spreads(architecture)
    assert after > 0.8 * before > 0


def spreads(architecture: Architecture) -> tuple[float, float]:
    """How far the representation of 128 examples is spread out before and after training."""
    made = torch.Generator().manual_seed(0)
    x = torch.randn(128, 6, generator=made)
    values = {"x": x, "y": x + 0.3 * torch.randn(128, 6, generator=made)}
    m = ebmlang.loads(architecture.text, seed=0)
    data = {name: value for name, value in values.items() if name in m.ranks}
    m.bind(data)
    before = spread(represented(m, architecture, x))
    m.fit(data, steps=architecture.steps, lr=architecture.lr)
    return before, spread(represented(m, architecture, x))


def spread(value: Tensor) -> float:
    return float(value.std(0).mean())


@torch.no_grad()
def represented(m: ebmlang.Model, architecture: Architecture, x: Tensor) -> Tensor:
    match architecture.representation:
        case "enc":
            return _tensor(m.net("enc")(x))
        case "directions":
            return torch.nn.functional.normalize(m.net("enc")(x), dim=-1)
    return x @ m.value(architecture.representation).T


def _tensor(value: object) -> Tensor:
    assert isinstance(value, Tensor)
    return value


@pytest.mark.parametrize(
    ("component", "bound", "because"),
    [
        ("", "", ""),
        ("vicreg", "u = enc(x), v = enc(y)", "`guard.first.variance` looks at all examples together"),
        ("spread", "u = enc(x)", "`guard.variance` looks at all examples together"),
        ("barlow_twins", "u = enc(x), v = enc(y)", "`guard.invariance` looks at all examples together"),
        ("info_nce", "u = enc(x), v = enc(y)", "no lower bound of `guard.contrast` is proven"),
    ],
)
def test_components_of_the_library_forbid_it(component: str, bound: str, because: str) -> None:
    use = f"use {component} as guard with {bound}" if component else ""
    text = f"""{f"import std.{component}" if component else ""}
model m(n: int) {{
  observed x : real[n]
  observed y : real[n]
  net enc : real[n] -> real[4] = mlp([16], act = gelu)
  energy same = ||enc(x) - enc(y)||^2
  {use}
  train
}}"""
    found = verdict(text)
    assert found is not None
    assert found.collapses is (component == "")
    assert because in found.because
    assert ("W0544" in checked(text)[1]) is found.collapses


@pytest.mark.parametrize("architecture", COLLAPSING, ids=named)
def test_no_weights_are_below_constants(architecture: Architecture) -> None:
    """The claim itself: with weights of 0 and one bias for all, the loss is not above that of any weights."""
    made = torch.Generator().manual_seed(1)
    x = torch.randn(24, 6, generator=made, dtype=torch.float64)
    values = {"x": x, "y": x + torch.randn(24, 6, generator=made, dtype=torch.float64)}
    if architecture.name == "world model":
        values["x"] = torch.randn(24, 5, 6, generator=made, dtype=torch.float64)
    losses = []
    for seed in range(3):
        m = ebmlang.loads(architecture.text, seed=seed)
        data = {name: value for name, value in values.items() if name in m.ranks}
        m.bind(data).double()
        losses.append(m(data).item())
    constants = [m_with_constants(m, bias)(data).item() for bias in (0.0, 1.0)]
    least = min(value for value in constants if value == value)
    assert least <= min(losses) + 1e-12
    assert max(losses) > least + 1e-6


@torch.no_grad()
def m_with_constants(m: ebmlang.Model, bias: float) -> ebmlang.Model:
    """The model with every last layer, and every matrix, at 0, and these biases."""
    for net in m.checked.nets:
        last = [module for module in m.net(net.name).modules() if isinstance(module, torch.nn.Linear)][-1]
        last.weight.zero_()
        if last.bias is not None:
            last.bias.fill_(bias)
    for name, parameter in m.declared_parameters().items():
        parameter.fill_(0.0 if m.ranks[name][0] > 1 else bias)
    return m


def test_models_without_data_are_not_judged() -> None:
    assert verdict("model m(n: int) { param w : real[n] = normal()\n energy e = ||w||^2\n train }") is None


def test_constraints_are_not_judged() -> None:
    linear = next(a for a in COLLAPSING if a.name == "linear maps")
    text = linear.text.replace("energy same", "subject to wide : sum(W) >= 1\n  energy same")
    assert verdict(text) is None


def test_explain_says_so(tmp_path: Path) -> None:
    """Beside the method of training: which terms, or what stands against it."""
    said = {}
    for architecture in (COLLAPSING[0], SAFE[0]):
        path = tmp_path / "m.ebm"
        path.write_text(architecture.text, encoding="utf-8")
        said[architecture.name] = " ".join(
            explain_file(path, None, (), None, None, None, None, everything=True).split()
        )
    assert (
        "collapse possible: where enc does not depend on the data, same cannot be lower"
        in said["joint embedding"]
    )
    assert "collapse nothing says that constants are best: `variance` looks at" in said["vicreg"]
