"""`ebmlang fmt`: the one canonical layout of model files."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ebmlang.compiler.source import Source

NAME = "fmt"
HELP = "give model files their canonical layout"
EXAMPLE = "ebmlang fmt --check models/gallery/sparse_coding.ebm"


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "files",
        metavar="FILE",
        nargs="+",
        help="model files (.ebm), rewritten in place; - reads standard input and writes standard output",
    )
    parser.add_argument(
        "--check", action="store_true", help="write nothing; list the files that would change and exit with 1"
    )


def run(args: Namespace) -> int:
    from ebmlang.compiler.diagnostics import Located
    from ebmlang.compiler.source import Source
    from ebmlang.errors import DataError, ModelError
    from ebmlang.files import read_source

    mistakes: list[Located] = []
    unreadable: list[DataError] = []
    changed = 0
    for path in args.files:
        try:
            if path == "-":
                changed += _stream(Source("<stdin>", sys.stdin.read()), args.check)
            else:
                changed += _file(Path(path), read_source(path), args.check)
        except ModelError as error:
            mistakes += error.diagnostics
        except DataError as error:
            unreadable.append(error)
    for data_error in unreadable:
        print(f"error: {data_error}", file=sys.stderr)
    if mistakes:
        raise ModelError(mistakes)
    return 1 if unreadable or (args.check and changed) else 0


def _stream(source: Source, check: bool) -> bool:
    text = _formatted(source)
    changed = text != source.text
    if not check:
        sys.stdout.write(text)
    elif changed:
        print(source.name)
    return changed


def _file(path: Path, source: Source, check: bool) -> bool:
    from ebmlang.files import write_whole

    content = _formatted(source).encode()
    if content == path.read_bytes():
        return False
    print(path)
    if not check:
        mode = path.stat().st_mode
        write_whole(path, content, force=True)
        path.chmod(mode)
    return True


def _formatted(source: Source) -> str:
    """Raises ModelError, with all mistakes, for a text that cannot be read."""
    from ebmlang.compiler.diagnostics import Report
    from ebmlang.compiler.format import format_module
    from ebmlang.compiler.parse import parse
    from ebmlang.errors import ModelError

    report = Report(source)
    module = parse(report)
    if module is None or report.failed:
        raise ModelError(report.diagnostics)
    return format_module(module, source.text)
