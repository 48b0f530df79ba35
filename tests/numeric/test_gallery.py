"""What every worked model owes: canonical layout, a plan one can read, commands that run."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import ebmlang
from ebmlang import cli
from ebmlang.compiler.diagnostics import Report
from ebmlang.compiler.format import format_module
from ebmlang.compiler.parse import parse
from ebmlang.compiler.source import Source
from tests.conftest import Golden
from tests.numeric.gallery import FILES, ROOT

EXPECTED = ROOT / "tests" / "passes" / "explain"
NAMES = [path.stem for path in FILES]
each_model = pytest.mark.parametrize("path", FILES, ids=NAMES)


def test_the_gallery_is_complete() -> None:
    assert {
        "graph_smoothing",
        "hopfield",
        "lasso",
        "logistic",
        "lqr",
        "nnls",
        "pca_codes",
        "pendulum",
        "ridge",
        "smoothing_chain",
        "sparse_coding",
    } <= set(NAMES)


@each_model
def test_is_formatted(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    report = Report(Source(path.name, text))
    module = parse(report)
    assert module is not None, report.diagnostics
    assert format_module(module, text) == text


@each_model
def test_says_what_it_is(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    doc = [line for line in text.splitlines() if line.startswith("## ")]
    assert doc, "no doc comment"
    assert re.search(r"\b(18|19|20)\d\d\b", " ".join(doc)), "no citation with a year"
    assert ebmlang.load(path).name == path.stem


@each_model
def test_plan(path: Path, golden: Golden) -> None:
    model = ebmlang.load(path)
    asked = ["x"] if path.stem == "hopfield" else None
    golden(EXPECTED / f"gallery_{path.stem}.expected", model.explain(find=asked) + "\n")


@each_model
def test_generated_code_is_stable(path: Path) -> None:
    texts = {ebmlang.load(path).source for _ in range(2)}
    assert len(texts) == 1
    compile(texts.pop(), path.name, "exec")


@each_model
def test_its_commands_run(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    commands = re.findall(r"^# ((?:ebmlang|python) .*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    assert any(command.startswith("ebmlang infer ") for command in commands)
    (tmp_path / "models").symlink_to(ROOT / "models")
    monkeypatch.chdir(tmp_path)
    for command in commands:
        program, *arguments = shlex.split(command)
        if program == "ebmlang":  # in this process: starting one takes longer than most commands
            code, shown = cli.main(arguments), capsys.readouterr()
            assert code == 0, f"{command}\n{shown.out}\n{shown.err}"
            continue
        done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
