"""The Python API: load a model, evaluate its energy, ask for its minimum."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ebmlang import training
from ebmlang.compiler import pipeline, typed
from ebmlang.compiler.choose import Plan
from ebmlang.compiler.diagnostics import did_you_mean
from ebmlang.compiler.envelope import Loss
from ebmlang.compiler.explanation import explain
from ebmlang.compiler.latex import model_latex
from ebmlang.compiler.source import Source
from ebmlang.errors import DataError, ModelError
from ebmlang.files import read_source
from ebmlang.inference import Inference, given_arrays
from ebmlang.nets import OwnNets
from ebmlang.questions import Asked, ask_roles
from ebmlang.report import progress as shown_progress
from ebmlang.report import training_progress
from ebmlang.runtime import posing, report
from ebmlang.runtime.arrays import widest_dtype
from ebmlang.runtime.bind import Bound, Settings, bind, domain_of
from ebmlang.runtime.domain_base import Domain
from ebmlang.runtime.generated import load_text
from ebmlang.runtime.kept import Kept
from ebmlang.runtime.marginal import Marginal
from ebmlang.runtime.memory import device_memory
from ebmlang.runtime.parameters import start_parameters
from ebmlang.runtime.result import Result
from ebmlang.runtime.search import Search
from ebmlang.runtime.training.batches import seed_of_step
from ebmlang.runtime.training.history import History, Record
from ebmlang.summing import Summing

if TYPE_CHECKING:
    import networkx

DTYPES = {"float32": torch.float32, "float64": torch.float64}


def load(
    path: str | Path,
    *,
    model: str | None = None,
    seed: int = 0,
    nets: Mapping[str, Any] | None = None,
    **hypers: Any,
) -> Model:
    """The model in a `.ebm` file.

    `model` picks one of several (the last one by default); hyperparameters are set by name.
    Raises ModelError with every mistake of the file, DataError for a file that cannot be read or
    a hyperparameter that does not exist.
    """
    return _load(read_source(path), model, seed, nets, hypers)


def loads(
    text: str,
    *,
    model: str | None = None,
    seed: int = 0,
    nets: Mapping[str, Any] | None = None,
    **hypers: Any,
) -> Model:
    """The same for a model given as text."""
    return _load(Source("<text>", text), model, seed, nets, hypers)


def _load(
    source: Source, name: str | None, seed: int, nets: Mapping[str, Any] | None, hypers: Mapping[str, Any]
) -> Model:
    checked = pipeline.check_source(source)
    if checked.failed:
        raise ModelError(checked.diagnostics)
    picked = pipeline.pick_model(checked, name)
    if not isinstance(picked, typed.Model):
        raise ModelError((picked,))
    return Model(picked, hypers, seed, nets)


class Model(nn.Module):
    """A checked model with its hyperparameters and, once sizes are known, its parameters.

    Compiled code is kept per question. Energies are differentiable in everything that is passed.
    """

    def __init__(
        self,
        model: typed.Model,
        hypers: Mapping[str, Any],
        seed: int = 0,
        nets: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self._model = model
        self._hypers = dict(hypers)
        self._seed = seed
        self._modules_by_question: dict[Any, tuple[Plan, ModuleType]] = {}
        self._kept: dict[ModuleType, Kept] = {}
        self._losses: dict[Any, Loss] = {}
        self._domains: dict[str, Domain] = {}
        self._asked_losses = 0
        self._params_ready = False
        self._preset: dict[str, Any] = {}
        known = [v.name for v in model.hypers]
        for name in hypers:
            if name not in known:
                hint = did_you_mean(name, known) or (f"it has {', '.join(known)}" if known else "it has none")
                raise DataError(f"the model has no hyperparameter `{name}`", hint)
        self._graph = pipeline.graph_of(model)
        self._nets = OwnNets(model, seed, self._register_net)
        self._nets.take(nets or {})

    def __deepcopy__(self, memo: dict[int, Any]) -> Model:
        """A copy with parameters of its own; what never changes is shared."""
        for frozen in (self._model, self._graph):
            memo[id(frozen)] = frozen
        twin = memo[id(self)] = Model.__new__(Model)
        kept = {"_modules_by_question": dict(self._modules_by_question), "_losses": dict(self._losses)}
        own = {n: v for n, v in self.__dict__.items() if n not in kept and n != "_kept"}
        twin.__dict__.update({**copy.deepcopy(own, memo), **kept, "_kept": {}})
        return twin

    # --- what the compiler knows ---

    @property
    def graph(self) -> networkx.Graph[str]:
        """The lifted factor graph, frozen."""
        with pipeline.room_for_passes():
            return self._graph.networkx

    def draw(
        self, path: str | Path, *, energies: Mapping[str, float] | None = None, force: bool = False
    ) -> None:
        """Draw the factor graph to a .svg, .png, .pdf, .dot or .json file; see `ebmlang.draw.draw`."""
        from ebmlang.draw import draw

        draw(self._graph, path, energies=energies, force=force)

    @property
    def name(self) -> str:
        return self._model.name

    @property
    def ranks(self) -> dict[str, tuple[int, bool]]:
        """Declared rank of every variable, and whether it differs by example."""
        return {v.name: (v.type.rank, v.per_example) for v in self._model.variables if v.role != "hyper"}

    @property
    def checked(self) -> typed.Model:
        """The checked model: variables, terms, questions."""
        return self._model

    @property
    def hypers(self) -> Mapping[str, Any]:
        """The hyperparameters that were set by name."""
        return dict(self._hypers)

    def plan(
        self,
        *,
        find: Sequence[str] | None = None,
        given: Sequence[str] = (),
        of: str | None = None,
        objective: str | None = None,
        using: str | None = None,
    ) -> Plan:
        """The plan for a question: findings, method, reasons."""
        return self.compiled(self.asked(find, frozenset(given), of, objective, frozenset()), using)[0]

    def explain(self, **question: Any) -> str:
        """Which method for which block, why, and what was rejected. Arguments as for `plan`."""
        return explain(self.plan(**question))

    @property
    def latex(self) -> str:
        """The energy, what surrounds it and what is asked, as one `aligned` environment of LaTeX."""
        with pipeline.room_for_passes():
            return model_latex(self._model)

    @property
    def structure(self) -> tuple[str, ...]:
        """The findings about the default question, as sentences."""
        return tuple(map(str, self.plan().structure.findings))

    @property
    def source(self) -> str:
        """The generated PyTorch for the default question."""
        return pipeline.generate_for(self.plan()).text

    # --- questions ---

    def asked(
        self,
        find: Sequence[str] | None,
        given: frozenset[str],
        of: str | None,
        objective: str | None,
        incomplete: frozenset[str],
    ) -> Asked:
        """The roles of a call settled: what is sought, by which line of the file."""
        return ask_roles(self._model, find, given, of, objective, incomplete)

    def compiled(self, asked: Asked, using: str | None) -> tuple[Plan, ModuleType]:
        key = (asked.sought, asked.summed, asked.of, asked.label, asked.using, asked.variant, using)
        known = self._modules_by_question.get(key)
        if known is None:
            graph = self._graph if asked.model is self._model else pipeline.graph_of(asked.model)
            plan = pipeline.plan_for(graph, asked.query, using)
            generated = pipeline.generate_for(plan)
            known = plan, load_text(generated.text, self.name)
            self._modules_by_question[key] = known
        return known

    def kept(self, module: ModuleType) -> Kept:
        """What is kept from one question to the next that the same module answers."""
        return self._kept.setdefault(module, Kept())

    # --- values ---

    def bind(self, data: Mapping[str, Any] | None = None, **values: Any) -> Model:
        """Make the parameters, with sizes taken from the values. Returns the model."""
        given = _merged(data, values)
        asked = self.asked(None, frozenset(given), None, None, frozenset())
        known = ("observed", "latent")
        open_ = frozenset(v.name for v in self._model.variables if v.role in known) - given.keys()
        asked = replace(
            asked,
            sought=tuple(v.name for v in self._model.variables if v.name in open_ | set(asked.sought)),
            summed=(),
        )
        _, module = self.compiled(asked, None)
        self.bound(module, given, self.settings(given, None, None, None, None), frozenset())
        return self

    def settings(
        self,
        given: Mapping[str, Any],
        dtype: str | torch.dtype | None,
        device: str | None,
        seed: int | None,
        limit: int | None,
    ) -> Settings:
        chosen = DTYPES.get(dtype) if isinstance(dtype, str) else dtype
        if isinstance(dtype, str) and chosen is None:
            raise DataError(f"the dtype `{dtype}` is not known", "float32 or float64")
        where = device_named(device)
        there = device_memory(where)
        return Settings(
            chosen or widest_dtype(given),
            where,
            self._seed if seed is None else seed,
            0,
            there,
            there // 4 if limit is None else limit,
        )

    def bound(
        self, module: ModuleType, given: Mapping[str, Any], settings: Settings, incomplete: frozenset[str]
    ) -> Bound:
        sought = frozenset(module.SOUGHT)
        values = {
            **{n: v for n, v in self._preset.items() if n not in sought and not self._params_ready},
            **given,
        }
        for name, parameter in self._own_parameters():
            if name not in values and name not in sought:
                values[name] = parameter
        nets = self._nets.maker(settings.dtype, settings.device)
        bound = bind(module, self._hypers, values, settings, sought, incomplete, nets)
        if not self._params_ready:
            self._make_parameters(bound)
            held = dict(bound.values)
            for name, parameter in self._own_parameters():
                if name not in given and name not in sought:  # preset ones too: gradients reach them
                    held[name] = parameter.to(settings.device, settings.dtype)
            bound = replace(bound, values=held)
        for spec in bound.specs.values():
            if spec.role == "latent" and spec.name not in sought and spec.name not in bound.values:
                raise DataError(f"no value for the latent `{spec.name}`", f"pass {spec.name}=...")
        return bound

    # --- parameters ---

    def preset(self, values: Mapping[str, Any]) -> None:
        """Values that parameters take instead of their declared start, by name."""
        values = self._nets.split(values)
        self._hyperparameters_checked(values)
        self._preset = dict(values)
        if self._params_ready:
            for name, parameter in self._own_parameters():
                if name in self._preset:
                    parameter.data.copy_(torch.as_tensor(self._preset[name]))

    def _hyperparameters_checked(self, values: Mapping[str, Any]) -> None:
        known = [v.name for v in self._model.variables if v.role == "param"]
        for name in values:
            if name not in known:
                raise DataError(
                    f"the model has no parameter `{name}`",
                    did_you_mean(name, known) or f"it has {', '.join(known) or 'none'}",
                )

    def _own_parameters(self) -> list[tuple[str, nn.Parameter]]:
        # Looked up by name: going through all modules would cost as much as a small net, at every step.
        found = [(v.name, self._parameter(v.name)) for v in self._model.variables if v.role == "param"]
        return [(name, p) for name, p in found if p is not None]

    def _parameter(self, name: str) -> nn.Parameter | None:
        *parts, last = _registered(name).split(".")
        owner: nn.Module | None = self
        for part in parts:
            owner = owner._modules.get(part) if owner is not None else None
        return owner._parameters.get(last) if owner is not None else None

    def _place(self, name: str) -> tuple[nn.Module, str]:
        """The module that a parameter or a net of this name belongs to, and its name there."""
        *parts, last = _registered(name).split(".")
        owner: nn.Module = self
        for part in parts:
            if part not in owner._modules:
                owner.add_module(part, nn.Module())
            owner = owner.get_submodule(part)
        return owner, last

    def _make_parameters(self, bound: Bound) -> None:
        """Draw the start of every parameter once; sizes are known now."""
        for name, value in start_parameters(bound, self._seed).items():
            owner, last = self._place(name)
            owner.register_parameter(last, nn.Parameter(value))
            self._domains[name] = domain_of(bound, bound.specs[name])
        self._params_ready = True

    def named_parameters(self, *args: Any, **kwargs: Any) -> Iterator[tuple[str, nn.Parameter]]:
        """As in torch. Raises DataError before sizes are known, when the model has parameters."""
        if not self._ready:
            raise DataError(
                "the parameters do not exist yet: their sizes are not known",
                "load(..., n=64), model.bind(y=Y), or ask a question first",
            )
        return super().named_parameters(*args, **kwargs)

    def declared_parameters(self) -> dict[str, nn.Parameter]:
        """The parameters that exist, by their declared names; empty before sizes are known."""
        return dict(self._own_parameters())

    def after_step(self) -> None:
        """What follows a step of training: called once by the trainer, after parameters are in their domains.

        Moving averages of nets follow them. A loop of one's own calls `project` and this after
        `optimiser.step()`.
        """
        self._nets.after_step()

    @torch.no_grad()
    def project(self) -> None:
        """Bring every parameter back to the nearest point of its domain, after a step of an optimiser.

        `fit` does better: it moves along manifolds, and keeps open domains in coordinates without a border.
        """
        for name, parameter in self._own_parameters():
            domain = self._domains[name].to(parameter.dtype, parameter.device)
            parameter.copy_(domain.nearest(parameter[None])[0])

    def _register_net(self, name: str, module: nn.Module) -> None:
        owner, last = self._place(name)
        owner.add_module(last, module)

    @property
    def _ready(self) -> bool:
        """Whether every parameter and every net is there."""
        params = any(v.role == "param" for v in self._model.variables)
        return (self._params_ready or not params) and self._nets.ready

    @property
    def nets(self) -> OwnNets:
        """The nets of the model, as far as they are made."""
        return self._nets

    def net(self, name: str) -> nn.Module:
        """The module of a net by its declared name."""
        return self._nets.module(name)

    def value(self, name: str) -> nn.Parameter:
        """A parameter by its declared name."""
        for own, parameter in self._own_parameters():
            if own == name:
                return parameter
        known = [v.name for v in self._model.variables if v.role == "param"]
        if name in known:
            raise DataError(
                f"the parameter `{name}` does not exist yet: its size is not known",
                "load(..., n=64) or model.bind(y=Y)",
            )
        raise DataError(
            f"the model has no parameter `{name}`",
            did_you_mean(name, known) or f"it has {', '.join(known) or 'none'}",
        )

    # --- energies ---

    def energy(
        self,
        data: Mapping[str, Any] | None = None,
        *,
        dtype: str | torch.dtype | None = None,
        device: str | None = None,
        **values: Any,
    ) -> Tensor:
        """Total energy per example, [B]; differentiable in the values passed and in the parameters.

        Every variable needs a value. Terms of the whole batch count in every row.
        """
        bound, unknown, held = self._evaluation(_merged(data, values), dtype, device)
        return report.energy_rows(bound, unknown, held, bound.instance.terms(unknown, held))

    def terms(
        self,
        data: Mapping[str, Any] | None = None,
        *,
        dtype: str | torch.dtype | None = None,
        device: str | None = None,
        **values: Any,
    ) -> dict[str, Tensor]:
        """Every term per example, plates summed: name -> [B]; a `batch energy` is one number."""
        bound, unknown, held = self._evaluation(_merged(data, values), dtype, device)
        batch = {t.name for t in bound.module.TERMS if t.batch}
        found = bound.instance.terms(unknown, held)
        return {n: v if n in batch else report.rows_of(v, bound.batch) for n, v in found.items()}

    def _evaluation(
        self, given: Mapping[str, Any], dtype: str | torch.dtype | None, device: str | None
    ) -> tuple[Bound, dict[str, Tensor], dict[str, Tensor]]:
        """Bound values for an evaluation: the unknowns of the default question stay arguments."""
        asked = self.asked(None, frozenset(), None, None, frozenset())
        names = {v.name for v in self._model.variables if v.role == "latent"}
        asked = replace(
            asked,
            sought=tuple(v.name for v in self._model.variables if v.name in names),
            question=None,
            of=None,
            summed=(),
        )
        _, module = self.compiled(asked, None)
        for name in asked.sought:
            if name not in given:
                raise DataError(f"no value for the latent `{name}`", f"pass {name}=...")
        settings = self.settings(given, dtype, device, None, None)
        bound = self.bound(module, given, settings, frozenset())
        unknown = {n: bound.values[n] for n in asked.sought}
        return bound, unknown, posing.held_values(bound)

    # --- inference ---

    def infer(
        self,
        data: Mapping[str, Any] | None = None,
        *,
        find: Sequence[str] | None = None,
        of: str | None = None,
        objective: str | None = None,
        observed: Mapping[str, Any] | None = None,
        using: str | None = None,
        steps: int | None = None,
        tol: float | None = None,
        restarts: int | None = None,
        seed: int | None = None,
        device: str | None = None,
        dtype: str | torch.dtype | None = None,
        max_memory: int | str | None = None,
        progress: bool | Callable[[int, int], None] = False,
        trace: bool = False,
        **values: Any,
    ) -> Result:
        """The unknowns of lowest energy for every example.

        Values are arrays or tensors: the declared shape (shared by all examples) or one leading
        dimension more. `find` chooses what is sought, `observed` gives masks (True: given) of
        variables that are known in part, `of` another objective. See `Result` for the answer.
        Raises DataError and ModelError; a numeric outcome is a status, never an exception.
        """
        given = _merged(data, values)
        settings = self.settings(given, dtype, device, seed, _bytes(max_memory))
        search = Search("", steps, tol, restarts, settings.seed, trace)
        run = Inference.of(
            self, given_arrays(self.ranks, given), observed or {}, settings, search,
            find=find, of=of, objective=objective, using=using,
        )  # fmt: skip
        if progress is True:
            with shown_progress("infer", run.given.rows) as update:
                return run.all(update)
        return run.all(progress or None)

    def marginal(
        self,
        data: Mapping[str, Any] | None = None,
        *,
        find: Sequence[str] | None = None,
        beta: float | None = None,
        observed: Mapping[str, Any] | None = None,
        dtype: str | torch.dtype | None = None,
        device: str | None = None,
        max_memory: int | str | None = None,
        **values: Any,
    ) -> Marginal:
        """Sum unknowns out: free energies F = -1/beta log sum exp(-beta E), log Z and marginals.

        What is summed out is what the file's `marginalize` lines name, else all latents, or `find`;
        what is given is not. `observed` gives masks (True: given) of variables that are known in part.
        `beta` overrides the file's. Exact, or a DataError that says what is too large; F and log Z are
        differentiable in the values that are passed. See `Marginal` for the answer.
        """
        given = _merged(data, values)
        settings = self.settings(given, dtype, device, None, _bytes(max_memory))
        arrays = given_arrays(self.ranks, given)
        return Summing.of(self, arrays, observed or {}, settings, find=find, beta=beta).all()

    # --- training ---

    def loss_kept(self, key: Any, make: Callable[[], Loss]) -> Loss:
        """The loss of a question of training, settled once."""
        if key not in self._losses:
            self._losses[key] = make()
        return self._losses[key]

    def forward(
        self,
        data: Mapping[str, Any] | None = None,
        *,
        objective: str | None = None,
        seed: int | None = None,
        dtype: str | torch.dtype | None = None,
        device: str | None = None,
        **values: Any,
    ) -> Tensor:
        """The training loss of all given rows: a number, differentiable in the parameters.

        The mean over the rows of the energy at its minimum in what is not given (of the free energy, where
        unknowns are summed out); `cost` terms are left out. `objective` names a `train` line. Random
        variables are drawn by `seed`; without one, each call draws anew in training mode (`m.train()`), and
        `m.eval()` always draws the same. Raises DataError and ModelError.
        """
        given = _merged(data, values)
        settings = self.settings(given, dtype, device, None, None)
        settings = training.settings_for(self, settings, dtype, device)
        if seed is None and self.training:
            self._asked_losses += 1
            seed = seed_of_step(settings.seed, self._asked_losses)
        drawn = settings.seed if seed is None else seed
        return training.loss_now(self, given_arrays(self.ranks, given), settings, objective, drawn)

    def fit(
        self,
        data: Mapping[str, Any] | None = None,
        *,
        epochs: int | None = None,
        steps: int | None = None,
        batch_size: int | None = None,
        using: str | None = None,
        lr: float | None = None,
        objective: str | None = None,
        observed: Mapping[str, Any] | None = None,
        seed: int | None = None,
        dtype: str | torch.dtype | None = None,
        device: str | None = None,
        progress: bool | Callable[[Record, int | None], None] = False,
        **values: Any,
    ) -> History:
        """Find parameters: lower the training loss over the data, in place.

        By the `train` line of the file, or everything trainable by adam. Ends after `epochs` passes over the
        data or `steps` steps, after 100 epochs where neither is given. `batch_size` rows make a step, in a
        new order every epoch, the last of them fewer; without it all rows do. `using` is another optimiser,
        `lr` its step size. `seed` sets the order and the draws. Parameters that exist are kept, not drawn
        again. Returns the record of every step. A loss that is not finite ends the run, with the parameters
        before it. Raises DataError and ModelError.
        """
        given = _merged(data, values)
        settings = self.settings(given, dtype, device, seed, None)
        settings = training.settings_for(self, settings, dtype, device)
        course = training.Course.of(epochs, steps, batch_size, settings.seed)
        arrays = given_arrays(self.ranks, given)
        posed = training.Posed.of(self, arrays, observed or {}, settings, objective, using)
        if device is not None:
            training.with_parameters_on(self, settings.device)
        run = training.Fitting.of(posed, course, {} if lr is None else {"lr": lr})
        if progress is True:
            with training_progress(run.steps) as update:
                return run.all(update)
        return run.all(progress or None)


def require_hypers(given: Mapping[str, Any], known: Sequence[str]) -> None:
    """Raises DataError for a hyperparameter that is not declared."""
    for name in given:
        if name not in known:
            hint = did_you_mean(name, known) or (f"it has {', '.join(known)}" if known else "it has none")
            raise DataError(f"the model has no hyperparameter `{name}`", hint)


def _registered(name: str) -> str:
    """Where a parameter or a net is registered: its own name, unless nn.Module uses that name. Those of a
    part are registered in a submodule of the part's name."""
    taken = (hasattr(Model, n) or hasattr(nn.Module, n) for n in name.split("."))
    return ".".join(f"param_{n}" if t else n for n, t in zip(name.split("."), taken, strict=True))


def _merged(data: Mapping[str, Any] | None, values: Mapping[str, Any]) -> dict[str, Any]:
    both = set(data or ()) & set(values)
    if both:
        raise DataError(f"`{min(both)}` is passed twice", "once in data= or once by name")
    return {**(data or {}), **values}


def device_named(device: str | None) -> torch.device:
    """The CPU when there is no name. Raises DataError for a device that is not there."""
    try:
        chosen = torch.device(device or "cpu")
    except RuntimeError:
        raise DataError(f"there is no device `{device}`", "cpu, cuda or cuda:1") from None
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise DataError("no CUDA device is there", "leave out the device to run on the CPU")
    if chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count():
        count = torch.cuda.device_count()
        raise DataError(f"there is no device `{device}`: CUDA devices are {count}, counted from 0", "cuda")
    if chosen.type not in ("cpu", "cuda"):
        raise DataError(f"the device `{device}` is not supported", "cpu, cuda or cuda:1")
    return chosen


def _bytes(limit: int | str | None) -> int | None:
    from ebmlang.data import parse_memory

    if limit is None:
        return None
    if isinstance(limit, int) and not isinstance(limit, bool) and limit > 0:
        return limit
    return parse_memory(str(limit))
