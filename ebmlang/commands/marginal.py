"""`ebmlang marginal`: free energies and marginals for every row of a data set."""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ebmlang.commands import infer, options, rows

if TYPE_CHECKING:
    from torch import Tensor

    from ebmlang.data import ResultWriter
    from ebmlang.runtime.marginal import Marginal

NAME = "marginal"
HELP = "sum unknowns out: free energies, log Z and marginals for every row of the data"
EXAMPLE = "ebmlang marginal models/gallery/alarm.ebm -o marginals.npz"


@dataclass
class _Summary:
    """What is told about all rows, gathered chunk by chunk."""

    rows: int = 0
    impossible: int = 0
    infinite: int = 0
    reason: str = ""
    poor: int = 0
    """Rows whose estimate is not to be relied upon, and what is said of the first."""
    warning: str = ""
    error: float | None = None
    effective: float | None = None
    """Of estimates: the largest standard error of log Z, and the least number of chains that count."""
    energy: float = 0.0
    log_z: float = 0.0
    method: str = ""
    because: str = ""
    beta: float = 1.0
    likely: dict[str, list[float]] = field(default_factory=dict)
    """By variable: summed probability of each case, over rows and entries; then the number of them."""
    moments: dict[str, list[float]] = field(default_factory=dict)
    """By real variable: summed means, summed deviations, and the number of entries."""

    def add(self, found: Marginal) -> None:
        finite = found.log_z.isfinite()
        self.rows += int(finite.numel())
        self.impossible += int((found.log_z == -float("inf")).sum())
        self.infinite += int((~finite & (found.log_z != -float("inf"))).sum())
        lost = ("infinite", "no estimate")
        self.reason = self.reason or next((s for s in found.status if s.startswith(lost)), "")
        self._add_estimates(found, finite)
        self.energy += float(found.energy[finite].double().sum())
        self.log_z += float(found.log_z[finite].double().sum())
        self.method, self.because, self.beta = found.method, found.because, found.beta
        for name, p in found.marginals.items():
            if name in found.real:
                self._add_moments(name, p, found)
                continue
            flat = p.detach().double().reshape(-1, p.shape[-1])
            total = self.likely.setdefault(name, [0.0] * (p.shape[-1] + 1))
            for case, mass in enumerate([*flat.sum(0).tolist(), float(flat.shape[0])]):
                total[case] += mass

    def _add_estimates(self, found: Marginal, finite: Tensor) -> None:
        if found.error is None or found.effective is None:
            return
        poor = [s for s in found.status if s.startswith("poor")]
        self.poor += len(poor)
        self.warning = self.warning or next(iter(poor), "")
        if bool(finite.any()):
            error, effective = float(found.error[finite].max()), float(found.effective[finite].min())
            self.error = max(error, self.error or 0.0)
            self.effective = effective if self.effective is None else min(effective, self.effective)

    def _add_moments(self, name: str, mean: Tensor, found: Marginal) -> None:
        finite = mean.isfinite()
        deviation = found.deviations.get(name)
        total = self.moments.setdefault(name, [0.0, 0.0, 0.0])
        total[0] += float(mean[finite].double().sum())
        total[1] += float("nan") if deviation is None else float(deviation[finite].double().sum())
        total[2] += float(finite.sum())

    def real_means(self) -> dict[str, dict[str, float | None]]:
        """The mean and the standard deviation of each real variable, over rows and entries."""
        found: dict[str, dict[str, float | None]] = {}
        for name, (mean, deviation, count) in self.moments.items():
            own = {"mean": mean / max(count, 1.0), "deviation": deviation / max(count, 1.0)}
            found[name] = {k: v if v == v and count else None for k, v in own.items()}
        return found

    def means(self) -> dict[str, list[float]]:
        """The mean probability of each case, by variable."""
        return {name: [mass / max(x[-1], 1.0) for mass in x[:-1]] for name, x in self.likely.items()}

    def to_json(self) -> dict[str, Any]:
        finite = max(self.rows - self.impossible - self.infinite, 1)
        known = self.rows > self.impossible + self.infinite
        return {
            "rows": self.rows,
            "impossible": self.impossible,
            "infinite": self.infinite,
            "energy": self.energy / finite if known else None,
            "log_z": self.log_z / finite if known else None,
            "error": self.error,
            "effective": self.effective,
            "poor": self.poor,
            "beta": self.beta,
            "method": self.method,
            "because": self.because,
            "marginals": self.means(),
            "moments": self.real_means(),
        }

    def print(self, title: str, written: str | None) -> None:
        shown = self.to_json()
        print(title)
        for word in ("energy", "log_z"):
            value = shown[word]
            print(f"  mean {word:<8} {'-' if value is None else f'{value:,.6g}'}")
        if self.error is not None:
            counted = f"at least {self.effective:,.0f} of the chains count"
            print(f"  error         {self.error:.2g} of log Z at most; {counted}")
        for name, cases in self.means().items():
            first = ", ".join(f"{p:.4f}" for p in cases[:8]) + (", ..." if len(cases) > 8 else "")
            print(f"  P({name}){' ' * max(1, 10 - len(name))}{first}  (by case, mean over rows and entries)")
        for name, own in self.real_means().items():
            mean, deviation = ("-" if v is None else f"{v:,.6g}" for v in own.values())
            print(f"  {name:<13} {mean}, deviation {deviation}  (mean over rows and entries)")
        if self.infinite:
            print(f"  infinite      {self.infinite:,} of {self.rows:,} rows: {self.reason}")
        if self.impossible:
            rows = f"{self.impossible:,} of {self.rows:,} rows"
            print(f"  impossible    {rows}: every assignment has the energy inf")
        if self.poor:
            print(f"  warning       {self.poor:,} of {self.rows:,} rows: {self.warning}")
        print(f"  method        {self.method}: {self.because}")
        if written:
            print(f"  written       {written}")


def add_arguments(parser: ArgumentParser) -> None:
    options.add_model_and_data(parser)
    parser.add_argument("--given", metavar="A,B", type=options.names, help="variables that the data gives")
    parser.add_argument("--find", metavar="Y", type=options.names, help="variables to sum out")
    parser.add_argument(
        "--beta", metavar="B", type=options.positive, help="inverse temperature instead of the file's"
    )
    estimated = parser.add_argument_group("an estimate instead of the exact sum")
    estimated.add_argument("--using", metavar="WAY", help="ais: annealed importance sampling")
    estimated.add_argument(
        "--chains", metavar="C", type=options.count, help="chains per row, 64 if not given"
    )
    estimated.add_argument(
        "--temperatures",
        metavar="T",
        type=options.count,
        help="laws on the way to the model, 500 if not given",
    )
    options.add_settings(parser)
    parser.add_argument("--params", metavar="PATH", help="trained parameters, a .safetensors file or a run")
    options.add_binds(parser)
    parser.add_argument("--seed", metavar="S", type=options.whole, default=0, help="of random draws")
    options.add_resources(parser)
    options.add_output(parser, "where the result goes, .npz or .safetensors; without it only a summary")
    parser.add_argument(
        "--strict", action="store_true", help="exit with 3 when a row is impossible, infinite or poor"
    )
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")


def run(args: Namespace) -> int:
    asked = rows.opened(args, _question(args))
    summary = _Summary()

    def take(found: Marginal, writer: ResultWriter | None) -> None:
        summary.add(found)
        if writer is not None:
            _write(found, writer)

    import torch

    from ebmlang.summing import Wish

    wish = Wish(args.using, args.chains, args.temperatures)
    with torch.no_grad():
        interrupted = rows.take_chunks(
            args,
            lambda update: asked.engine.sums(asked.dataset, asked.matching, args.beta, wish).chunks(),
            take,
            lambda: summary.rows,
        )
    if args.json:
        print(json.dumps({**summary.to_json(), "output": args.output}, indent=2))
    else:
        count = "1 row" if summary.rows == 1 else f"{summary.rows:,} rows"
        summary.print(f"{args.file}: {count} from {args.data or 'no data'}", args.output)
    failed = summary.impossible + summary.infinite + summary.poor
    return rows.exit_code(args, interrupted=interrupted, done=summary.rows, total=asked.total, failed=failed)


def _write(found: Marginal, writer: ResultWriter) -> None:
    """`energy`, `log_z`, and `marginal.NAME` for every unknown that was summed out; where that is the mean
    of a real one also `deviation.NAME` and `covariance.NAME`; of estimates `error` and `effective`."""
    writer.append("energy", found.energy.detach().cpu().numpy())
    writer.append("log_z", found.log_z.detach().cpu().numpy())
    for name, numbers in (("error", found.error), ("effective", found.effective)):
        if numbers is not None:
            writer.append(name, numbers.cpu().numpy())
    for name, p in found.marginals.items():
        writer.append(f"marginal.{name}", p.detach().cpu().numpy())
    for name, p in found.deviations.items():
        writer.append(f"deviation.{name}", p.detach().cpu().numpy())
    for name, p in found.covariances.items():
        writer.append(f"covariance.{name}", p.detach().cpu().numpy())


def _question(args: Namespace) -> infer.Question:
    return infer.Question(
        path=args.file,
        model=args.model,
        settings=options.once(args.settings, "--set"),
        given=args.given,
        observed=options.once(args.observed, "--observed"),
        find=args.find,
        of=None,
        objective=None,
        restarts=1,
        seed=args.seed,
        device=args.device,
        dtype=args.dtype,
        tol=None,
        steps=None,
        using=None,
        max_memory=args.max_memory,
        params=args.params,
        binds=options.once(args.binds, "--bind"),
    )
