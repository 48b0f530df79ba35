"""`ebmlang collect`: gather transitions of an environment, to train a model of it."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from typing import TYPE_CHECKING

from ebmlang.commands import options, plan

if TYPE_CHECKING:
    from ebmlang.planning.spaces import Array

NAME = "collect"
HELP = "gather transitions of an environment by random actions or by plans"
EXAMPLE = "ebmlang collect --env gymnasium:Pendulum-v1 --episodes 5 -o transitions.npz"


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "file", metavar="FILE", nargs="?", help="a model that plans; without it actions are random"
    )
    plan.add_world(parser)
    parser.add_argument("--data", metavar="D", help="values that hold in every plan: a file with one row")
    plan.add_course(parser)
    parser.add_argument(
        "--noise",
        metavar="S",
        type=options.positive,
        help="with a model: normal noise on actions, as a share of their range",
    )
    parser.add_argument(
        "--hold",
        metavar="N",
        type=options.count,
        help="without a model: an action lasts N steps on average, not 1",
    )
    parser.add_argument(
        "--window",
        metavar="K",
        type=options.count,
        help="rows of K steps that follow each other, with K + 1 observations, not of one step",
    )
    options.add_settings(parser)
    parser.add_argument("--params", metavar="PATH", help="trained parameters, a .safetensors file or a run")
    options.add_binds(parser)
    plan.add_search(parser)
    options.add_output(parser, "where the transitions go, .npz or .safetensors")
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")
    options.add_progress(parser)


def run(args: Namespace) -> int:
    if not args.output:
        raise options.UsageError("collect needs a place for the transitions: -o transitions.npz")
    if args.env == "model" and not args.file:
        raise options.UsageError("--env model needs the model: collect FILE --env model")
    if args.noise and not args.file:
        raise options.UsageError("--noise goes with a model: without one, actions are random already")
    if args.hold and args.file:
        raise options.UsageError("--hold goes with random actions: a model says what it does in every step")
    from ebmlang import data
    from ebmlang.commands import acting

    data.require_writable(args.output, args.force)
    model = acting.model_of(args) if args.file else None
    episodes, interrupted = acting.played(args, "collect", model, args.by, noise=args.noise or 0.0)
    done = any(e.steps for e in episodes)
    rows = episodes.windows(args.window) if args.window and done else episodes.transitions()
    if rows:
        data.write(args.output, rows, args.force)
    if args.json:
        print(json.dumps({**episodes.to_json(), "output": args.output}, indent=2))
    else:
        count = sum(e.steps for e in episodes)
        print(f"{episodes.world}: {count:,} transitions of {len(episodes):,} episodes")
        print("\n".join(_shapes(rows)))
        print(f"wrote {args.output}" if rows else "nothing was written")
    for trouble in episodes.trouble:
        print(f"error: {trouble}", file=sys.stderr)
    return 130 if interrupted else 1 if episodes.trouble else 0


def _shapes(rows: Mapping[str, Array]) -> list[str]:
    """The shapes of all entries, as many in a line as fit."""
    lines: list[str] = []
    for name, values in rows.items():
        entry = f"{name} {list(values.shape)}"
        if lines and len(lines[-1]) + 2 + len(entry) <= 78:
            lines[-1] += f"  {entry}"
        else:
            lines.append(entry)
    return lines
