"""What is wrong with a model or its data is said before the first step, at the command line and in Python."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ebmlang
from ebmlang import cli

LINE = """model line(n: int) {
  observed y : real[n]
  observed t : real
  param w : real[n]
  param b : real
  energy fit = (t - dot(w, y) - b)^2
  train%s
}
"""

SPINS = """model spins(n: int) {
  observed y : bool[n]
  param w : real[n]
  energy e = dot(w, y)
  train by %s
}
"""

NETS = """model nets(n: int) {
  observed y : real[n]
  net f : real[n] -> real[2] = linear()
  net g : real[2] -> real[n] = linear()
  energy e = %s
  train
}
"""


def reals(**changes: Any) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    return {"y": rng.normal(size=(20, 4)), "t": rng.normal(size=20), **changes}


def holding(value: float, *places: tuple[int, int]) -> np.ndarray[Any, Any]:
    y = np.ones((20, 4))
    for place in places:
        y[place] = value
    return y


SPIN = {"y": np.random.default_rng(1).random((20, 4)) < 0.5}

REFUSED: tuple[tuple[str, str, dict[str, Any], tuple[str, ...]], ...] = (
    ("score matching of bits", SPINS % "score_matching(y)", SPIN, ("E0545", "by ratio_matching(y)")),
    (
        "negatives without a sampler", SPINS % "contrastive_divergence(y)", SPIN,
        ("E0545", "needs `sampler`", "sampler = gibbs(steps = 1)"),
    ),
    ("a net behind stop", NETS % "||y - g(stop(f(y)))||^2", reals(), ("E0542", "`f` cannot be trained")),
    ("no variable", LINE % "", {"t": np.ones(20)}, ("`y`",)),
    ("no rows", LINE % "", reals(y=np.ones((0, 4)), t=np.ones(0)), ("the data holds no examples",)),
    (
        "NaN", LINE % "", reals(y=holding(np.nan, (1, 2), (1, 3), (7, 2))),
        ("`y` holds 3 NaN in 80 entries, the first in row 1, entry [2]; in rows 1, 7, entries [2], [3]",),
    ),
    (
        "NaN of a number", LINE % "", reals(t=np.where(np.arange(20) % 2, np.nan, 1.0)),
        ("`t` holds 10 NaN in 20 entries, the first in row 1; in rows 1, 3, 5, 7, 9 and 5 more",),
    ),
)  # fmt: skip


@pytest.mark.parametrize(("text", "data", "words"), [c[1:] for c in REFUSED], ids=[c[0] for c in REFUSED])
def test_it_is_refused(
    text: str,
    data: dict[str, Any],
    words: tuple[str, ...],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(ebmlang.EbmError) as error:
        given = {name: value for name, value in data.items() if f"observed {name} " in text}
        ebmlang.loads(text).fit(given, steps=2)
    assert all(word in str(error.value) for word in words), str(error.value)
    (tmp_path / "m.ebm").write_text(text)
    np.savez(tmp_path / "d.npz", **data)
    command = [
        "train",
        str(tmp_path / "m.ebm"),
        "--data",
        str(tmp_path / "d.npz"),
        "-o",
        str(tmp_path / "run"),
    ]
    assert cli.main(command) == 1
    said = capsys.readouterr().err
    assert all(word in said for word in words), said
    assert not (tmp_path / "run").exists()


def test_a_parameter_that_no_line_names_is_said_before_the_first_step(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, data = tmp_path / "m.ebm", tmp_path / "d.npz"
    model.write_text(LINE % " w using adam")
    np.savez(data, **reals())
    assert cli.main(["train", str(model), "--data", str(data), "--steps", "2"]) == 0
    said = capsys.readouterr().err
    assert "m.ebm:5:3: warning[W0546]: no `train` line moves `b`: it stays as it starts" in said
    assert "try: train w, b" in said
    model.write_text(LINE % "")
    assert cli.main(["train", str(model), "--data", str(data), "--steps", "2"]) == 0
    assert capsys.readouterr().err == ""


def test_a_prediction_trains_what_the_others_leave() -> None:
    """An `amortize` line moves what no term reads: nothing is left over, and nothing is said."""
    text = """model codes(n: int) {
      observed y : real[n]
      latent z : real[2]
      param D : real[n, 2] = normal()
      net enc : real[n] -> real[2] = linear()
      energy fit = ||y - D @ z||^2 + ||z||^2
      infer z
      amortize z = enc(y) by regression
      train D
    }
    """
    from ebmlang.compiler.pipeline import check_source
    from ebmlang.compiler.source import Source

    assert not check_source(Source("m.ebm", text)).diagnostics
    (found,) = check_source(Source("m.ebm", text.replace("train D\n", "\n"))).diagnostics
    assert found.diagnostic.code == "W0546"


def test_infinite_data_is_named_where_the_loss_is_not_finite() -> None:
    history = ebmlang.loads(LINE % "").fit(**reals(y=holding(np.inf, (2, 1))), steps=3)
    assert history.stopped.endswith("; `y` is infinite in 1 of 80 entries, the first in row 2, entry [1]")
