"""`ebmlang test`: exit codes, the table, the counter-example, JSON."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from ebmlang import cli

GALLERY = sorted((Path(__file__).parent.parent.parent / "models" / "gallery").glob("*.ebm"))
Capture = pytest.CaptureFixture[str]


@pytest.fixture
def faulty(tmp_path: Path) -> Path:
    path = tmp_path / "faulty.ebm"
    path.write_text(
        "model faulty(n: int) { latent z : real[n]; energy root = sum(sqrt(z)) }", encoding="utf-8"
    )
    return path


@pytest.mark.parametrize("path", GALLERY, ids=lambda path: path.stem)
def test_the_gallery_passes(path: Path, capsys: Capture) -> None:
    code = cli.main(["test", str(path), "--examples", "30", "--no-progress"])
    out = capsys.readouterr().out
    assert code == 0, out
    integral = path.stem == "random_effects"  # what is integrated over inside of a search is not judged
    assert f"{4 if integral else 5} of 5 checks hold" in out


def test_a_fault_is_shown_and_exits_with_1(faulty: Path, capsys: Capture) -> None:
    assert cli.main(["test", str(faulty), "--examples", "30"]) == 1
    out = capsys.readouterr().out
    assert "finite fails: the term `root` is nan" in out
    program = "\n".join(line.removeprefix("    ") for line in out.split("shows it:\n")[1].split("\n"))
    program = program[: program.index("testing.check_finite(m, values)")] + "testing.check_finite(m, values)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert "CheckFailed: the term `root` is nan" in done.stderr


def test_json(faulty: Path, capsys: Capture) -> None:
    assert cli.main(["test", str(faulty), "--examples", "20", "--json", "--seed", "3"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["model"] == "faulty"
    assert found["seed"] == 3
    assert found["holds"] is False
    by_name = {check["check"]: check for check in found["checks"]}
    assert by_name["finite"]["result"] == "fails"
    assert "check_finite" in by_name["finite"]["counterexample"]["program"]
    assert by_name["terms sum to the total"] == {
        "check": "terms sum to the total", "examples": 20, "result": "holds", "remarks": {},
    }  # fmt: skip


def test_settings_reach_the_model(faulty: Path, capsys: Capture) -> None:
    assert cli.main(["test", str(faulty), "--examples", "20", "--set", "n=2"]) == 1
    assert ", n=2)" in capsys.readouterr().out
    assert cli.main(["test", str(faulty), "--set", "k=2"]) == 1
    assert "no hyperparameter `k`" in capsys.readouterr().err
    assert cli.main(["test", str(faulty), "--examples", "0"]) == 2
    assert cli.main(["test", str(faulty.with_name("none.ebm"))]) == 1
