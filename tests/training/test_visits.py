"""What is kept of every row: in a file as in memory, against a plain dictionary."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import ebmlang
from ebmlang import DataError
from ebmlang.runtime.training.stored import Checkpoint, read_checkpoint, write_checkpoint
from ebmlang.runtime.training.visits import RowFile, Visits

ROWS = 40


def values(seed: int, count: int) -> dict[str, Tensor]:
    made = torch.Generator().manual_seed(seed)
    real = torch.randn(count, 3, 2, generator=made, dtype=torch.float64)
    return {"x": real, "on": real[:, 0] > 0, "case": (9 * real[:, 0, 0]).long()}


def visited(filed: bool) -> tuple[Visits, dict[int, dict[str, Tensor]]]:
    """Some visits of some rows, and what they left by row."""
    made = Visits(ROWS, filed)
    expected: dict[int, dict[str, Tensor]] = {}
    order = np.random.default_rng(0)
    for seed in range(4):
        rows = order.choice(ROWS, 11, replace=False)
        some = values(seed, 11)
        made.put(rows, some)
        expected |= {int(row): {n: v[k] for n, v in some.items()} for k, row in enumerate(rows)}
    return made, expected


def agree(found: Visits, expected: dict[int, dict[str, Tensor]]) -> None:
    rows = np.random.default_rng(1).permutation(ROWS)
    picked, seen = found.pick(rows), found.seen(rows)
    for k, row in enumerate(rows.tolist()):
        assert bool(seen[k]) == (row in expected)
        for name, value in picked.items():
            known = expected[row][name] if row in expected else torch.zeros_like(value[k])
            assert value.dtype == known.dtype
            assert torch.equal(value[k], known)


@pytest.mark.parametrize("filed", [True, False])
def test_the_last_visit_of_a_row_counts(filed: bool) -> None:
    found, expected = visited(filed)
    assert 11 < len(expected) < ROWS
    agree(found, expected)


@pytest.mark.parametrize("into", [True, False])
@pytest.mark.parametrize("filed", [True, False])
def test_a_checkpoint_holds_them(filed: bool, into: bool, tmp_path: Path) -> None:
    found, expected = visited(filed)
    write_checkpoint(tmp_path, Checkpoint(3, {}, {}, {"players": [found.state()]}))
    stored = read_checkpoint(tmp_path / "00000003")
    other = Visits(ROWS, into)
    other.restore(stored.trainer["players"][0])
    agree(other, expected)


def test_a_damaged_file_is_noticed(tmp_path: Path) -> None:
    found, _ = visited(True)
    write_checkpoint(tmp_path, Checkpoint(3, {}, {}, found.state()))
    path = tmp_path / "00000003" / "rows" / "0"
    content = bytearray(path.read_bytes())
    content[100] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match="rows/0 is damaged"):
        read_checkpoint(tmp_path / "00000003")


CHAINS = """model chains(n: int) {
  observed y : real[n]
  param m : real[n] = normal()
  energy bowl = 1/2 * ||y - m||^2
  train by contrastive_divergence(y, sampler = langevin(step = 0.1), persistent = true)
}
"""


def test_a_full_disk_ends_the_run_with_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    real, calls = RowFile.put, []

    class Full:
        """A file on a disk that is full."""

        def seek(self, place: int) -> None: ...

        def write(self, content: Any) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

    def put(self: RowFile, rows: Any, some: Tensor) -> None:
        calls.append(len(rows))
        if len(calls) > 2:
            object.__setattr__(self, "file", Full())
        real(self, rows, some)

    monkeypatch.setattr(RowFile, "put", put)
    m = ebmlang.loads(CHAINS, seed=0)
    with pytest.raises(DataError, match=r"cannot be written: No space left on device(.|\n)*TMPDIR"):
        m.fit(y=np.zeros((20, 3)), batch_size=5, epochs=2, max_memory=64)
    assert all(bool(torch.isfinite(p).all()) for p in m.parameters())
