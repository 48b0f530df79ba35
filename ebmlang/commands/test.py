"""`ebmlang test`: hypothesis looks for values at which an energy misbehaves, and shows the smallest."""

from __future__ import annotations

import json
import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ebmlang.commands import options

if TYPE_CHECKING:
    from rich.console import Console

    from ebmlang.testing.run import Finding, Progress

NAME = "test"
HELP = "look for values at which the energy misbehaves, and show the smallest"
EXAMPLE = "ebmlang test models/gallery/sparse_coding.ebm"

_EXAMPLES = 100
_QUIET_SECONDS = 2.0
_STYLES = {"holds": "green", "fails": "bold red", "not checked": "yellow"}


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="the model, an .ebm file")
    options.add_settings(parser)
    parser.add_argument(
        "--examples", metavar="N", type=options.count, default=_EXAMPLES,
        help=f"values drawn for each check, {_EXAMPLES} if not given; inference gets a fifth of them",
    )  # fmt: skip
    parser.add_argument(
        "--seed", metavar="S", type=options.whole, default=0, help="another seed draws other values"
    )
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")
    options.add_progress(parser)


def run(args: Namespace) -> int:
    import ebmlang
    from ebmlang.testing.run import run_checks

    hypers = options.once(args.settings, "--set")
    model = ebmlang.load(args.file, model=args.model, **hypers)
    started = time.monotonic()
    with _progress(args.progress) as told:
        several = args.model is not None
        found = list(
            run_checks(model, examples=args.examples, seed=args.seed, of_several=several, progress=told)
        )
    if args.json:
        print(json.dumps(_json(args.file, model.name, args.seed, found), indent=2))
    else:
        _print(f"{args.file}: model {model.name}, seed {args.seed}", found, time.monotonic() - started)
    return 1 if any(finding.verdict == "fails" for finding in found) else 0


# --- what is printed ----------------------------------------------------------------------------


def _print(title: str, found: list[Finding], seconds: float) -> None:
    from rich.console import Console
    from rich.text import Text

    console = Console(width=None if sys.stdout.isatty() else 80, highlight=False, markup=False)
    console.print(Text(title, style="bold"))
    console.print()
    _print_table(console, found)
    failed = [finding for finding in found if finding.counterexample is not None]
    for finding in failed:
        assert finding.counterexample is not None
        console.print()
        console.print(Text(f"{finding.check} fails: {finding.counterexample.message}", style="bold red"))
        console.print(Text("the smallest values found; this program shows it:", style="dim"))
        # Not through the console: wrapped lines could not be pasted back.
        print(f"\n{_indented(finding.counterexample.program)}", flush=True)
    console.print()
    held = sum(finding.verdict == "holds" for finding in found)
    style = "red" if failed else "green"
    console.print(Text(f"{held} of {len(found)} checks hold ({seconds:.1f} s)", style=style))


def _print_table(console: Console, found: list[Finding]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=True, padding=(0, 1), header_style="dim")
    table.add_column("check", overflow="fold")
    table.add_column("examples", justify="right")
    table.add_column("result")
    table.add_column("remarks", overflow="fold")
    for finding in found:
        table.add_row(
            Text(finding.check), Text(f"{finding.examples:,}"),
            Text(finding.verdict, style=_STYLES[finding.verdict]), Text(_remarks(finding)),
        )  # fmt: skip
    console.print(table)


def _remarks(finding: Finding) -> str:
    if finding.because:
        return finding.because.replace("\n  try:", ";")
    return ", ".join(f"{count:,} {words}" for words, count in finding.remarks.items())


def _indented(text: str) -> str:
    return "\n".join(f"    {line}" if line else "" for line in text.split("\n"))


def _json(file: str, model: str, seed: int, found: list[Finding]) -> dict[str, Any]:
    checks = []
    for finding in found:
        entry: dict[str, Any] = {
            "check": finding.check,
            "examples": finding.examples,
            "result": finding.verdict,
            "remarks": dict(finding.remarks),
        }
        if finding.because:
            entry["because"] = finding.because
        if finding.counterexample is not None:
            example = finding.counterexample
            entry["counterexample"] = {"message": example.message, "program": example.program}
        checks.append(entry)
    holds = all(finding.verdict != "fails" for finding in found)
    return {"file": file, "model": model, "seed": seed, "holds": holds, "checks": checks}


# --- progress -----------------------------------------------------------------------------------


@contextmanager
def _progress(shown: bool) -> Iterator[Progress | None]:
    """A bar on a terminal; elsewhere a line when a check has taken a while."""
    if not shown:
        yield None
        return
    if not sys.stderr.isatty():
        yield _lines()
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
    from rich.progress import Progress as Bars

    name = TextColumn("{task.description}", markup=False)
    columns = (name, BarColumn(), MofNCompleteColumn(), TextColumn("examples"))
    with Bars(*columns, console=Console(file=sys.stderr), transient=True) as bars:
        task = bars.add_task("test", total=None)

        def told(name: str, done: int, total: int) -> None:
            bars.update(task, description=f"test {name}", completed=done, total=total)

        yield told


def _lines() -> Callable[[str, int, int], None]:
    last = [time.monotonic()]

    def told(name: str, done: int, total: int) -> None:
        now = time.monotonic()
        if now - last[0] >= _QUIET_SECONDS:
            last[0] = now
            print(f"test {name}: {done:,} of {total:,} examples", file=sys.stderr, flush=True)

    return told
