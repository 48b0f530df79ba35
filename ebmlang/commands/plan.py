"""`ebmlang plan`: plan and act in an environment, again and again."""

from __future__ import annotations

import json
import sys
import textwrap
from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING

from ebmlang.commands import options

if TYPE_CHECKING:
    from ebmlang.api import Model
    from ebmlang.planning import Episodes

NAME = "plan"
HELP = "plan and act in an environment"
EXAMPLE = "ebmlang plan models/gallery/planning/swing_up.ebm --env gymnasium:Pendulum-v1"


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="the model, an .ebm file")
    add_world(parser)
    parser.add_argument(
        "--data", metavar="D", help="values that hold in every plan, such as a goal: a file with one row"
    )
    add_course(parser)
    options.add_settings(parser)
    parser.add_argument("--params", metavar="PATH", help="trained parameters, a .safetensors file or a run")
    options.add_binds(parser)
    add_search(parser)
    options.add_output(parser, "where the steps go, .npz or .safetensors; without it only a summary")
    parser.add_argument("--plot", metavar="OUT", help="rewards, actions and observations, .png, .svg or .pdf")
    parser.add_argument("--gif", metavar="OUT", help="moving pictures of all episodes")
    parser.add_argument(
        "--compare",
        action="store_true",
        help="the same episodes once more, by what an `amortize` line predicts",
    )
    parser.add_argument("--strict", action="store_true", help="exit with 3 when a plan did not converge")
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")
    options.add_progress(parser)


def add_world(parser: ArgumentParser) -> None:
    """`--env` and which variable takes what of an observation."""
    parser.add_argument(
        "--env",
        required=True,
        metavar="ENV",
        help="gymnasium:NAME or generated:NAME, with options as NAME,g=9.8; or `model`: the model itself",
    )
    parser.add_argument(
        "--map",
        dest="mapping",
        metavar="V=K",
        type=options.pair,
        action="append",
        default=[],
        help="observed variable V takes the entry K of an observation that is a dictionary, or all: V=*",
    )


def add_course(parser: ArgumentParser) -> None:
    """`--episodes`, `--steps` and `--seed`."""
    course = parser.add_argument_group("the run")
    course.add_argument("--episodes", metavar="N", type=options.count, default=1, help="1 if not given")
    course.add_argument("--steps", metavar="N", type=options.count, help="most actions of an episode")
    course.add_argument(
        "--seed", metavar="S", type=options.whole, default=0, help="of the first episode; the next has S + 1"
    )


def add_search(parser: ArgumentParser) -> None:
    """How plans are made."""
    search = parser.add_argument_group("the plans")
    search.add_argument("--objective", metavar="NAME", help="a `plan` line by its label")
    search.add_argument(
        "--by",
        choices=("plan", "policy"),
        default="plan",
        help="policy: nothing is searched, actions are what an `amortize` line predicts",
    )
    search.add_argument("--every", metavar="K", type=options.count, help="actions before the next plan")
    search.add_argument("--within", metavar="5ms", help="time for a plan: the best by then is taken")
    search.add_argument("--cold", action="store_true", help="every plan begins at the declared start")
    search.add_argument("--using", metavar="METHOD", help="a method instead of the chosen one")
    search.add_argument("--restarts", metavar="R", type=options.count, help="starts per plan")
    search.add_argument("--iterations", metavar="N", type=options.count, help="most steps of a search")
    search.add_argument("--tol", type=options.positive, help="bound on the relative projected gradient")
    search.add_argument("--device", help="cpu, cuda or cuda:1")
    search.add_argument("--dtype", choices=("float32", "float64"), help="float32 if not given")


def run(args: Namespace) -> int:
    from ebmlang import data
    from ebmlang.commands import acting
    from ebmlang.planning import pictures
    from ebmlang.planning.pictures import PLOTS

    if args.output:
        data.require_writable(args.output, args.force)
    for place, endings in ((args.plot, PLOTS), (args.gif, ("gif",))):
        if place:
            pictures.require(place, endings, args.force)
    model = acting.model_of(args)
    episodes, interrupted = acting.played(args, "plan", model, args.by, pictures=args.gif is not None)
    _keep(args, episodes)
    other = None
    if args.compare and not interrupted:
        other, interrupted = acting.played(args, "policy", model, "policy")
    _print(args, model, episodes, other)
    trouble = (*episodes.trouble, *(other.trouble if other is not None else ()))
    for text in trouble:
        print(f"error: {text}", file=sys.stderr)
    if interrupted:
        return 130
    if trouble:
        return 1
    return 3 if args.strict and not all(e.converged.all() for e in episodes) else 0


def _keep(args: Namespace, episodes: Episodes) -> None:
    """Write what was asked for; what there is of broken episodes too."""
    from ebmlang import data

    if args.output:
        data.write(args.output, episodes.transitions(), args.force)
    if args.plot:
        episodes.plot(args.plot, args.force)
    if args.gif:
        episodes.gif(args.gif, args.force)


def _print(args: Namespace, model: Model, episodes: Episodes, other: Episodes | None) -> None:
    """The summary; with that of the policy in the same episodes, where they are compared."""
    if args.json:
        compared = {} if other is None else {"policy": other.to_json()}
        print(json.dumps({**episodes.to_json(), **compared, "output": args.output}, indent=2))
        return
    print(f"{args.file}: model {model.name} in {episodes.world}\n")
    print(episodes)
    for line in notes(episodes):
        print(line)
    if other is not None:
        print(f"\nthe same by the policy\n\n{other}\n\n{_compared(episodes, other)}")
    if args.output:
        print(f"\nwrote {args.output}")


def _compared(episodes: Episodes, other: Episodes) -> str:
    """What the policy reaches, and in which time."""
    import numpy as np

    mean, reached = episodes.returns.mean(), other.returns.mean()
    share = np.median(other.seconds) / np.median(episodes.seconds)
    return f"policy      a return of {reached:.5g} where plans have {mean:.5g}, in {share:.2g} of their time"


def notes(episodes: Episodes) -> list[str]:
    """What else is worth knowing: constraints that were violated, actions that were cut, unfinished plans."""
    plans = sum(e.plans for e in episodes)
    done = sum(int(e.converged.sum()) for e in episodes)
    searched = any(e.searched for e in episodes)
    found = [f"\nconverged   {done:,} of {plans:,} plans" if searched else "\nnothing was searched"]
    for name in episodes.above:
        upper = [e.above[name].converged for e in episodes if name in e.above]
        found.append(f"            {sum(map(sum, upper)):,} of {sum(map(len, upper)):,} of `{name}`, above")
    failed = next((e for e in episodes if e.failure), None)
    if failed is not None:
        text = f"the first that did not, in episode {failed.number}, {failed.failure}"
        found += textwrap.wrap(text, 78, initial_indent=" " * 12, subsequent_indent=" " * 12)
    names = dict.fromkeys(name for e in episodes for name in e.violations)
    for name in names:
        most = max(e.violations.get(name, 0.0) for e in episodes)
        broken = sum(e.broken.get(name, 0) for e in episodes)
        found.append(f"violated    `{name}` in {broken:,} of {plans:,} plans, by at most {most:.3g}")
    outside = sum(e.outside for e in episodes)
    if outside:
        total = sum(e.steps for e in episodes)
        found.append(f"cut         {outside:,} of {total:,} actions, to the bounds of {episodes.world}")
    return found
