"""Every program and every command of the documentation runs and prints what is shown."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from docs import generate
from ebmlang import cli
from ebmlang.commands import COMMANDS
from ebmlang.compiler import builtins
from ebmlang.compiler.catalogue import all_diagnostics
from ebmlang.compiler.methods import METHODS
from tests.docs.blocks import (
    LANGUAGES,
    ROOT,
    Block,
    blocks,
    checked,
    differs,
    run_command,
    run_python,
    transcript,
)

PAGES = generate.pages()
BLOCKS = [block for page in PAGES for block in blocks(page)]
LINK = re.compile(r"(?<!`)\[[^\]\n]+\]\(([^)\s]+)\)|!\[[^\]]*\]\(([^)\s]+)\)")


def ids(value: object) -> str:
    return value.place if isinstance(value, Block) else value.name if isinstance(value, Path) else str(value)


def test_pages_are_there() -> None:
    names = {page.name for page in PAGES}
    assert {"README.md", "tutorial.md", "language.md", "commands.md", "python.md", "diagnostics.md"} <= names
    assert {"architecture.md", "methods.md"} <= names


def test_every_block_says_what_it_is() -> None:
    wrong = [block.place for block in BLOCKS if block.language not in LANGUAGES]
    assert not wrong
    fences = sum(page.read_text(encoding="utf-8").count("\n```") for page in PAGES)
    assert fences == 2 * len(BLOCKS), "a fence is not closed"


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_generated_parts_are_current(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert text == generate.renewed(text), "run `python docs/generate.py`"


@pytest.mark.parametrize("block", [b for b in BLOCKS if b.language == "ebm"], ids=ids)
def test_model(block: Block) -> None:
    found = checked(block)
    codes = {x.diagnostic.code for x in found.diagnostics}
    assert codes == set(block.codes), [x.header() for x in found.diagnostics]


@pytest.mark.parametrize("page", [p for p in PAGES if p.name != "diagnostics.md"], ids=ids)
def test_page_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The blocks of a page in order, in one folder and one Python namespace.

    The output of a Python block stands in the `text` block that follows it, if one does.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "Agg")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("NO_COLOR", "1")
    (tmp_path / "models").symlink_to(ROOT / "models")
    (tmp_path / "docs").mkdir()
    names: dict[str, Any] = {"__name__": "page"}
    printed: str | None = None
    for block in blocks(page):
        if block.file is not None:
            Path(block.file).write_text(block.text, encoding="utf-8")
        if block.language == "console":
            for command, shown in transcript(block):
                found = run_command(command)
                assert (why := differs(shown, found)) is None, f"{block.place}: {command}\n{why}\n\n{found}"
        elif block.language == "python":
            printed = run_python(block, names)
            continue
        elif block.language == "text" and printed:
            assert (why := differs(block.text, printed)) is None, f"{block.place}\n{why}\n\n{printed}"
        printed = None
    text = page.read_text(encoding="utf-8")
    for picture in (a or b for a, b in LINK.findall(text)):
        if f'"{picture}"' in text:  # a program of this page draws it
            assert alike(page.parent / picture, tmp_path / picture), f"{picture} is out of date"


def alike(shown: Path, drawn: Path) -> bool:
    """Whether two pictures differ by no more than versions of fonts do."""
    from matplotlib.image import imread

    a, b = imread(shown), imread(drawn)
    return a.shape == b.shape and float(abs(a - b).mean()) < 0.02


@pytest.mark.parametrize("block", [b for b in BLOCKS if b.language == "sh"], ids=ids)
def test_shell_commands_exist(block: Block) -> None:
    """What is not run here must at least be there: targets of make, options of ebmlang."""
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    lines = block.text.replace("\\\n", " ").splitlines()
    for words in (shlex.split(line, comments=True) for line in lines):
        if words[:1] == ["make"]:
            assert {w for w in words[1:] if "=" not in w} <= targets, words
        elif words[:1] == ["ebmlang"]:
            parse(words[1:])
        else:
            assert not words or words[0] in ("pip", "python", "apt-get", "brew", "git", "cd"), words


def parse(words: list[str]) -> None:
    _, unknown = cli.parser().parse_known_args(words)
    assert not unknown, words


def test_every_command_is_documented() -> None:
    text = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    headings = re.findall(r"^## (\w+)$", text, re.MULTILINE)
    names = [command.NAME for command in COMMANDS]
    assert sorted(headings) == sorted(names)
    for name in names:
        assert f"<!-- generated: options {name} -->" in text


def test_every_option_that_is_named_exists() -> None:
    """An option in the text of a page is an option of some command."""
    actions = [action for sub in generate.subparsers().values() for action in sub._actions]
    known = {option for action in actions for option in action.option_strings}
    torchrun = {
        "--nnodes",
        "--nproc-per-node",
        "--max-restarts",
        "--rdzv-backend",
        "--rdzv-endpoint",
        "--rdzv-id",
    }
    others = {"--version", "--update-golden", "--models", "--write"} | torchrun
    for page in PAGES:
        text = re.sub(r"<!--.*?-->", "", page.read_text(encoding="utf-8"))
        named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", text))
        assert named <= known | others, (page.name, named - known - others)


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_links_lead_somewhere(page: Path) -> None:
    text = FENCED.sub("", page.read_text(encoding="utf-8"))
    for target in (a or b for a, b in LINK.findall(text)):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        other = (page.parent / path) if path else page
        assert other.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", other.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {slug(heading) for heading in headings}, target


FENCED = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)


def slug(heading: str) -> str:
    """The anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")


def test_plain_punctuation() -> None:
    for page in PAGES:
        assert not re.findall("[\u2013\u2014]", page.read_text(encoding="utf-8")), page.name


@pytest.mark.parametrize(
    ("shown", "found", "fits"),
    [
        ("a 1.00 b", "a 1.01\n b", True),
        ("a 1.00 b", "a 1.20 b", False),
        ("2 rows", "3 rows", False),
        ("a\n...\nd", "a b c d", True),
        ("a\n...\ne", "a b c d", False),
        ("a", "a b", False),
        ("a\n...", "a b", True),
        ("", "a", False),
    ],
)
def test_the_comparison_can_fail(shown: str, found: str, fits: bool) -> None:
    assert (differs(shown, found) is None) is fits


def test_every_table_row_is_on_its_page() -> None:
    """Rows of a kind that the generator does not know would be left out in silence."""
    language = (ROOT / "docs" / "language.md").read_text(encoding="utf-8")
    diagnostics = (ROOT / "docs" / "diagnostics.md").read_text(encoding="utf-8")
    examples = [f"`{row.example}`".replace("|", "\\|") for row in builtins.TABLE]
    assert not [example for example in examples if example not in language]
    assert not [kind.code for kind in all_diagnostics() if f"### {kind.code}\n" not in diagnostics]
    methods = (ROOT / "docs" / "methods.md").read_text(encoding="utf-8")
    assert not [row.name for row in METHODS if f"## {row.name}\n" not in methods]
