"""The text of drawings, and files in every format."""

import json
import shutil
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ebmlang import cli, data
from ebmlang.draw import draw, lifted, unrolled, with_energies, write
from ebmlang.draw.document import document
from ebmlang.draw.dot import dot_text, first_sentence, quoted
from ebmlang.errors import DataError
from tests.conftest import Golden
from tests.draw.programs import CHAIN, GRID, PROGRAMS, WALKER, graph_of

HERE = Path(__file__).parent
needs_dot = pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz is not installed")
Capture = pytest.CaptureFixture[str]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "chain.ebm"
    path.write_text(CHAIN, encoding="utf-8")
    return path


# --- text ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PROGRAMS)
def test_dot_text(name: str, golden: Golden) -> None:
    golden(HERE / "expected" / f"{name}.dot", dot_text(lifted(graph_of(PROGRAMS[name]))))


def test_unrolled_dot_text(golden: Golden) -> None:
    golden(HERE / "expected" / "chain_of_3.dot", dot_text(unrolled(graph_of(CHAIN), {"T": 3})))


def test_energies_stand_at_the_squares() -> None:
    picture = with_energies(lifted(graph_of(CHAIN)), {"data": 0.123456, "smooth": 12345.6})
    text = dot_text(picture)
    assert "<B>0.1235</B>" in text
    assert "<B>1.235e+04</B>" in text
    with pytest.raises(DataError, match="no term `dta`"):
        with_energies(picture, {"dta": 1.0})


def test_texts_cannot_leave_their_quotes() -> None:
    assert quoted('a "b" \\N\n\x07') == '"a \\"b\\" \\\\N\\n "'
    hostile = CHAIN.replace("## Robust", '## A "b" \\N <TABLE> & </B>> \x01 robust')
    text = dot_text(lifted(graph_of(hostile)))
    assert "<TABLE> &" not in text
    assert "&lt;TABLE&gt; &amp; &lt;/B&gt;&gt;" in text
    assert "\x01" not in text


def test_first_sentence() -> None:
    assert first_sentence("Ridge regression: least squares.") == "Ridge regression"
    assert first_sentence("Version 1.5 of it.\nMore") == "Version 1.5 of it"
    assert first_sentence("word " * 40) == " ".join(["word"] * 18) + " ..."


# --- JSON ---------------------------------------------------------------------------------------

NODE = {
    "id": str, "label": str, "plate": (str, type(None)), "part": (str, type(None)), "doc": str, "kind": str,
}  # fmt: skip
KINDS: dict[str, dict[str, Any]] = {
    "variable": {"role": str, "type": str, "dims": str, "domain": str, "per_example": bool, "missing": bool},
    "net": {"type": str},
    "let": {"dims": str, "formula": str},
    "constraint": {"relation": str, "formula": str},
    "factor": {"term": str, "batch": bool, "formula": str, "energy": (float, type(None))},
}
PLATE = {"id": str, "label": str, "indices": list, "guard": str, "parent": (str, type(None))}
PART = {"id": str, "name": str, "model": str, "parent": (str, type(None))}
EDGE = {"reader": str, "read": str, "subscripts": list, "rows": bool}


def matches(value: dict[str, Any], schema: dict[str, Any]) -> bool:
    return value.keys() == schema.keys() and all(isinstance(value[k], kind) for k, kind in schema.items())


@pytest.mark.parametrize("name", PROGRAMS)
def test_json_follows_its_schema(name: str) -> None:
    found = json.loads(json.dumps(document(lifted(graph_of(PROGRAMS[name])))))
    head = ("format", "version", "model", "signature", "doc", "view", "sizes")
    assert tuple(found) == (*head, "plates", "parts", "nodes", "edges")
    assert (found["format"], found["version"], found["view"]) == ("ebmlang.graph", 1, "lifted")
    assert all(matches(p, PLATE) for p in found["plates"])
    assert all(matches(p, PART) for p in found["parts"])
    assert all(matches(n, NODE | KINDS[n["kind"]]) for n in found["nodes"])
    assert all(matches(e, EDGE) for e in found["edges"])
    plates, nodes = {p["id"] for p in found["plates"]}, {n["id"] for n in found["nodes"]}
    assert {n["plate"] for n in found["nodes"]} | {p["parent"] for p in found["plates"]} <= plates | {None}
    parts = {p["id"] for p in found["parts"]}
    assert {n["part"] for n in found["nodes"]} <= parts | {None}
    assert {p["parent"] for p in found["parts"]} <= parts | plates | {None}
    assert {e[end] for e in found["edges"] for end in ("reader", "read")} <= nodes


def test_json_has_no_number_that_json_lacks() -> None:
    picture = with_energies(lifted(graph_of(CHAIN)), {"data": float("nan"), "smooth": 2.0})
    energies = {n["id"]: n.get("energy") for n in document(picture)["nodes"]}
    assert (energies["data"], energies["smooth"]) == (None, 2.0)


# --- files --------------------------------------------------------------------------------------


@needs_dot
@pytest.mark.parametrize("name", PROGRAMS)
def test_graphviz_accepts_every_model(name: str, tmp_path: Path) -> None:
    path = tmp_path / "x.svg"
    draw(graph_of(PROGRAMS[name]), path)
    svg = path.read_text(encoding="utf-8")
    for node in lifted(graph_of(PROGRAMS[name])).nodes:
        assert f">{node.label.partition('[')[0]}" in svg


@needs_dot
def test_png_and_pdf(tmp_path: Path) -> None:
    picture = unrolled(graph_of(GRID), {"n": 3, "m": 3})
    write(picture, tmp_path / "x.png")
    raw = (tmp_path / "x.png").read_bytes()
    assert raw.startswith(b"\x89PNG")
    width, height = struct.unpack(">II", raw[16:24])
    assert 500 < width < 1500
    assert 500 < height < 1500
    write(with_energies(lifted(graph_of(WALKER)), {"begin": 1.0}), tmp_path / "x.pdf")
    assert (tmp_path / "x.pdf").read_bytes().startswith(b"%PDF")


def test_without_graphviz(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DataError, match="needs the program `dot` of Graphviz, which is not installed"):
        draw(graph_of(CHAIN), tmp_path / "x.svg")
    assert not list(tmp_path.iterdir())
    for ending in (".dot", ".json"):
        draw(graph_of(CHAIN), tmp_path / f"x{ending}")
        assert (tmp_path / f"x{ending}").stat().st_size > 100


# --- the command --------------------------------------------------------------------------------


def test_command_writes_and_does_not_overwrite(model: Path, tmp_path: Path, capsys: Capture) -> None:
    out = str(tmp_path / "x.json")
    assert cli.main(["graph", str(model), "--unroll", "--set", "T=3", "-o", out]) == 0
    assert capsys.readouterr().out == f"wrote {out}\n"
    assert json.loads(Path(out).read_text(encoding="utf-8"))["sizes"] == {"T": 3}
    assert cli.main(["graph", str(model), "-o", out]) == 1
    assert "is not overwritten" in capsys.readouterr().err
    assert cli.main(["graph", str(model), "-o", out, "--force"]) == 0
    assert json.loads(Path(out).read_text(encoding="utf-8"))["view"] == "lifted"


def test_command_prints_dot(model: Path, capsys: Capture) -> None:
    assert cli.main(["graph", str(model)]) == 0
    assert capsys.readouterr().out == dot_text(lifted(graph_of(CHAIN)))


def test_command_reads_energies_and_edges(tmp_path: Path, capsys: Capture) -> None:
    model = tmp_path / "edges.ebm"
    model.write_text(PROGRAMS["edges"], encoding="utf-8")
    np.savez(tmp_path / "d.npz", edges=np.array([[0, 1], [1, 2]]), known=np.ones(3, dtype=bool))
    data.write(tmp_path / "r.npz", {"term.tie": np.array([1.0, 2.0]), "term.data": np.zeros(2)})
    assert cli.main(["graph", str(model), "--unroll", "--data", str(tmp_path / "d.npz")]) == 0
    assert '"tie[1, 2] = ' in capsys.readouterr().out
    assert cli.main(["graph", str(model), "--energies", str(tmp_path / "r.npz")]) == 0
    assert "<B>1.5</B>" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["-o", "x.gif"], 1, "pictures are not written as 'x.gif'"),
        (["--set", "T=3"], 2, "--set and --data go with --unroll"),
        (["--unroll"], 1, "the size `T` has no value"),
        (["--model", "other"], 1, "other"),
    ],
)
def test_command_refuses(model: Path, capsys: Capture, words: list[str], code: int, message: str) -> None:
    assert cli.main(["graph", str(model), *words]) == code
    shown = capsys.readouterr()
    assert message in shown.err
    assert shown.out == ""
