"""Syntax mistakes: every situation with its words, and what no mistake may do."""

from __future__ import annotations

import os
import random
import re
from pathlib import Path

import pytest

import ebmlang
from ebmlang.compiler.catalogue import all_diagnostics
from ebmlang.compiler.catalogue.syntax import Unclosed, UnexpectedWord
from ebmlang.compiler.diagnostics import Diagnostic, Located, Report, render
from ebmlang.compiler.parse import DEEPEST_NESTING, LARGEST_FILE, MOST_MISTAKES, parse
from ebmlang.compiler.source import Source, Span
from ebmlang.errors import DataError, ModelError
from ebmlang.files import read_source
from tests.conftest import Golden
from tests.diagnose import diagnose, rendered

FOLDER = Path(__file__).parent
COVERED = ("E00", "E01")
"""Beginnings of the codes that programs in `tests/errors` are asked for here."""

WITHOUT_A_PROGRAM = ("E0002", "E0003")
"""Codes that no text leads to, or only one of many megabytes: tests below make them in other ways."""

MISTAKES = sorted(p for p in (FOLDER / "errors").glob("*.ebm") if p.name.startswith(COVERED))
PROGRAMS = sorted((FOLDER.parent / "models").rglob("*.ebm")) + sorted((FOLDER / "passes").rglob("*.ebm"))


def syntax_mistakes(text: str) -> tuple[Located, ...]:
    report = Report(Source("test.ebm", text))
    parse(report)
    return report.diagnostics


def codes(text: str) -> list[str]:
    return [found.diagnostic.code for found in syntax_mistakes(text)]


# --- one program for every situation ------------------------------------------------------------


@pytest.mark.parametrize("path", MISTAKES, ids=lambda p: p.stem)
def test_words(path: Path, golden: Golden) -> None:
    shown = rendered(path.read_bytes().decode(), path.name)
    golden(path.with_suffix(".expected"), shown)
    if re.match(r"[EW]\d{4}_", path.name):
        assert f"[{path.name[:5]}]" in shown


def test_every_code_has_a_program() -> None:
    shown = "".join(path.with_suffix(".expected").read_text(encoding="utf-8") for path in MISTAKES)
    covered = [kind.code for kind in all_diagnostics() if kind.code.startswith(COVERED)]
    assert len(covered) > 15
    missing = [code for code in covered if f"[{code}]" not in shown and code not in WITHOUT_A_PROGRAM]
    assert not missing


def test_every_expectation_has_a_program() -> None:
    left_over = [p.name for p in (FOLDER / "errors").glob("*.expected") if not p.with_suffix(".ebm").exists()]
    assert not left_over


def test_codes_are_unique() -> None:
    found = [kind.code for kind in all_diagnostics()]
    assert len(found) == len(set(found))


@pytest.mark.parametrize("path", MISTAKES, ids=lambda p: p.stem)
def test_style(path: Path) -> None:
    report, _ = diagnose(path.read_bytes().decode(), path.name)
    for found in report.diagnostics:
        diagnostic = found.diagnostic
        assert 0 <= diagnostic.span.start <= diagnostic.span.end
        assert diagnostic.message()
        assert not diagnostic.message().endswith(".")
        assert diagnostic.explanation()
        # one thing to try, or at least what would have been right
        assert diagnostic.hint() or diagnostic.expected() or diagnostic.code == "E0116"


@pytest.mark.parametrize("path", MISTAKES, ids=lambda p: p.stem)
def test_json(path: Path) -> None:
    """Lines and columns of the JSON form mark the same text as the carets."""
    report, _ = diagnose(path.read_bytes().decode(), path.name)
    for found in report.diagnostics:
        shown = found.to_json()
        start, end = shown["range"]["start"], shown["range"]["end"]
        assert shown["file"] == path.name
        assert shown["code"] == found.diagnostic.code
        assert (start["line"], start["column"]) <= (end["line"], end["column"])
        assert f":{start['line']}:{start['column']}: {shown['severity']}[{shown['code']}]" in found.header()
        if start["line"] == end["line"]:
            line = found.source.line(start["line"])
            assert line[start["column"] - 1 : end["column"] - 1] == found.source.extract(
                found.diagnostic.span
            )
        assert [r["message"] for r in shown["related"]] == [r.text for r in found.diagnostic.related()]


def test_json_of_one() -> None:
    (found,) = syntax_mistakes("model m {\n  energy fit = (1 + 2\n}\n")
    assert found.to_json() == {
        "file": "test.ebm",
        "code": "E0106",
        "severity": "error",
        "message": "`(` is never closed",
        "range": {"start": {"line": 2, "column": 16}, "end": {"line": 2, "column": 17}},
        "found": "opened here",
        "expected": "`)` before `}`",
        "hint": "add the missing `)`",
        "related": [
            {
                "file": "test.ebm",
                "range": {"start": {"line": 3, "column": 1}, "end": {"line": 3, "column": 2}},
                "message": "still open at `}`",
            }
        ],
    }


# --- one mistake, one message -------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        "energy a = 1 +",
        "energy a = (1",
        "energy a = 1)",
        "energy a = f(1, , 2)",
        "energy a = x y",
        "energy = 1",
        "latent w real",
        "latent w : real[n",
        "latent in : real",
        "letent w : real",
        "for i in 0..n { energy a[i] = (1 }",
        "for i in 0..n { energy a[i] = 1 + }",
        "for i = 0..n { energy a[i] = 1 }",
        "infer z using",
        "let = 3",
    ],
)
def test_parsing_goes_on(line: str) -> None:
    """The mistake is reported once, and the ones above and below are still found."""
    found = codes(f"model m(n: int) {{\n  energy up = 1 2\n  {line}\n  energy down = 3 4\n}}\n")
    assert found.count("E0112") == 2 + (line == "energy a = x y")
    assert len(found) == 3


_TOKEN = re.compile(r'#[^\n]*|"[^"\n]*"|\|\|_\w+|\|\||[\w.]+|->|<=|>=|==|!=|~=|\s+|.', re.DOTALL)


def mutated(text: str, chance: random.Random) -> str:
    """The text with one token deleted, repeated, exchanged, replaced, or followed by a newline."""
    tokens = _TOKEN.findall(text)
    places = [at for at, token in enumerate(tokens) if not token.isspace() and not token.startswith("#")]
    at, other = chance.choice(places), chance.choice(places)
    following = places[(places.index(at) + 1) % len(places)]
    match chance.randrange(5):
        case 0:
            tokens[at] = ""
        case 1:
            tokens[at] += " " + tokens[at]
        case 2:
            tokens[at], tokens[following] = tokens[following], tokens[at]
        case 3:
            tokens[at] = tokens[other]
        case _:
            tokens[at] += "\n"
    return "".join(tokens)


def test_mutations_do_not_cascade() -> None:
    chance = random.Random(2)
    texts = [path.read_text(encoding="utf-8") for path in PROGRAMS]
    assert len(texts) > 20
    counts = [len(syntax_mistakes(mutated(chance.choice(texts), chance))) for _ in range(600)]
    assert sum(count <= 3 for count in counts) >= 0.98 * len(counts)
    assert sum(count <= 1 for count in counts) >= 0.9 * len(counts)
    assert sum(count == 1 for count in counts) >= 0.5 * len(counts)  # or nothing was mutated


# --- hostile texts ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "code", "most"),
    [
        ("(" * 1_000_000, "E0101", 1),
        ("model m { energy a = " + "[" * 1_000_000, "E0110", 1),
        ("model m {" + "for i in 0..n {" * 1_000, "E0110", 1),
        ("model m " + "{" * 1_000_000, "E0101", MOST_MISTAKES + 1),
        ("}" * 1_000_000, "E0107", 1),
        ("\0" * 10_000, "E0102", 1),
        ("model m { energy a = " + "1 + " * 50_000 + "}", "E0118", 1),
        ("model m { energy a = " + "|" * 10_000 + " }", "E0118", 1),
        ("model m { " + "a" * 1_000_000 + " = 1 }", "E0105", 1),
        ("model m { energy a = " + "x" * 1_000_000 + " " + "y" * 1_000_000 + " }", "E0112", 1),
        ("model m {\n" + "energy a = (\n" * 20_000 + "}", "E0106", MOST_MISTAKES + 1),
        ("energy " * 20_000, "E0115", 1),
        ('"' * 10_000, "E0101", 1),
        ('import "' + "a" * 1_000_000, "E0106", 1),
        ("model m { energy a = f(" + "," * 100_000 + ") }", "E0101", 1),
        ("#" * 1_000_000, "E0001", 1),
        (" \n\t\r\n", "E0001", 1),
        ("", "E0001", 1),
        ("model m { energy a = \ud800 }", "E0102", 1),
    ],
    ids=lambda value: value[:24] if isinstance(value, str) else None,
)
def test_hostile(text: str, code: str, most: int) -> None:
    found = syntax_mistakes(text)
    assert code in [x.diagnostic.code for x in found]
    assert len(found) <= most
    assert all(len(render(x)) < 2_000 for x in found)


def test_brackets_up_to_the_limit() -> None:
    deepest = DEEPEST_NESTING - 1  # the brace of the model is one
    assert codes(f"model m {{ energy a = {'(' * deepest}1{')' * deepest} }}") == []
    assert codes(f"model m {{ energy a = {'(' * (deepest + 1)}1{')' * (deepest + 1)} }}") == ["E0110"]


def test_line_ends() -> None:
    """Carriage returns and tabs change no line and no column."""
    text = "model m {\n\tenergy a = 1 +\n\t\t2\n\tenergy b = 3 4\n}\n"
    (unix,), (dos,) = syntax_mistakes(text), syntax_mistakes(text.replace("\n", "\r\n"))
    assert unix.header() == dos.header() == "test.ebm:4:15: " + unix.header().split(" ", 1)[1]
    assert render(unix) == render(dos)


# --- files --------------------------------------------------------------------------------------


def test_too_large(tmp_path: Path) -> None:
    (found,) = syntax_mistakes("#" * (LARGEST_FILE + 1))
    assert (found.diagnostic.code, found.diagnostic.message()) == (
        "E0002",
        "the file has 8,000,001 characters; a program may have 8,000,000",
    )
    path = tmp_path / "large.ebm"
    with path.open("wb") as file:
        file.truncate(4 * LARGEST_FILE + 1)
    with pytest.raises(ModelError, match=r"large\.ebm:1:1: error\[E0002\]"):
        read_source(path)


def test_wrong_encoding(tmp_path: Path) -> None:
    path = tmp_path / "latin.ebm"
    path.write_bytes(b"# caf\xe9\nmodel m { energy a = 1 }\n")
    with pytest.raises(ModelError, match=r"E0003\]: the file is not UTF-8 text: byte 0xe9 at offset 5"):
        read_source(path)


def test_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "marked.ebm"
    path.write_bytes(b"\xef\xbb\xbfmodel m { energy a = 1 }\n")
    assert codes(read_source(path).text) == []


def test_no_such_file(tmp_path: Path) -> None:
    (tmp_path / "codes.ebm").write_text("model m { energy a = 1 }")
    with pytest.raises(DataError, match=r"there is no file .*coeds\.ebm\n.*did you mean .*codes\.ebm"):
        read_source(tmp_path / "coeds.ebm")
    with pytest.raises(DataError, match="is a folder"):
        read_source(tmp_path)


# --- rendering ----------------------------------------------------------------------------------


def test_color_only_adds_escapes() -> None:
    (found,) = syntax_mistakes("model m { energy a = 1 2 }")
    assert re.sub(r"\x1b\[\d+m", "", render(found, color=True)) == render(found)
    assert "\x1b[" in render(found, color=True)


def test_same_mistake_is_reported_once() -> None:
    report = Report(Source("test.ebm", "abc"))
    for _ in range(2):
        report.add(UnexpectedWord(Span(1, 2), "`b`"))
    assert len(report.diagnostics) == 1


def test_diagnostics_are_in_the_order_of_the_text() -> None:
    report = Report(Source("test.ebm", "a b c"))
    late, early = UnexpectedWord(Span(4, 5), "`c`"), Unclosed(Span(0, 1), "(", ")")
    found: tuple[Diagnostic, ...] = (late, early)
    for diagnostic in found:
        report.add(diagnostic)
    assert [x.diagnostic for x in report.diagnostics] == [early, late]


def test_a_file_without_end_is_too_large_not_too_much() -> None:
    with pytest.raises(ModelError, match="E0002"):
        read_source("/dev/zero")


def test_lone_carriage_returns_end_lines(tmp_path: Path) -> None:
    path = tmp_path / "old.ebm"
    path.write_bytes(b"model m {\r  latent x : real  # a comment\r  energy e = x^2\r}\r")
    assert codes(read_source(path).text) == []


@pytest.mark.parametrize("kind", ["pipe", "folder", "link to a device", "link to nothing", "link to itself"])
def test_imports_read_files_on_disk_alone(kind: str, tmp_path: Path) -> None:
    """An import is read without waiting for it; what it should name is said."""
    part = tmp_path / "inner.ebm"
    match kind:
        case "pipe":
            os.mkfifo(part)
        case "folder":
            part.mkdir()
        case "link to a device":
            part.symlink_to("/dev/zero")
        case "link to nothing":
            part.symlink_to(tmp_path / "gone.ebm")
        case _:
            part.symlink_to(part)
    path = tmp_path / "m.ebm"
    path.write_text('import "inner.ebm" as inner\nmodel m() { latent z : real; energy e = z^2 }\n')
    with pytest.raises(ModelError, match=r"m\.ebm:1:1: error\[E0602\]"):
        ebmlang.load(path)


def test_a_file_that_imports_itself_through_a_link_is_a_circle(tmp_path: Path) -> None:
    text = 'import "other.ebm" as other\nmodel m() { latent z : real; energy e = z^2 }\n'
    (tmp_path / "m.ebm").write_text(text)
    (tmp_path / "other.ebm").symlink_to(tmp_path / "m.ebm")
    with pytest.raises(ModelError, match="E0603"):
        ebmlang.load(tmp_path / "m.ebm")
