"""`python -m benchmarks [PART...] [--write]`: measure on one core and print one table.

Parts: front_end, chain, evaluation, digits, transformer, training, samplers, planning, rivals. `--write` also
puts the tables into benchmarks/RESULTS.md, one section for each part with its date; other parts keep theirs.
`python -m benchmarks choices` goes through the methods instead: see benchmarks/choices.py.
`python -m benchmarks processes` measures several processes, each on a core of its own.
"""

from __future__ import annotations

import os

# Before torch is imported.
os.environ["OMP_NUM_THREADS"] = "1"

import argparse
import datetime
import platform
import re
from importlib import import_module
from pathlib import Path

from benchmarks.measure import Row, pin

PARTS = (
    "front_end",
    "chain",
    "evaluation",
    "digits",
    "transformer",
    "training",
    "samplers",
    "planning",
    "rivals",
)
RESULTS = Path(__file__).with_name("RESULTS.md")
APART = {"choices": Path(__file__).with_name("CHOICES.md"), "processes": RESULTS}
"""Parts that run only when they are named, and the pages that they have for themselves."""

IN_TURNS = (
    "one was used by one thread",
    "Both sides of a comparison run in turns in one process; times are medians, ratios are medians over "
    "rounds.",
)
HOW = {
    "processes": (
        "each process used one by one thread",
        "Processor times are means over the steps; times of messages are the least that were seen.",
    )
}
"""How a part is measured, in words: the cores, the two sides."""

HEAD = ("what", "ours", "other side", "ratio", "bar", "met")


def main() -> int:
    """Returns 0 when every bar is met, 1 otherwise."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="measure on one core, print one table"
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; all without one")
    parser.add_argument("--write", action="store_true", help="put the table into benchmarks/RESULTS.md")
    args = parser.parse_args()
    known = (*PARTS, *APART)
    unknown = [part for part in args.parts if part not in known]
    if unknown:
        parser.error(f"there is no part {unknown[0]}; parts are {', '.join(known)}")
    if args.parts != ["processes"]:  # which take a core each
        pin()
    rows: list[Row] = []
    for part in args.parts or PARTS:
        print(f"measuring {part} ...", flush=True)
        found = import_module(f"benchmarks.{part}").rows()
        print(table(found))
        if args.write:
            write(
                APART.get(part, RESULTS),
                part,
                f"{preface(f'python -m benchmarks {part} --write', part)}\n{table(found)}",
            )
        rows += found
    return 0 if all(row.met is not False for row in rows) else 1


def table(rows: list[Row]) -> str:
    """A Markdown table with aligned columns."""
    verdicts = {True: "yes", False: "NO", None: ""}
    cells = [HEAD, *((r.what, r.ours, r.theirs, r.ratio, r.bar, verdicts[r.met]) for r in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(HEAD))]
    lines = [[cell.ljust(width) for cell, width in zip(line, widths, strict=True)] for line in cells]
    lines.insert(1, ["-" * width for width in widths])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def write(path: Path, part: str, text: str) -> None:
    """Put a section into a page, in place of the one of that name."""
    old = path.read_text(encoding="utf-8") if path.exists() else "# Results\n"
    head, *sections = re.split(r"^## ", old, flags=re.MULTILINE)
    kept = {section.partition("\n")[0]: section for section in sections}
    kept[part] = f"{part}\n\n{text}\n"
    pages = "".join(f"## {section.rstrip()}\n\n" for section in kept.values())
    path.write_text(f"{head.rstrip()}\n\n{pages}".rstrip() + "\n", encoding="utf-8", newline="\n")


def preface(command: str, part: str) -> str:
    """Date, machine and versions in words, and how a part is measured."""
    import torch

    cores = os.cpu_count() or 0
    return (
        f"Measured on {datetime.datetime.now(datetime.UTC):%Y-%m-%d} with `{command}`: "
        f"{platform.machine()}, {cores} cores of which {HOW.get(part, IN_TURNS)[0]}, no GPU, "
        f"Python {platform.python_version()}, torch {torch.__version__.split('+')[0]}. "
        f"{HOW.get(part, IN_TURNS)[1]}\n"
    )


if __name__ == "__main__":
    raise SystemExit(main())
