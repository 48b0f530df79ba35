"""Chains whose gradient is a kernel of torch.compile go where others go; where none can be, it is said."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

import ebmlang
from ebmlang import cli
from ebmlang.compiler import pipeline
from ebmlang.errors import DataError
from ebmlang.questions import ask_samples
from ebmlang.runtime import functions

RING = """model ring(k: int, sigma: real in positive = 0.5) {
  shared observed M : real[k, 2]
  latent z : real[2] = 0
  energy mixture = -logsumexp(-sum((z[None, ..] - M)^2, over = 1) / (2 * sigma^2))
  sample z
}"""

CENTRES = torch.tensor([[1.0, 0.0], [-0.5, 0.8], [-0.5, -0.8]])

NO_GRADIENT = """model m {
  latent z : real[3]
  net f : real[3] -> real[1] = mlp([4])
  energy e = sum(f(z)^2) + ||z||^2
  sample z
}"""

needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs g++ here")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
@needs_compiler
def test_kernels_lead_chains_where_the_text_does() -> None:
    model = ebmlang.loads(RING)

    def drawn(torch_compile: bool) -> ebmlang.Samples:
        return model.sample(
            M=CENTRES, using="langevin", step=0.05, warmup=0, draws=20, chains=50, torch_compile=torch_compile
        )

    text, kernel = drawn(False), drawn(True)
    assert torch.allclose(text["z"], kernel["z"], atol=1e-4)
    assert torch.allclose(text.energy, kernel.energy, atol=1e-4)
    # Chains of other seeds are apart, so that the comparison says something.
    other = model.sample(M=CENTRES, using="langevin", step=0.05, warmup=0, draws=20, chains=50, seed=1)
    assert not torch.allclose(text["z"], other["z"], atol=0.1)


def test_without_a_compiler_the_call_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(DataError, match=r"needs a C\+\+ compiler"):
        ebmlang.loads(RING).sample(M=CENTRES, draws=2, torch_compile=True)


@needs_compiler
def test_without_a_written_gradient_the_call_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DataError, match="a gradient that is written out"):
        ebmlang.loads(NO_GRADIENT).sample(draws=2, torch_compile=True)
    monkeypatch.chdir(tmp_path)
    Path("m.ebm").write_text(NO_GRADIENT)
    assert cli.main(["sample", "m.ebm", "--draws", "2", "--torch-compile", "--no-progress"]) == 1
    assert "leave torch_compile out" in capsys.readouterr().err


def test_numbers_keep_their_powers() -> None:
    """Powers of plain numbers are what tensors give: inf and NaN instead of errors."""
    cases: list[tuple[float, float]] = [(0.5, 2), (0.0, -1.0), (-8.0, 1 / 3), (10.0, 400.0), (-2.0, 3.0)]
    found = torch.tensor([functions.power(a, b) for a, b in cases], dtype=torch.float64)
    a, b = torch.tensor(cases, dtype=torch.float64).unbind(1)
    assert torch.allclose(found, torch.pow(a, b), rtol=1e-15, equal_nan=True)


def test_a_softmax_alone_needs_no_logarithm() -> None:
    """In the gradient of a mixture; beside the energy the logarithm is there anyway."""
    model = ebmlang.loads(RING)
    asked = ask_samples(model.checked, None, frozenset({"M"}), None, None, frozenset())
    source = pipeline.generate_for(model.compiled(asked, None)[0]).text
    methods = (source.split(f"def {name}(")[1] for name in ("energy_and_gradient", "gradient"))
    beside, alone = (method.split("def ")[0] for method in methods)
    assert "functions.shares(" in alone
    assert "logsumexp" not in alone
    assert "functions.shares(" not in beside
