"""`python -m tests.gallery`: measure systems of the gallery, and note the figures with their date."""

from __future__ import annotations

import argparse
import datetime
import json
import sys
import time
from pathlib import Path
from typing import Any

import torch

from tests.gallery.figures import System
from tests.gallery.table import SYSTEMS

RESULTS = Path(__file__).parents[2] / "docs" / "gallery.json"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.gallery", description=__doc__)
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="systems, by name or by file; all by default"
    )
    parser.add_argument("--list", action="store_true", help="print the systems, run nothing")
    parser.add_argument("--write", action="store_true", help=f"note the figures in docs/{RESULTS.name}")
    options = parser.parse_args()
    chosen = [s for s in SYSTEMS if not options.names or {s.name, s.file} & set(options.names)]
    unknown = set(options.names) - {s.name for s in SYSTEMS} - {s.file for s in SYSTEMS}
    if unknown:
        parser.error(f"no such system: {', '.join(sorted(unknown))}; --list prints them")
    if options.list:
        for system in SYSTEMS:
            print(f"{system.name:32} {system.file:44} {'long' if system.long else ''}".rstrip())
        return 0
    torch.set_num_threads(1)
    missed = [system.name for system in chosen if not run(system, options.write)]
    print(f"{len(chosen) - len(missed)} of {len(chosen)} systems within their bars")
    return 1 if missed else 0


def run(system: System, write: bool) -> bool:
    """Measure one system and print its figures. Returns whether all bars are met."""
    begin = time.process_time()
    figures = system.measure()
    seconds = time.process_time() - begin
    print(f"{system.name} ({system.file}), {seconds:.0f} s; reference: {system.reference}")
    for figure in figures:
        floors = "".join(f", {name} {value:.4g}" for name, value in figure.floors)
        print(
            f"  {'ok' if figure.met else 'NO':3}{figure.what}: {figure.value:.6g} (bar {figure.bar}{floors})"
        )
    sys.stdout.flush()
    if write:
        _note(
            system,
            [
                {
                    "what": figure.what,
                    "value": float(f"{figure.value:.6g}"),
                    "bar": figure.bar,
                    "met": figure.met,
                    "shortfall": figure.shortfall,
                    "floors": {name: float(f"{value:.6g}") for name, value in figure.floors},
                }
                for figure in figures
            ],
            seconds,
        )
    return all(figure.met for figure in figures)


def _note(system: System, figures: list[dict[str, Any]], seconds: float) -> None:
    """Put the result of one system in its place; those of the others stay."""
    results = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    results[system.name] = {
        "file": system.file,
        "reference": system.reference,
        "long": system.long,
        "date": datetime.date.today().isoformat(),
        "seconds": round(seconds),
        "figures": figures,
    }
    order = {known.name: place for place, known in enumerate(SYSTEMS)}
    kept = {
        name: results[name]
        for name in sorted(results, key=lambda n: order.get(n, len(order)))
        if name in order
    }
    RESULTS.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8", newline="\n")


if __name__ == "__main__":
    sys.exit(main())
