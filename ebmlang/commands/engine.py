"""Where the `infer` command meets the Python API: a model that is asked about rows of a data set."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ebmlang.api import Model
from ebmlang.commands.binding import bound_nets
from ebmlang.data import Wanted
from ebmlang.errors import DataError, EbmError
from ebmlang.inference import Given, Inference
from ebmlang.loading import load
from ebmlang.reading import given_rows, masks_of, wanted_of
from ebmlang.runtime.bind import Settings
from ebmlang.runtime.search import Search
from ebmlang.sampling import Request, Sampling
from ebmlang.summing import Summing, Wish

if TYPE_CHECKING:
    from ebmlang.commands.infer import Question
    from ebmlang.commands.options import Setting
    from ebmlang.data import DataSet
    from ebmlang.runtime.result import Result


@dataclass(frozen=True, slots=True)
class Engine:
    """A loaded model and the question; data comes later."""

    model: Model
    question: Question

    @property
    def wanted(self) -> Mapping[str, Wanted]:
        """Variables that the data may or must give.

        Observed variables must come, unless they have a default, are asked for, or are not read by what is
        lowered; params are taken when they are there; latents only when `--given` names them.
        """
        read = self._read()
        asked = set(self.question.find or ())
        named = set(self.question.given or ())
        found: dict[str, Wanted] = {}
        for v in self.model.checked.variables:
            if v.role == "hyper" or v.name in asked:
                continue
            if v.role == "latent" and v.name not in named:
                continue
            required = v.name in named or (
                v.role == "observed" and v.init is None and self.question.given is None and v.name in read
            )
            if self.question.given is not None and v.role == "observed" and v.name not in named:
                continue
            found[v.name] = wanted_of(self.model, v, required)
        for name in named - found.keys():
            raise DataError(
                f"--given names `{name}`, which is asked for or does not exist", "check the names"
            )
        return found

    def _read(self) -> frozenset[str]:
        """The variables that the question needs; all of them where it has a mistake, which is said later."""
        q, model = self.question, self.model.checked
        with contextlib.suppress(EbmError):
            model = self.model.asked(q.find, frozenset(), q.of, q.objective, frozenset()).model
        return frozenset(v.name for v in model.variables)

    def _settings(self) -> Settings:
        q = self.question
        return self.model.settings({}, q.dtype, q.device, q.seed, q.max_memory, q.torch_compile)

    def _inference(self, data: DataSet, matching: Mapping[str, str]) -> Inference:
        q = self.question
        given = self._given(data, matching)
        settings = self._settings()
        search = Search("", q.steps, q.tol, q.restarts, q.seed)
        return Inference.of(
            self.model,
            given,
            masks_of(data, q.observed),
            settings,
            search,
            find=q.find,
            of=q.of,
            objective=q.objective,
            using=q.using,
        )

    def sums(self, data: DataSet, matching: Mapping[str, str], beta: float | None, wish: Wish) -> Summing:
        """The question with unknowns summed out. Raises DataError."""
        q = self.question
        settings = self._settings()
        given, masks = self._given(data, matching), masks_of(data, q.observed)
        return Summing.of(self.model, given, masks, settings, find=q.find, beta=beta, wish=wish)

    def draws(self, data: DataSet, matching: Mapping[str, str], request: Request) -> Sampling:
        """The question with unknowns drawn. Raises DataError."""
        q = self.question
        settings = self._settings()
        given = self._given(data, matching)
        return Sampling.of(
            self.model,
            given,
            masks_of(data, q.observed),
            settings,
            request,
            find=q.find,
            of=q.of,
            objective=q.objective,
        )

    def rows(self, data: DataSet, matching: Mapping[str, str]) -> int:
        """Number of examples. Raises DataError when the arrays do not agree."""
        return self._given(data, matching).rows

    def _given(self, data: DataSet, matching: Mapping[str, str]) -> Given:
        return given_rows(self.model, data, matching)

    def chunks(
        self, data: DataSet, matching: Mapping[str, str], progress: Callable[[int, int], None]
    ) -> Iterator[Result]:
        """Answers for consecutive rows, as many at a time as memory allows. Raises DataError."""
        return self._inference(data, matching).chunks(progress)


def connect(question: Question) -> Engine:
    """Load the model of a question. Raises ModelError and DataError."""
    q = question
    return Engine(opened(q.path, q.model, q.seed, q.settings, q.params, q.binds), question)


def opened(
    path: str,
    name: str | None,
    seed: int,
    settings: Mapping[str, Setting],
    params: str | None,
    binds: Mapping[str, str],
) -> Model:
    """A model of a file with what the command line sets, and below it what a run was trained with.

    Raises ModelError and DataError.
    """
    kept = settings_of_run(params) if params is not None else {}
    for other in sorted(kept.keys() & settings.keys()):
        if kept[other] != settings[other]:
            was = f"{params} was trained with {other}={_shown(kept[other])}"
            print(f"note: --set {other}={_shown(settings[other])} is taken; {was}", file=sys.stderr)
    hypers = {**kept, **settings}
    model = load(path, model=name, seed=seed, nets=bound_nets(binds), **dict[str, Any](hypers))
    if params is not None:
        load_parameters(model, params)
    return model


def settings_of_run(path: str) -> Mapping[str, Setting]:
    """Sizes and hyperparameters that a run was trained with; none for a file of parameters alone.

    Raises DataError for a run whose record cannot be read.
    """
    from ebmlang.runs import FACTS

    record = Path(path) / FACTS
    if not record.is_file():
        return {}
    try:
        facts = json.loads(record.read_text(encoding="utf-8"))
        return dict(facts["settings"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{record} is no record of a run: {error}", "name its params.safetensors") from None


def _shown(value: Setting) -> str:
    return str(value).lower() if isinstance(value, bool) else f"{value}"


def load_parameters(model: Model, path: str) -> None:
    """Parameters from a safetensors file or a run; raises DataError when one does not fit.

    What the file lacks keeps its start, which may be what is wanted, and is said.
    """
    from ebmlang import data
    from ebmlang.runs import parameters_of

    stored = data.read(parameters_of(path))
    names = {v.name for v in model.checked.variables if v.role == "param"}
    nets = {net.name for net in model.checked.nets}
    found = {
        name: stored.array(name)
        for name in stored.names
        if name in names or any(name.startswith(f"{net}.") for net in nets)
    }
    names |= nets
    if not found:
        raise DataError(
            f"{path} holds none of the parameters {', '.join(sorted(names)) or '(there are none)'}",
            f"it holds {', '.join(stored.names)}",
        )
    lacking = sorted(n for n in names if not any(f == n or f.startswith(f"{n}.") for f in found))
    if lacking:
        shown = ", ".join(f"`{name}`" for name in lacking)
        print(f"note: {path} holds no {shown}: what is not there keeps its start", file=sys.stderr)
    model.preset(found)
