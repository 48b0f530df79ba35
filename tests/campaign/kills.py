"""`python -m tests.campaign.kills [--kills N] [--seed S] [--write]`: kill a run again and again, at random
moments, and compare what it ends with to a run that nobody disturbed, byte by byte.

Every try is a process that is forked with everything imported, so that kills fall into the work and not into
the start. `--write` notes the result with its date in tests/campaign/KILLS.md.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import io
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ebmlang import runs
from ebmlang.cli import main as run_command
from tests.training.test_kept import PROGRAMME, Y

NOTED = Path(__file__).with_name("KILLS.md")

LONGEST = 1 / 3
"""What a try may live, of the time that the undisturbed run takes."""

STEPS, EVERY = 150, 3
"""Of a run, and between two checkpoints."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.campaign.kills", description=__doc__)
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = campaign(Path(folder), options.kills, options.seed)
    print(found)
    if options.write:
        NOTED.write_text(f"# Kills\n\n{found}\n", encoding="utf-8")
    return 0 if "WRONG" not in found else 1


def campaign(folder: Path, kills: int, seed: int) -> str:
    """What came of it, in words."""
    (folder / "m.ebm").write_text(PROGRAMME)
    np.savez(folder / "y.npz", y=Y.numpy())
    words = f"train {folder}/m.ebm --data {folder}/y.npz --dtype float64 --batch-size 8 --validate 0.1"
    words += f" --steps {STEPS} --checkpoint {EVERY} --no-progress -o {folder}"
    begin = time.monotonic()
    assert _quietly(f"{words}/whole") == 0, "the run that nobody disturbs"
    longest = LONGEST * (time.monotonic() - begin)
    rng, fell, ended, places = np.random.default_rng(seed), 0, 0, set()
    while fell < kills or not ended:
        if _killed(f"{words}/broken", rng.uniform(0.02, longest)):
            wrong = _wrong(folder)
            if wrong:
                return f"WRONG after {fell} kills: {wrong}"
            ended += 1
            shutil.rmtree(folder / "broken")  # another run takes the next blows
        else:
            fell += 1
            places.add(_lines(folder / "broken"))
    today = datetime.datetime.now(datetime.UTC).date()
    return (
        f"{today}: {fell} times SIGKILL at random moments of runs of {STEPS} steps with a checkpoint every "
        f"{EVERY}, after {len(places)} different numbers of steps. {ended} runs came to their end, each with "
        "the parameters and the records of the undisturbed one, to the bit."
    )


def _killed(words: str, seconds: float) -> bool:
    """Run a command for some seconds and kill it; whether it ended by itself before."""
    child = os.fork()
    if child == 0:
        os._exit(_quietly(words))
    time.sleep(seconds)
    ended, status = os.waitpid(child, os.WNOHANG)
    if ended:
        assert os.waitstatus_to_exitcode(status) == 0, "a run that goes on ends well"
        return True
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return False


def _quietly(words: str) -> int:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        return run_command(words.split())


def _lines(run: Path) -> int:
    history = run / runs.HISTORY
    return history.read_bytes().count(b"\n") if history.exists() else 0


def _wrong(folder: Path) -> str:
    """What differs between the two runs; empty where nothing does."""
    one, two = folder / "whole", folder / "broken"
    if (one / runs.PARAMETERS).read_bytes() != (two / runs.PARAMETERS).read_bytes():
        return "other parameters"
    return "" if _records(one) == _records(two) else "other records"


def _records(run: Path) -> list[Mapping[str, Any]]:
    """Those of a run, without the time that they took."""
    found = [json.loads(line) for line in (run / runs.HISTORY).read_text().splitlines()]
    return [{key: value for key, value in record.items() if key != "seconds"} for record in found]


if __name__ == "__main__":
    sys.exit(main())
