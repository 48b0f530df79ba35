"""`ebmlang explain`: which method for which block and why, or what a diagnostic means."""

from __future__ import annotations

import re
import shutil
import sys
import textwrap
from argparse import ArgumentParser, Namespace

from ebmlang.commands import options

NAME = "explain"
HELP = "say which method answers a question and why, or what a diagnostic means"
EXAMPLE = "ebmlang explain models/gallery/sparse_coding.ebm\n  ebmlang explain E0401"


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "what", metavar="FILE|CODE", help="a model file, or the code of a diagnostic such as E0401"
    )
    options.add_settings(parser)
    parser.add_argument(
        "--given", metavar="A,B", type=options.names, default=(), help="variables that are given"
    )
    parser.add_argument("--find", metavar="Y", type=options.names, help="variables to find")
    parser.add_argument("--of", metavar="EXPR", help="what to minimise instead of the total energy")
    parser.add_argument("--objective", metavar="NAME", help="a named objective of the file")
    parser.add_argument("--using", metavar="METHOD", help="a method instead of the chosen one")


def run(args: Namespace) -> int:
    if re.fullmatch(r"[EW]\d{4}", args.what):
        return _code(args.what)
    from ebmlang.explaining import explain_file

    settings = options.once(args.settings, "--set")
    asked = bool(args.given or args.find or args.of or args.objective or args.using)
    text = explain_file(
        args.what, args.model, args.given, args.find, args.of, args.objective, args.using, not asked, settings
    )
    print(_wrapped(text) if sys.stdout.isatty() else text)
    return 0


def _wrapped(text: str) -> str:
    """Long lines folded to the terminal, below where their text begins."""
    width = max(40, shutil.get_terminal_size().columns)
    lines = []
    for line in text.split("\n"):
        lead = re.match(r"\s*(?:found|method|because|answer|provided|sizes|not)?\s*", line)
        below = " " * (lead.end() if lead is not None else 0)
        lines += textwrap.wrap(line, width, subsequent_indent=below, break_on_hyphens=False) or [""]
    return "\n".join(lines)


def _code(code: str) -> int:
    from ebmlang.compiler.catalogue import all_diagnostics
    from ebmlang.compiler.diagnostics import did_you_mean
    from ebmlang.errors import DataError

    known = {kind.code: kind for kind in all_diagnostics()}
    if code not in known:
        raise DataError(
            f"there is no diagnostic {code}",
            did_you_mean(code, known) or "codes are printed by `ebmlang check`",
        )
    print(f"{code} {known[code].explanation()}")
    return 0
