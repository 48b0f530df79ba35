"""`python -m tests.campaign`: draw models, judge what is claimed of them, print what is wrong."""

from __future__ import annotations

import argparse
import sys
import time
import traceback

import numpy as np

from tests.campaign.judge import Tally, judge_model
from tests.campaign.models import draw


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.campaign", description=__doc__)
    parser.add_argument("--models", type=int, default=100, help="how many models are drawn")
    parser.add_argument("--seed", type=int, default=0, help="the first seed; each model has its own")
    parser.add_argument(
        "--seconds", type=float, default=float("inf"), help="draw no more models after this time"
    )
    parser.add_argument("--show", action="store_true", help="print the texts of the models, ask nothing")
    options = parser.parse_args()
    tally, judged, begin = Tally(), 0, time.monotonic()
    for seed in range(options.seed, options.seed + options.models):
        if options.show:
            print(draw(np.random.default_rng(seed)).text)
            continue
        if time.monotonic() - begin > options.seconds:
            break
        judged += 1
        known = len(tally.wrong)
        try:
            judge_model(seed, tally)
        except Exception:
            tally.wrong.append(f"seed {seed}: {traceback.format_exc(limit=-3)}")
        for line in tally.wrong[known:]:
            print(line, flush=True)
    print(f"{judged} models, {sum(tally.statuses.values())} answers")
    for name, count in sorted(tally.statuses.items()):
        print(f"{count:6}  {name}")
    print(f"\nnot wrong, but worth a look: {len(tally.remarks)}")
    for line in tally.remarks:
        print(f"  {line}")
    print(f"\nWRONG: {len(tally.wrong)}")
    return 1 if tally.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
