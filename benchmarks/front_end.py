"""Parsing and checking: a cold start, and growth with the length of the text."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from statistics import median

from benchmarks.measure import Row, processor_seconds, run_python
from ebmlang.compiler import pipeline
from ebmlang.compiler.source import Source

COLD_BAR = 0.35
GROWTH_BAR = 4.4
SPEED_BAR = 1500


def dense_model(lines: int) -> str:
    """A model of that many lines, each a declaration or a term with some arithmetic."""
    groups = max(1, (lines - 4) // 4)
    text = ["model dense(n: int, w: real in nonnegative = 1.0) {", "  observed y : real[n]"]
    for i in range(groups):
        text.append(f"  latent x{i} : real[n] = 0")
        text.append(f"  let r{i} = (y - {i + 1} * x{i}) / (1 + {i} / 7) + sin(x{i}) * exp(-x{i}^2)")
        text.append(f"  energy fit{i} = 1/2 * ||r{i}||^2 + sum(log1p(r{i}^2)) / n")
        text.append(f"  regularizer small{i} = w * sum(huber(x{i}, delta = 0.5)) + 0.1 * dot(x{i}, x{i})")
    text += ["  infer x0", "}"]
    return "\n".join(text) + "\n"


def rows() -> list[Row]:
    """Cold `ebmlang check`, imports, linearity and speed."""
    return [*_cold(), *_growth()]


def _cold() -> list[Row]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "dense.ebm"
        path.write_text(dense_model(100), encoding="utf-8")
        run_python(["-m", "ebmlang", "check", str(path)])  # writes byte code and the parser's cache
        seconds = median(processor_seconds(["-m", "ebmlang", "check", str(path)]) for _ in range(9))
        bare = median(processor_seconds(["-c", "pass"]) for _ in range(9))
        heavy = run_python(
            [
                "-c",
                "import sys; from ebmlang.cli import main\n"
                f"try: main(['check', {str(path)!r}])\nexcept SystemExit: pass\n"
                "print([m for m in ('torch', 'numpy', 'sympy', 'networkx') if m in sys.modules])",
            ]
        ).splitlines()[-1]
    return [
        Row(
            "ebmlang check, 100 lines, cold: processor time",
            f"{seconds:.3f} s",
            f"bare Python {bare:.3f} s",
            "",
            f"< {COLD_BAR} s",
            seconds < COLD_BAR,
        ),
        Row(
            "ebmlang check: of torch, numpy, sympy, networkx it imports",
            heavy,
            "",
            "",
            "no torch",
            "torch" not in heavy,
        ),
    ]


def _growth() -> list[Row]:
    sizes = (5_000, 20_000)
    sources = [Source("dense.ebm", dense_model(lines)) for lines in sizes]
    times: list[tuple[float, float]] = []
    for _ in range(3):
        short, long = (_checked(source) for source in sources)
        times.append((short, long))
    short, long = median(a for a, _ in times), median(b for _, b in times)
    ratio = median(b / a for a, b in times)
    speed = sizes[1] / long
    return [
        Row(
            "parse and check, 20,000 lines against 5,000",
            f"{long:.2f} s",
            f"{short:.2f} s",
            f"{ratio:.2f}",
            f"<= {GROWTH_BAR}",
            ratio <= GROWTH_BAR,
        ),
        Row(
            "parse and check, dense lines a second",
            f"{speed:,.0f}",
            "",
            "",
            f">= {SPEED_BAR:,}",
            speed >= SPEED_BAR,
        ),
    ]


def _checked(source: Source) -> float:
    begin = time.process_time()
    checked = pipeline.check_source(source)
    seconds = time.process_time() - begin
    if checked.failed:
        raise RuntimeError(str(checked.diagnostics[0]))
    return seconds
