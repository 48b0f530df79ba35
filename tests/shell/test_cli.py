"""Exit codes, words for mistakes, and `ebmlang infer` over a model that stands in for the real one."""

import json
import os
import signal
import subprocess
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from ebmlang import cli, errors
from ebmlang.commands import COMMANDS, Command, engine
from ebmlang.commands.infer import Question
from ebmlang.data import DataSet, ResultWriter, Wanted
from ebmlang.interrupts import undisturbed
from ebmlang.report import Progress
from ebmlang.runtime.result import Result

ROOT = Path(__file__).parent.parent.parent
Capture = pytest.CaptureFixture[str]


@dataclass(frozen=True)
class Halves:
    """Answers z = y / 2 with energy |z|^2, three rows at a time; row 4 does not converge."""

    stop_at: int | None = None
    error: BaseException | None = None

    @property
    def wanted(self) -> Mapping[str, Wanted]:
        return {"y": Wanted("y", "observed", True, 1)}

    def rows(self, data: DataSet, matching: Mapping[str, str]) -> int:
        return data.shape(matching["y"])[0]

    def chunks(self, data: DataSet, matching: Mapping[str, str], progress: Progress) -> Iterator[Result]:
        for start in range(0, self.rows(data, matching), 3):
            if start == self.stop_at and self.error is not None:
                raise self.error
            z = torch.from_numpy(data.rows(matching["y"], start, start + 3)) / 2
            progress(start, 1)
            numbers = torch.arange(start, start + len(z))
            yield Result(
                values={"z": z, "status": z[:, 0]},
                energy=z.square().sum(1),
                terms={"size": z.square().sum(1)},
                converged=numbers != 4,
                status=tuple("step limit" if n == 4 else "converged" for n in numbers.tolist()),
                iterations=numbers,
                method="halving",
                because="the energy is its own test",
                certificate="",
                batch_terms={},
            )


@pytest.fixture
def connected(monkeypatch: pytest.MonkeyPatch) -> list[Question]:
    """Replaces the real model by `Halves`; the list holds the questions that were asked."""
    asked: list[Question] = []

    def connect(question: Question) -> Halves:
        asked.append(question)
        return Halves()

    monkeypatch.setattr(engine, "connect", connect)
    return asked


@pytest.fixture
def y(tmp_path: Path) -> Path:
    np.savez(tmp_path / "y.npz", y=np.arange(20.0).reshape(10, 2), other=np.zeros(1))
    return tmp_path / "y.npz"


# --- the command line itself --------------------------------------------------------------------


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.NAME)
def test_every_help_ends_with_an_example(command: Command, capsys: Capture) -> None:
    assert cli.main([command.NAME, "--help"]) == 0
    shown = capsys.readouterr().out.rstrip().splitlines()
    examples = shown[shown.index("example:") + 1 :]
    assert examples
    assert examples[0].startswith(f"  ebmlang {command.NAME} ")
    for line in examples:
        assert len(line) <= 80
        if line.startswith("  ebmlang "):
            assert cli.parser().parse_args(line.split()[1:]).command == command.NAME


def test_help_without_a_command_is_a_mistake(capsys: Capture) -> None:
    assert cli.main([]) == 2
    assert "example:" in capsys.readouterr().err
    assert cli.main(["--help"]) == 0
    assert cli.main(["--version"]) == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["infr", "m.ebm"], "there is no command `infr`; did you mean `infer`?"),
        (["qqq"], "there is no command `qqq`\n"),
        (["infer"], "FILE"),
        (["infer", "m.ebm", "--dta", "y.npz"], "`--dta` is not understood; did you mean `--data`?"),
        (["infer", "m.ebm", "--dta=y.npz"], "`--dta=y.npz` is not understood; did you mean `--data`?"),
        (["infer", "m.ebm", "extra"], "`extra` is not understood"),
        (["infer", "m.ebm", "--dat", "y.npz"], "`--dat` is not understood; did you mean `--data`?"),
        (["infer", "m.ebm", "--map", "y"], "expected NAME=VALUE, found `y`"),
        (["infer", "m.ebm", "--map", "y=a", "--map", "y=b"], "--map gives `y` twice: a and b"),
        (["infer", "m.ebm", "--set", "k=1", "--set", "k=2"], "--set gives `k` twice: 1 and 2"),
        (["infer", "m.ebm", "--set", "k=many"], "expected a number, true or false for k, found `many`"),
        (["infer", "m.ebm", "--given", "a,,b"], "expected names separated by commas"),
        (["infer", "m.ebm", "--steps", "0"], "expected at least 1"),
        (["infer", "m.ebm", "--seed", "-1"], "expected"),
        (["infer", "m.ebm", "--seed", "1.5"], "expected a whole number, found `1.5`"),
        (["infer", "m.ebm", "--tol", "nan"], "expected a positive number, found `nan`"),
        (["infer", "m.ebm", "--max-memory", "lots"], "`lots` is not an amount of memory"),
        (["infer", "m.ebm", "--dtype", "int8"], "invalid choice"),
    ],
)
def test_mistakes_of_the_command_line(words: list[str], message: str, capsys: Capture) -> None:
    assert cli.main(words) == 2
    shown = capsys.readouterr()
    assert message in shown.err
    assert shown.out == ""


def run_command(monkeypatch: pytest.MonkeyPatch, action: Callable[[Namespace], int]) -> int:
    """The exit code of a command that does nothing but `action`."""

    def nothing(parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true")

    command = SimpleNamespace(NAME="go", HELP="go", EXAMPLE="ebmlang go", add_arguments=nothing, run=action)
    monkeypatch.setattr(cli, "COMMANDS", (command,))
    monkeypatch.setattr(cli.parser, "__defaults__", ((command,),))
    return cli.main(["go"])


def raising(error: BaseException) -> Callable[[Namespace], int]:
    def action(args: Namespace) -> int:
        raise error

    return action


def test_exit_codes(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    assert run_command(monkeypatch, lambda args: 3) == 3
    assert run_command(monkeypatch, raising(errors.DataError("y is missing", "--map y=a"))) == 1
    assert capsys.readouterr().err == "error: y is missing\n  try: --map y=a\n"
    assert run_command(monkeypatch, raising(errors.ModelError([]))) == 1
    assert run_command(monkeypatch, raising(KeyboardInterrupt())) == 130
    assert capsys.readouterr().err.endswith("interrupted\n")
    for error in (MemoryError(), RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")):
        assert run_command(monkeypatch, raising(error)) == 1
        assert "not enough memory" in capsys.readouterr().err


def test_a_bug_says_that_it_is_one(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.delenv("EBMLANG_TRACEBACK", raising=False)
    assert run_command(monkeypatch, raising(ZeroDivisionError("by\nzero"))) == 70
    shown = capsys.readouterr().err
    assert shown.startswith("internal error: ZeroDivisionError: by zero\n")
    assert "EBMLANG_TRACEBACK=1" in shown
    assert "Traceback" not in shown
    monkeypatch.setenv("EBMLANG_TRACEBACK", "1")
    assert run_command(monkeypatch, raising(ZeroDivisionError("by zero"))) == 70
    assert "Traceback" in capsys.readouterr().err


def test_a_closed_pipe_is_no_mistake() -> None:
    code = (
        "import sys\nfrom ebmlang import cli\n"
        "def talk():\n"
        "    for _ in range(10**5):\n"
        "        print('y' * 100, flush=True)\n"
        "    return 0\n"
        "cli._version = talk\n"
        "sys.exit(cli.main(['--version']))\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    shown = process.stderr.read()
    process.stderr.close()
    assert process.wait() == 0
    assert shown == ""


# --- infer --------------------------------------------------------------------------------------


def test_infer_writes_and_reports(connected: list[Question], y: Path, capsys: Capture) -> None:
    out = y.parent / "z.npz"
    assert cli.main(["infer", "m.ebm", "--data", str(y), "-o", str(out)]) == 0
    with np.load(out, allow_pickle=False) as found:
        half = np.arange(20.0).reshape(10, 2) / 2
        np.testing.assert_array_equal(found["z"], half)
        np.testing.assert_array_equal(found["value.status"], half[:, 0])
        np.testing.assert_array_equal(found["energy"], (half**2).sum(1))
        np.testing.assert_array_equal(found["term.size"], (half**2).sum(1))
        assert found["converged"].tolist() == [n != 4 for n in range(10)]
        assert found["iterations"].tolist() == list(range(10))
        assert found["status_names"][found["status"]].tolist() == [
            "step limit" if n == 4 else "converged" for n in range(10)
        ]
    shown = capsys.readouterr()
    assert "9 of 10 rows" in shown.out
    assert "halving" in shown.out
    assert shown.err == f"note: no variable uses other of {y}\n"


def test_infer_as_json(connected: list[Question], y: Path, capsys: Capture) -> None:
    assert cli.main(["infer", "m.ebm", "--data", str(y), "--json", "--strict"]) == 3
    found = json.loads(capsys.readouterr().out)
    assert found["rows"] == 10
    assert found["worst"][0]["row"] == 4
    assert found["output"] is None


def test_infer_passes_every_option_on(connected: list[Question], y: Path) -> None:
    words = (
        "--given a,b --find y --of x+1 --objective o --model m --set k=64 --set lam=.5 --set b=true "
        "--restarts 3 --seed 7 --device cuda:1 --dtype float64 --tol 1e-6 --steps 5 --using fista "
        "--max-memory 2GiB --params run --bind f=a.b:c --map y=y --no-progress"
    )
    assert cli.main(["infer", "m.ebm", "--data", str(y), *words.split()]) == 0
    settings = {"k": 64, "lam": 0.5, "b": True}
    names, search = ("m.ebm", "m", settings, ("a", "b"), ("y",), "x+1", "o"), (3, 7, "cuda:1", "float64")
    assert connected == [Question(*names, *search, 1e-6, 5, "fista", 2**31, "run", {"f": "a.b:c"})]


def test_infer_refuses_the_output_before_it_works(
    connected: list[Question], y: Path, capsys: Capture
) -> None:
    before = y.read_bytes()
    assert cli.main(["infer", "m.ebm", "--data", str(y), "-o", str(y)]) == 1
    assert "exists already" in capsys.readouterr().err
    assert connected == []
    assert y.read_bytes() == before


def test_infer_without_data(connected: list[Question], capsys: Capture) -> None:
    assert cli.main(["infer", "m.ebm"]) == 1
    assert "the model needs data for `y`" in capsys.readouterr().err


def test_errors_as_json(connected: list[Question], capsys: Capture) -> None:
    assert cli.main(["infer", "m.ebm", "--data", "nowhere.npz", "--json"]) == 1
    shown = capsys.readouterr()
    assert set(json.loads(shown.err)) == {"error", "hint"}
    assert shown.out == ""


def test_ctrl_c_keeps_finished_chunks(monkeypatch: pytest.MonkeyPatch, y: Path, capsys: Capture) -> None:
    monkeypatch.setattr(engine, "connect", lambda question: Halves(6, KeyboardInterrupt()))
    out = y.parent / "z.npz"
    assert cli.main(["infer", "m.ebm", "--data", str(y), "-o", str(out)]) == 130
    assert "6 of 10 rows are finished" in capsys.readouterr().err
    with np.load(out) as found:
        assert found["z"].shape == (6, 2)


@pytest.fixture
def foreground() -> Iterator[None]:
    """Ctrl-C means what it means in a terminal, also where the tests themselves run in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("foreground")
def test_ctrl_c_between_two_arrays_of_a_chunk_waits(
    connected: list[Question], monkeypatch: pytest.MonkeyPatch, y: Path, capsys: Capture
) -> None:
    append = ResultWriter.append

    def pressed(self: ResultWriter, name: str, rows: np.ndarray) -> None:
        append(self, name, rows)
        if name == "z":
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(ResultWriter, "append", pressed)
    out = y.parent / "z.npz"
    assert cli.main(["infer", "m.ebm", "--data", str(y), "-o", str(out)]) == 130
    assert "3 of 10 rows are finished" in capsys.readouterr().err
    with np.load(out) as found:
        assert {name: len(found[name]) for name in ("z", "energy", "term.size", "status", "iterations")} == {
            "z": 3, "energy": 3, "term.size": 3, "status": 3, "iterations": 3
        }  # fmt: skip


def test_a_background_job_goes_on_ignoring_ctrl_c() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with undisturbed():
            os.kill(os.getpid(), signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize(
    ("stop_at", "error", "code"),
    [(0, KeyboardInterrupt(), 130), (6, errors.DataError("NaN in y"), 1), (6, ZeroDivisionError(), 70)],
)
def test_failures_leave_no_output(
    monkeypatch: pytest.MonkeyPatch, y: Path, stop_at: int, error: BaseException, code: int
) -> None:
    monkeypatch.setattr(engine, "connect", lambda question: Halves(stop_at, error))
    assert cli.main(["infer", "m.ebm", "--data", str(y), "-o", str(y.parent / "z.npz")]) == code
    assert [path.name for path in y.parent.iterdir()] == ["y.npz"]


def test_a_request_to_end_leaves_nothing_behind(tmp_path: Path) -> None:
    code = (
        "import sys, time\nfrom ebmlang import cli\nfrom ebmlang.data import ResultWriter\n"
        "def wait():\n"
        "    with ResultWriter('z.npz'):\n"
        "        print('ready', flush=True)\n"
        "        time.sleep(60)\n"
        "cli._version = wait\n"
        "sys.exit(cli.main(['--version']))\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    assert len(list(tmp_path.iterdir())) == 1
    process.send_signal(signal.SIGTERM)
    process.stdout.close()
    assert process.wait() == 130
    assert list(tmp_path.iterdir()) == []
