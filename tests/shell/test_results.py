"""What is written to disk, from real models: entries with and without rows, and generated files that run."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import ebmlang
from ebmlang import cli
from ebmlang.commands.standalone import run_file
from ebmlang.inference import Inference

ROOT = Path(__file__).parent.parent.parent

LETS = """
model m(n: int, lam: real = 2) {
  observed y : real[n]
  latent x : real[n] = 0
  let twice = lam * 2
  let both = [lam, lam + 1]
  let half = x / 2
  energy e = ||x - y||^2 * twice
  infer x
}
"""

LINE = """
model line(n: int) {
  observed x : real[n];  observed t : real
  param w : real[n] = 0
  param b : real = 0
  energy e = (dot(w, x) + b - t)^2
}
"""


@pytest.fixture
def data(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    path = tmp_path / "d.npz"
    np.savez(path, x=rng.normal(size=(50, 3)), t=rng.normal(size=50), y=rng.normal(size=(50, 3)))
    return path


def file(data: Path, text: str) -> str:
    path = data.parent / "m.ebm"
    path.write_text(text)
    return str(path)


def test_values_without_rows_are_written_once(data: Path) -> None:
    out = data.parent / "r.npz"
    assert (
        cli.main(["infer", file(data, LETS), "--data", str(data), "--max-memory", "5kB", "-o", str(out)]) == 0
    )
    with np.load(out) as found:
        assert found["twice"] == 4
        np.testing.assert_array_equal(found["both"], [2, 3])
        np.testing.assert_allclose(found["half"], found["x"] / 2)
        assert found["half"].shape == (50, 3)


def test_chunks_of_two_keep_a_shared_let_of_two(data: Path) -> None:
    r = ebmlang.loads(LETS).infer(y=np.ones((10, 3)), max_memory=2_000)
    assert r["both"].tolist() == [2, 3]
    assert r["half"].shape == (10, 3)
    assert r.shared == {"twice", "both"}


@pytest.mark.parametrize("ending", ["npz", "safetensors"])
def test_sought_parameters_are_least_squares(data: Path, ending: str) -> None:
    out = data.parent / f"r.{ending}"
    words = ["infer", file(data, LINE), "--data", str(data), "--find", "w,b", "--dtype", "float64"]
    assert cli.main([*words, "-o", str(out)]) == 0
    with np.load(data) as given:
        design = np.c_[given["x"], np.ones(50)]
        wanted = np.linalg.lstsq(design, given["t"])[0]
    from ebmlang.data import read

    found = read(str(out))
    np.testing.assert_allclose(found.array("w"), wanted[:3], atol=1e-6)
    np.testing.assert_allclose(found.array("b"), wanted[3], atol=1e-6)
    assert found.shape("b") == ()


def test_a_compiled_file_answers_as_infer_does(data: Path) -> None:
    model, folder = file(data, LETS), data.parent
    assert cli.main(["compile", model, "-o", str(folder / "m.py")]) == 0
    run = subprocess.run(
        [sys.executable, "m.py", "--data", str(data), "-o", "own.npz"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    assert cli.main(["infer", model, "--data", str(data), "-o", str(folder / "r.npz")]) == 0
    with np.load(folder / "own.npz") as own, np.load(folder / "r.npz") as wanted:
        assert set(own) == set(wanted)
        for name in wanted:
            np.testing.assert_array_equal(own[name], wanted[name])


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--set", "lam=1", "--set", "lam=2"], 2, "--set gives `lam` twice"),
        (["--device", "gpu"], 1, "there is no device `gpu`"),
        (["--data", "nowhere.npz"], 1, "there is no file nowhere.npz"),
        (["--set", "lamb=1"], 1, "`lamb`"),
    ],
)
def test_mistakes_with_a_compiled_file(
    data: Path, capsys: pytest.CaptureFixture[str], words: list[str], code: int, said: str
) -> None:
    path = data.parent / "m.py"
    assert cli.main(["compile", file(data, LETS), "-o", str(path)]) == 0
    given = [] if "--data" in words else ["--data", str(data)]
    assert run_file(str(path), [*given, *words]) == code
    shown = capsys.readouterr().err
    assert said in shown
    assert "Traceback" not in shown


def test_no_line_of_a_piped_summary_ends_in_spaces(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["infer", file(data, LETS), "--data", str(data)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith(" converged") for line in lines)
    assert all(line == line.rstrip() and len(line) <= 80 for line in lines)


@pytest.mark.parametrize(("words", "starts"), [([], 3), (["--restarts", "1"], 1), (["--restarts", "2"], 2)])
def test_restarts_of_the_command_line_replace_those_of_the_file(
    data: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], starts: int
) -> None:
    seen: list[int] = []
    restarts = Inference._restarts

    def counted(self: Inference) -> int:
        seen.append(restarts(self))
        return seen[-1]

    monkeypatch.setattr(Inference, "_restarts", counted)
    model = file(data, LETS.replace("infer x", "infer x using lbfgs(restarts = 3)"))
    assert cli.main(["infer", model, "--data", str(data), *words]) == 0
    assert set(seen) == {starts}
