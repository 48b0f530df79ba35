"""Several processes of this machine: what they send, what a message costs, what each keeps in memory, and
what the whole of them costs beside one process.

`python -m benchmarks processes`. Each measurement runs in processes of its own, which write what they saw.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import distributed

import ebmlang
from benchmarks.measure import ROOT, Row
from ebmlang.commands.processes import joined, leave, spawned
from ebmlang.runtime.training.stored import Checkpoint, write_checkpoint

STEPS, BATCH = 10, 256

JOINT = """import std.vicreg
model joint(n: int) {
  observed x : real[n]
  observed y : real[n]
  net enc : real[n] -> real[512] = mlp([1024, 1024], act = relu)
  let a = enc(x)
  let b = enc(y)
  use vicreg.vicreg as v with u = a, v = b
  train using adam(lr = 1e-3)
}
"""

CODES = """model codes(n: int, k: int = 256) {
  observed x : real[n]
  latent   z : real[k] = 0
  param    D : real[n, k] in unit_columns = normal()
  energy      fit  = 1/2 * ||x - D @ z||^2
  regularizer size = 0.2 * ||z||_1
  infer z
  train using adam(lr = 1e-3)
}
"""

DEEP = JOINT.replace("mlp([1024, 1024]", f"mlp([{', '.join(['2048'] * 5)}]")
"""18 million parameters, 73 MB."""

MESSAGE = 16 << 20
"""Numbers of a long message, 64 MiB."""


def rows() -> list[Row]:
    """The table of this part."""
    one, two = _apart("train", 1), _apart("train", 2)
    alone, both = _apart("search", 1), _apart("search", 2)
    whole, pieces = _apart("whole", 2), _apart("pieces", 2)
    link = _apart("link", 2)[0]
    disk = _apart("disk", 1)[0]
    return [
        _cost("256 codes by a search in each row", both, alone),
        _cost("VICReg, 1.8 million parameters", two, one),
        _row("the same: given to all-reduce by each process in a step", _bytes(two[0]["all_reduce"])),
        _row("the same: given to all-gather (statistics of the batch)", _bytes(two[0]["all_gather"])),
        _row(
            "all-reduce of 64 MiB between two processes, gloo",
            f"{1e3 * link['long']:.0f} ms",
            "",
            f"{4 * MESSAGE / link['long'] / 1e9:.2f} GB/s",
        ),
        _row("all-reduce of one number", f"{1e6 * link['short']:.0f} us"),
        _row(
            "18 million parameters by adam, memory of a process above its start: pieces, beside whole",
            _bytes(max(p["memory"] for p in pieces)),
            _bytes(max(p["memory"] for p in whole)),
            f"{max(p['memory'] for p in pieces) / max(p['memory'] for p in whole):.2f}",
        ),
        _row(
            "the same: between two steps",
            _bytes(max(p["between"] for p in pieces)),
            _bytes(max(p["between"] for p in whole)),
            f"{max(p['between'] for p in pieces) / max(p['between'] for p in whole):.2f}",
        ),
        _row("a checkpoint of 256 MiB, safe on the disk", f"{disk['rate'] / 1e6:.0f} MB/s"),
    ]


def _cost(what: str, several: list[dict[str, float]], one: list[dict[str, float]]) -> Row:
    """Processor time of a step: of all processes, and of one that does it alone."""
    ours, alone = sum(p["processor"] for p in several), one[0]["processor"]
    what = f"{what}, batch {BATCH}: processor time of a step, two processes together"
    return _row(what, f"{1e3 * ours:.0f} ms", f"{1e3 * alone:.0f} ms", f"{ours / alone:.2f}")


def _row(what: str, ours: str, theirs: str = "", ratio: str = "") -> Row:
    return Row(what, ours, theirs, ratio, "", None)


def _bytes(count: float) -> str:
    return f"{count / 1e6:.1f} MB" if count > 1e5 else f"{count / 1e3:.1f} kB"


def _apart(what: str, count: int) -> list[dict[str, float]]:
    """What each of `count` processes measures."""
    with tempfile.TemporaryDirectory() as folder:
        before = dict(os.environ)
        # Memory that is let go of is given back at once, so that what is measured is what is used.
        os.environ.update(PYTHONPATH=str(ROOT), MALLOC_MMAP_THRESHOLD_="1048576")
        try:
            code = spawned([sys.executable, "-m", "benchmarks.processes", what, folder], count)
        finally:
            os.environ.clear()
            os.environ.update(before)
        if code:
            raise RuntimeError(f"the processes that measure `{what}` ended with {code}")
        return [json.loads((Path(folder) / f"{k}.json").read_text()) for k in range(count)]


# --- in each process ----------------------------------------------------------------------------


def _data(rows: int) -> dict[str, torch.Tensor]:
    x = torch.randn(rows, 256, generator=torch.Generator().manual_seed(0))
    return {"x": x, "y": x + 0.1}


def _train(text: str) -> dict[str, float]:
    m = ebmlang.loads(text)
    data = {name: value for name, value in _data(BATCH).items() if name in m.ranks}
    m.fit(data, steps=2)
    sent = _counted()
    begin = time.process_time()
    m.fit(data, steps=STEPS)
    return {"processor": (time.process_time() - begin) / STEPS, **{k: v / STEPS for k, v in sent.items()}}


def _counted() -> dict[str, float]:
    """Bytes that are given to messages from now on."""
    sent = {"all_reduce": 0.0, "all_gather": 0.0}
    reduce, gather = distributed.all_reduce, distributed.all_gather

    def all_reduce(value: torch.Tensor, *more: Any, **options: Any) -> Any:
        sent["all_reduce"] += value.numel() * value.element_size()
        return reduce(value, *more, **options)

    def all_gather(parts: Any, value: torch.Tensor, *more: Any, **options: Any) -> Any:
        sent["all_gather"] += value.numel() * value.element_size()
        return gather(parts, value, *more, **options)

    vars(distributed).update(all_reduce=all_reduce, all_gather=all_gather)
    return sent


def _memory(shard: bool) -> dict[str, float]:
    data = _data(32)
    ebmlang.loads(JOINT).fit(data, steps=1, shard=shard)  # what is imported once counts for nothing
    m = ebmlang.loads(DEEP)
    start, between = _resident(), []
    m.fit(data, steps=4, shard=shard, progress=lambda record, steps: between.append(_resident()))
    peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"memory": peak - start, "between": between[-2] - start}


def _resident() -> float:
    """Bytes of memory now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def _link() -> dict[str, float]:
    found = {}
    for name, size, times in (("short", 1, 200), ("long", MESSAGE, 7)):
        value = torch.ones(size)
        distributed.all_reduce(value)
        seconds = []
        for _ in range(times):
            begin = time.perf_counter()
            distributed.all_reduce(value)
            seconds.append(time.perf_counter() - begin)
        found[name] = min(seconds)
    return found


def _disk() -> dict[str, float]:
    value = torch.randn(64 << 20)
    with tempfile.TemporaryDirectory() as folder:
        begin = time.perf_counter()
        write_checkpoint(Path(folder), Checkpoint(1, {}, {"W": value}, {}))
        return {"rate": 4 * value.numel() / (time.perf_counter() - begin)}


MEASURED: Mapping[str, Any] = {
    "train": lambda: _train(JOINT),
    "search": lambda: _train(CODES),
    "whole": lambda: _memory(False),
    "pieces": lambda: _memory(True),
    "link": _link,
    "disk": _disk,
}


def main() -> None:
    what, folder = sys.argv[1:]
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    with joined(None) as peers:
        torch.set_num_threads(1)
        if cores:
            os.sched_setaffinity(0, {cores[peers.rank % len(cores)]})
        found = MEASURED[what]()
        (Path(folder) / f"{peers.rank}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main()
    leave(0)
