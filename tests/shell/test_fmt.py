"""`ebmlang fmt`: files are rewritten whole or not at all, and only where something changes."""

from __future__ import annotations

import io
import os
import stat
from pathlib import Path

import pytest

from ebmlang import cli

Capture = pytest.CaptureFixture[str]

LOOSE = "model m{energy a=1\n\n\n}"
NEAT = "model m {\n  energy a = 1\n}\n"
BROKEN = "model m { energy = 1 }\n"


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name, text in (("loose", LOOSE), ("neat", NEAT), ("broken", BROKEN)):
        (tmp_path / f"{name}.ebm").write_text(text)
    return tmp_path


def test_rewrites_in_place(files: Path, capsys: Capture) -> None:
    (files / "loose.ebm").chmod(0o640)
    before = (files / "neat.ebm").stat()
    assert cli.main(["fmt", "loose.ebm", "neat.ebm"]) == 0
    assert (files / "loose.ebm").read_bytes() == NEAT.encode()
    assert stat.S_IMODE((files / "loose.ebm").stat().st_mode) == 0o640
    after = (files / "neat.ebm").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("loose.ebm\n", "")
    assert sorted(os.listdir(files)) == ["broken.ebm", "loose.ebm", "neat.ebm"]


def test_check_writes_nothing(files: Path, capsys: Capture) -> None:
    assert cli.main(["fmt", "--check", "neat.ebm"]) == 0
    assert cli.main(["fmt", "--check", "neat.ebm", "loose.ebm"]) == 1
    assert (files / "loose.ebm").read_text() == LOOSE
    assert capsys.readouterr().out == "loose.ebm\n"


@pytest.mark.parametrize("check", [False, True])
def test_files_with_mistakes_are_left_alone(files: Path, capsys: Capture, check: bool) -> None:
    flags = ["--check"] if check else []
    assert cli.main(["fmt", *flags, "broken.ebm", "loose.ebm", "missing.ebm"]) == 1
    assert (files / "broken.ebm").read_text() == BROKEN
    assert (files / "loose.ebm").read_text() == (LOOSE if check else NEAT)
    shown = capsys.readouterr().err
    assert "broken.ebm:1:18: error[E0101]" in shown
    assert "there is no file missing.ebm" in shown


def test_unknown_names_are_no_hindrance(files: Path) -> None:
    """Only what the grammar does not accept stops the formatter."""
    (files / "names.ebm").write_text("model m { energy a = nothing }")
    assert cli.main(["fmt", "names.ebm"]) == 0
    assert (files / "names.ebm").read_text() == "model m {\n  energy a = nothing\n}\n"


def test_standard_input(files: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(LOOSE))
    assert cli.main(["fmt", "-"]) == 0
    assert capsys.readouterr().out == NEAT
    monkeypatch.setattr("sys.stdin", io.StringIO(BROKEN))
    assert cli.main(["fmt", "-"]) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "<stdin>:1:18: error[E0101]" in shown.err
    monkeypatch.setattr("sys.stdin", io.StringIO(LOOSE))
    assert cli.main(["fmt", "--check", "-"]) == 1
    assert capsys.readouterr().out == "<stdin>\n"


def test_line_ends_and_byte_order_mark(files: Path) -> None:
    path = files / "dos.ebm"
    path.write_bytes(b"\xef\xbb\xbf" + NEAT.replace("\n", "\r\n").encode())
    assert cli.main(["fmt", "--check", "dos.ebm"]) == 1
    assert cli.main(["fmt", "dos.ebm"]) == 0
    assert path.read_bytes() == NEAT.encode()


def test_links_stay_links(files: Path) -> None:
    (files / "link.ebm").symlink_to("loose.ebm")
    assert cli.main(["fmt", "link.ebm"]) == 0
    assert (files / "link.ebm").is_symlink()
    assert (files / "loose.ebm").read_text() == NEAT


def test_show_ast(files: Path, capsys: Capture) -> None:
    assert cli.main(["show", "ast", "neat.ebm"]) == 0
    assert capsys.readouterr().out.splitlines()[:4] == ["Module", "  models:", "    Model", "      name:"]
    assert cli.main(["show", "ast", "broken.ebm"]) == 1
    assert "error[E0101]" in capsys.readouterr().err
