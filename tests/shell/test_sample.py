"""`ebmlang sample`: what it prints, what it writes, and how it ends."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from ebmlang import cli

MODEL = """model m(n: int) {
  observed y : real[n]
  latent z : real[n] = 0
  latent s : bool
  energy near = 1/2 * ||z - y||^2
  energy odd = where(s, 1.0, 0.0)
  sample z
  sample both: z, s
}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m.ebm").write_text(MODEL)
    np.savez(tmp_path / "d.npz", y=np.array([[1.0, -2.0], [0.0, 3.0], [5.0, 5.0]]))
    return tmp_path


def _run(*words: str) -> int:
    return cli.main(["sample", "m.ebm", "--data", "d.npz", "--no-progress", *words])


def test_the_summary_fits_eighty_columns(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _run("--draws", "100", "--warmup", "20", "--chains", "2", "-o", "out.npz") == 0
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= 80
    assert "m.ebm: 3 rows from d.npz" in shown
    assert "the largest R-hat" in shown
    assert "written   out.npz" in shown
    with np.load(folder / "out.npz") as out:
        assert out["z"].shape == (3, 2, 100, 2)
        assert out["s"].shape == (3, 2, 100)
        assert out["energy"].shape == (3, 2, 100)
        assert out["rhat.z"].shape == out["ess_bulk.z"].shape == out["ess_tail.z"].shape == (3, 2)
        assert out["acceptance"].shape == out["divergences"].shape == (3, 2)
        assert out["status"].shape == out["converged"].shape == out["step"].shape == (3,)
        assert abs(out["z"][0].mean((0, 1)) - [1.0, -2.0]).max() < 0.5


def test_a_row_of_its_own_shows_its_entries(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez(folder / "one.npz", y=np.array([[1.0, -2.0]]))
    assert (
        cli.main(["sample", "m.ebm", "--data", "one.npz", "--draws", "50", "--warmup", "10", "--no-progress"])
        == 0
    )
    shown = capsys.readouterr().out
    assert "z[0]" in shown
    assert "z[1]" in shown


def test_the_summary_as_json(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _run("--json", "--draws", "200", "--find", "z", "--given", "y,s", "--seed", "3") == 1
    capsys.readouterr()
    assert _run("--json", "--draws", "50", "--warmup", "10", "--temperature", "4") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["rows"] == found["good"] == 3 or found["failures"]
    assert found["beta"] == 0.25
    assert found["method"] == "gibbs"
    assert set(found["quantities"]) == {"z", "s", "energy"}
    assert set(found["quantities"]["z"]) == {"mean", "deviation", "rhat", "ess_bulk", "ess_tail"}


def test_strict_exits_with_3_where_a_diagnostic_fails(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run("--strict", "--draws", "2", "--warmup", "2") == 3
    assert "too short to judge" in capsys.readouterr().out
    assert _run("--draws", "2", "--warmup", "2") == 0


def test_the_same_seed_writes_the_same_draws(folder: Path) -> None:
    for name, seed in (("a", "5"), ("b", "5"), ("c", "6")):
        assert _run("--draws", "5", "--warmup", "5", "--seed", seed, "-o", f"{name}.npz") == 0
    first, again, other = (np.load(folder / f"{name}.npz")["z"] for name in "abc")
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize(
    ("words", "code", "shown"),
    [
        (["--using", "nutz"], 1, "did you mean"),
        (["--using", "nuts"], 1, "nuts does not fit: the unknowns are countable and real at once"),
        (["--draws", "0"], 2, "expected at least 1"),
        (["--step", "-1"], 2, "expected a positive number"),
        (["--objective", "none"], 1, "no `sample` line is called `none`"),
        (["--start", "there"], 2, "invalid choice"),
    ],
)
def test_mistakes(
    folder: Path, capsys: pytest.CaptureFixture[str], words: list[str], code: int, shown: str
) -> None:
    assert _run(*words) == code
    assert shown in capsys.readouterr().err


def test_an_output_is_not_overwritten(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "out.npz").write_text("mine")
    assert _run("--draws", "5", "-o", "out.npz") == 1
    assert (folder / "out.npz").read_text() == "mine"
