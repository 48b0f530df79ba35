"""Compiling the smoothing chain: time and memory must not depend on its length."""

from __future__ import annotations

import time
import tracemalloc
from statistics import median

from benchmarks.measure import ROOT, Row
from ebmlang.compiler import pipeline, typed
from ebmlang.compiler.query import Query, default_question, default_sought
from ebmlang.compiler.source import Source

BAR = 1.2
LENGTHS = (10, 100_000)


def rows() -> list[Row]:
    """Time and peak memory of text to PyTorch at both lengths, in turns."""
    text = (ROOT / "models" / "gallery" / "smoothing_chain.ebm").read_text(encoding="utf-8")
    texts = [text.replace("T: int", f"T: int = {length}") for length in LENGTHS]
    for each in texts:
        _compile(each)
    times = [tuple(_seconds(each) for each in texts) for _ in range(61)]
    peaks = [tuple(_peak(each) for each in texts) for _ in range(5)]
    return [_row("time", times, 1e3, "ms"), _row("peak memory", peaks, 2**-10, "KiB")]


def _row(what: str, pairs: list[tuple[float, ...]], scale: float, unit: str) -> Row:
    ratio = median(long / short for short, long in pairs)
    short, long = median(p[0] for p in pairs), median(p[1] for p in pairs)
    return Row(
        f"compile the chain, T = 100,000 against T = 10: {what}",
        f"{long * scale:.1f} {unit}",
        f"{short * scale:.1f} {unit}",
        f"{ratio:.2f}",
        f"< {BAR}",
        ratio < BAR,
    )


def _compile(text: str) -> str:
    model = pipeline.pick_model(pipeline.check_source(Source("chain.ebm", text)), None)
    if not isinstance(model, typed.Model):
        raise RuntimeError("the chain does not compile")
    question = default_question(model, None)
    query = Query(tuple(default_sought(model, question)), None, None, question)
    return pipeline.generate_for(pipeline.plan_for(pipeline.graph_of(model), query)).text


def _seconds(text: str) -> float:
    begin = time.process_time()
    _compile(text)
    return time.process_time() - begin


def _peak(text: str) -> float:
    tracemalloc.start()
    _compile(text)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak
