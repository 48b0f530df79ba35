"""The Python API: a model whose energy can be evaluated, and that answers questions."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from ebmlang import evaluation, planning, training
from ebmlang.compiler import typed
from ebmlang.compiler.envelope import Loss
from ebmlang.durations import budget
from ebmlang.errors import DataError
from ebmlang.inference import Inference
from ebmlang.known import Known
from ebmlang.nets import OwnNets
from ebmlang.parameters import OwnParameters, Places
from ebmlang.reading import Values, given_of, tensors
from ebmlang.report import progress as shown_progress
from ebmlang.runtime.bind import Bound, Settings, bind
from ebmlang.runtime.marginal import Marginal
from ebmlang.runtime.result import Result
from ebmlang.runtime.samplers.samples import Samples
from ebmlang.runtime.search import Search
from ebmlang.runtime.training.batches import seed_of_step
from ebmlang.runtime.training.history import History, Record
from ebmlang.sampling import Request, Sampling
from ebmlang.settings import merged, require_hypers, settings_of
from ebmlang.summing import Summing, Wish


class Model(Known, nn.Module):
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
        self._know(model, hypers)
        self._seed = seed
        self._asked_losses = 0
        require_hypers(hypers, [v.name for v in model.hypers])
        self._places = Places(self, _taken)
        self._own = OwnParameters(model, seed, self._places)
        self._nets = OwnNets(model, seed, self._register_net)
        self._nets.take(nets or {})

    def __deepcopy__(self, memo: dict[int, Any]) -> Model:
        """A copy with parameters of its own; what never changes is shared."""
        for frozen in (self._model, self._graph):
            memo[id(frozen)] = frozen
        twin = memo[id(self)] = Model.__new__(Model)
        memo[id(self._compiled)] = self._compiled.copy()
        twin.__dict__.update(copy.deepcopy(self.__dict__, memo))
        return twin

    # --- values ---

    def bind(self, data: Mapping[str, Any] | None = None, **values: Any) -> Model:
        """Make the parameters, with sizes taken from the values. Returns the model."""
        given = merged(data, values)
        asked = self.asked(None, frozenset(given), None, None, frozenset())
        known = ("observed", "latent")
        open_ = frozenset(v.name for v in self._model.variables if v.role in known) - given.keys()
        sought = tuple(v.name for v in self._model.variables if v.name in open_ | set(asked.sought))
        asked = replace(asked, model=self._model, sought=sought, summed=(), variant="")
        _, module = self.compiled(asked, None)
        gaps = frozenset(v.name for v in self._model.variables if v.missing) & given.keys()
        self.bound(module, given, self.settings(given, None, None, None, None), gaps)
        return self

    def settings(
        self,
        given: Mapping[str, Any],
        dtype: str | torch.dtype | None,
        device: str | None,
        seed: int | None,
        limit: int | str | None,
        torch_compile: bool = False,
    ) -> Settings:
        """How values are bound. Raises DataError."""
        seed = self._seed if seed is None else seed
        return settings_of(given, dtype, device, seed, limit, torch_compile)

    def bound(
        self, module: ModuleType, given: Mapping[str, Any], settings: Settings, incomplete: frozenset[str]
    ) -> Bound:
        sought = frozenset(module.SOUGHT)
        values = self._own.beside(given, sought)
        nets = self._nets.maker(settings.dtype, settings.device)
        bound = bind(module, self._hypers, values, settings, sought, incomplete, nets, self.kept(module))
        if not self._own.ready:
            bound = self._own.made(bound, given, sought)
        for spec in bound.specs.values():
            if spec.role == "latent" and spec.name not in sought and spec.name not in bound.values:
                raise DataError(f"no value for the latent `{spec.name}`", f"pass {spec.name}=...")
        return bound

    # --- parameters ---

    def preset(self, values: Mapping[str, Any]) -> None:
        """Values that parameters take instead of their declared start, by name."""
        self._own.take(self._nets.split(values))

    def named_parameters(self, *args: Any, **kwargs: Any) -> Iterator[tuple[str, nn.Parameter]]:
        """As in torch. Raises DataError before sizes are known, when the model has parameters."""
        if not self._ready:
            raise DataError(
                "the parameters do not exist yet: their sizes are not known",
                "load(..., n=64), model.bind(y=Y), or ask a question first",
            )
        return super().named_parameters(*args, **kwargs)

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Any:
        """As in torch. Raises DataError while sizes are not known, so that there is nothing to load into."""
        if not self._ready:
            raise DataError(
                "the model has no parameters to load into yet: their sizes are not known",
                "load(..., n=64), or model.bind(y=Y), before load_state_dict",
            )
        return super().load_state_dict(state_dict, strict, assign)

    def declared_parameters(self) -> dict[str, nn.Parameter]:
        """The parameters that exist, by their declared names; empty before sizes are known."""
        return dict(self._own.all())

    def after_step(self, decays: Mapping[str, float] | None = None) -> None:
        """What follows a step of training: called once by the trainer, after parameters are in their domains.

        Moving averages of nets follow them; `decays` are those that the file computes, as "NET.decay". A loop
        of one's own calls `project` and this after `optimiser.step()`.
        """
        self._nets.after_step(decays or {})

    def project(self) -> None:
        """Bring every parameter back to the nearest point of its domain, after a step of an optimiser.

        `fit` does better: it moves along manifolds, and keeps open domains in coordinates without a border.
        """
        self._own.project()

    def _register_net(self, name: str, module: nn.Module) -> None:
        owner, last = self._places.make(name)
        owner.add_module(last, module)

    @property
    def _ready(self) -> bool:
        """Whether every parameter and every net is there."""
        return (self._own.ready or not self._own.names) and self._nets.ready

    @property
    def nets(self) -> OwnNets:
        """The nets of the model, as far as they are made."""
        return self._nets

    def net(self, name: str) -> nn.Module:
        """The module of a net by its declared name."""
        return self._nets.module(name)

    def value(self, name: str) -> nn.Parameter:
        """A parameter by its declared name. Raises DataError."""
        return self._own.value(name)

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
        return evaluation.energy(self, merged(data, values), dtype, device)

    def terms(
        self,
        data: Mapping[str, Any] | None = None,
        *,
        dtype: str | torch.dtype | None = None,
        device: str | None = None,
        **values: Any,
    ) -> dict[str, Tensor]:
        """Every term per example, plates summed: name -> [B]; a `batch energy` is one number."""
        return evaluation.terms(self, merged(data, values), dtype, device)

    # --- inference ---

    def infer(
        self,
        data: Values | None = None,
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
        starts: Mapping[str, Any] | None = None,
        within: float | str | None = None,
        **values: Any,
    ) -> Result:
        """The unknowns of lowest energy for every example.

        Values are arrays or tensors: the declared shape (shared by all examples) or one leading
        dimension more. `find` chooses what is sought, `observed` gives masks (True: given) of
        variables that are known in part, `of` another objective. `starts` has values that the search
        begins at in place of the declared ones. `within` is a time, in seconds or as "5ms", after which the
        best that was found is the answer; it begins once the question is compiled. `data` may also name a
        file or a folder, see `ebmlang.read`. See `Result` for the answer. Raises DataError and ModelError; a
        numeric outcome is a status, never an exception.
        """
        given = given_of(self, data, values, find)
        settings = self.settings(tensors(data, values), dtype, device, seed, max_memory)
        search = Search("", steps, tol, restarts, settings.seed, trace, budget(within))
        run = Inference.of(
            self, given, observed or {}, settings, search,
            find=find, of=of, objective=objective, using=using, starts=starts,
        )  # fmt: skip
        if progress is True:
            with shown_progress("infer", run.given.rows) as update:
                return run.all(update)
        return run.all(progress or None)

    def marginal(
        self,
        data: Values | None = None,
        *,
        find: Sequence[str] | None = None,
        beta: float | None = None,
        observed: Mapping[str, Any] | None = None,
        using: str | None = None,
        chains: int | None = None,
        temperatures: int | None = None,
        leapfrogs: int | None = None,
        seed: int | None = None,
        dtype: str | torch.dtype | None = None,
        device: str | None = None,
        max_memory: int | str | None = None,
        **values: Any,
    ) -> Marginal:
        """Sum unknowns out: free energies F = -1/beta log sum exp(-beta E), log Z and marginals.

        What is summed out is what the file's `marginalize` lines name, else all latents, or `find`;
        what is given is not. `observed` gives masks (True: given) of variables that are known in part.
        `beta` overrides the file's. Exact, or a DataError that says what is too large; F and log Z are
        differentiable in the values that are passed. `using="ais"`, with `chains`, `temperatures`, steps of
        a trajectory and a `seed`, estimates instead, without a gradient. See `Marginal` for the answer.
        """
        given = given_of(self, data, values, find)
        settings = self.settings(tensors(data, values), dtype, device, seed, max_memory)
        wish = Wish(using, chains, temperatures, leapfrogs)
        return Summing.of(self, given, observed or {}, settings, find=find, beta=beta, wish=wish).all()

    def sample(
        self,
        data: Values | None = None,
        *,
        find: Sequence[str] | None = None,
        of: str | None = None,
        objective: str | None = None,
        observed: Mapping[str, Any] | None = None,
        using: str | None = None,
        chains: int | None = None,
        draws: int | None = None,
        warmup: int | None = None,
        thin: int | None = None,
        step: float | None = None,
        temperature: float | None = None,
        start: str = "declared",
        seed: int | None = None,
        device: str | None = None,
        dtype: str | torch.dtype | None = None,
        max_memory: int | str | None = None,
        torch_compile: bool = False,
        progress: bool | Callable[[int, int], None] = False,
        **values: Any,
    ) -> Samples:
        """Draw unknowns from exp(-beta E / temperature) for every example.

        What is drawn is what the file's `sample` line names, or `find`, with all other latents that are
        neither given nor summed out. `using` is a sampler instead of that of the line, or of the compiler's
        choice. `draws` of each of `chains` chains are kept, every `thin`-th step after `warmup` steps; 4
        chains, 1000 draws and 1000 steps where nobody says otherwise. `step` is a step size, where learning
        begins unless `warmup` is 0. Chains begin around the declared start, or with `start="infer"` around
        the answer of `infer`. `torch_compile` makes a kernel of the written gradient, for long runs of many
        chains. See `Samples` for the answer: a diagnostic that fails is a status, never an exception. Raises
        DataError and ModelError.
        """
        given = given_of(self, data, values, find)
        settings = self.settings(tensors(data, values), dtype, device, seed, max_memory, torch_compile)
        request = Request(using, chains, draws, warmup, thin, step, temperature, start)
        run = Sampling.of(
            self, given, observed or {}, settings, request,
            find=find, of=of, objective=objective,
        )  # fmt: skip
        if progress is True:
            with shown_progress("sample", run.rows) as update:
                return run.all(update)
        return run.all(progress or None)

    def plan(
        self,
        world: Any = None,
        data: Mapping[str, Any] | None = None,
        *,
        episodes: int = 1,
        steps: int | None = None,
        every: int | None = None,
        within: float | str | None = None,
        warm: bool = True,
        first: Any = None,
        observe: Mapping[str, str] | None = None,
        objective: str | None = None,
        using: str | None = None,
        iterations: int | None = None,
        tol: float | None = None,
        restarts: int | None = None,
        by: str = "plan",
        configure: planning.Configurator | None = None,
        seed: int | None = None,
        device: str | None = None,
        dtype: str | torch.dtype | None = None,
        pictures: bool = False,
        progress: bool | Callable[[int, int], None] = False,
        **values: Any,
    ) -> Result | planning.Episodes:
        """Answer a `plan` line: once for given values, or again and again in a world.

        Without a `world` the answer is that of `infer` for the values. A world is a name such as
        "gymnasium:Pendulum-v1", an environment of gymnasium, a function from a state and an action to the
        next state (or to it, a reward, and whether the task has ended; `first` is the state to begin at, or
        a function of the seed), or "model": the model itself. Each of `episodes` has at most `steps` actions,
        and the seeds seed, seed + 1 and so on. A plan is made anew after `every` actions, and begins with the
        rest of the one before it, unless `warm` is False. `within` is the time for a plan, `iterations` the
        steps of its search. `observe` says which observed variable takes which entry of an observation that
        is a dictionary, or "" for all of it; by default the variable `obs`, or the only one that has no
        value. `objective` is the label of a line. `by="policy"` searches nothing: what an `amortize` line
        predicts of the actions is carried out. `configure` may change the goal and other values before every
        plan: a function of the number of actions so far and of what is observed, see `Configurator`. Values
        that are given hold in every plan. Raises DataError and ModelError; what a world raises is noted in
        the episode.
        """
        asking = planning.Asking(objective, using, every, budget(within), iterations, tol, restarts, warm, by)
        given = merged(data, values)
        settings = self.settings(given, dtype, device, seed, None)
        if world is None:
            return planning.planned(self, given, asking, settings)
        course = planning.Course(episodes, steps, settings.seed, pictures)
        where = planning.world_in(self, world, first, given, pictures)
        try:
            acting = planning.acting_in(
                self, where, asking, course, settings, observe or {}, given, configure
            )
            if progress is True:
                with shown_progress("plan", episodes, unit="episodes") as update:
                    return planning.episodes_in(acting, update)
            return planning.episodes_in(acting, progress or None)
        finally:
            where.close()

    def agent(
        self,
        objective: str | None = None,
        *,
        by: str = "plan",
        within: float | str | None = None,
        iterations: int | None = None,
        seed: int | None = None,
        device: str | None = None,
        dtype: str | torch.dtype | None = None,
        **values: Any,
    ) -> planning.Agent:
        """What `plan` acts by, for a loop of one's own: `agent.act(observation)` is the next action.

        Arguments as for `plan`. `agent.configure(objective=..., weight=...)` changes goals and values without
        compiling anew, `agent.begin()` begins another episode. Raises DataError.
        """
        asking = planning.Asking(objective, within=budget(within), steps=iterations, by=by)
        settings = self.settings(values, dtype, device, seed, None)
        return planning.Agent.of(self, asking, settings, values)

    # --- training ---

    def loss_kept(self, key: Any, make: Callable[[], Loss]) -> Loss:
        """The loss of a question of training, settled once."""
        return self._compiled.loss(key, make)

    def forward(
        self,
        data: Values | None = None,
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
        given = given_of(self, data, values)
        settings = self.settings(tensors(data, values), dtype, device, None, None)
        settings = training.settings_for(self, settings, dtype, device)
        if seed is None and self.training:
            self._asked_losses += 1
            seed = seed_of_step(settings.seed, self._asked_losses)
        drawn = settings.seed if seed is None else seed
        return training.loss_now(self, given, settings, objective, drawn)

    def fit(
        self,
        data: Values | None = None,
        *,
        epochs: int | None = None,
        steps: int | None = None,
        batch_size: int | None = None,
        using: str | None = None,
        lr: float | None = None,
        objective: str | None = None,
        observed: Mapping[str, Any] | None = None,
        on: Mapping[str, Values] | None = None,
        validate: float | None = None,
        patience: int | None = None,
        precision: str | None = None,
        max_memory: int | str | None = None,
        workers: int = training.WORKERS,
        shard: bool = False,
        health_every: int | None = None,
        fail_on: Iterable[str] = (),
        easy_first: str | None = None,
        widen: int | None = None,
        checkpoint: str | Path | None = None,
        checkpoint_every: int | str | None = None,
        seed: int | None = None,
        dtype: str | torch.dtype | None = None,
        device: str | None = None,
        progress: bool | Callable[[Record, int | None], None] = False,
        **values: Any,
    ) -> History:
        """Find parameters: lower the training loss over the data, in place.

        By the `train` lines of the file in their order, or everything trainable by adam. Ends after
        `epochs` passes over the data or `steps` minibatches, after 100 epochs where neither is given.
        `batch_size` rows make a step, in a new order every epoch, the last of them fewer; without it all
        rows do. `using` is another optimiser, `lr` its step size, of every line. `on` has the data sets
        that lines name. `validate` holds out a share of the rows: the parameters with the lowest loss on
        them are kept, and after `patience` epochs without a lower one the run ends. `precision="bf16"`
        computes products of matrices in that format. Data that takes more than `max_memory`, or than a part
        of what is free, is read batch by batch, by `workers` threads for the steps to come; the numbers are
        the same. With `shard`, the processes of a group divide the parameters among them; those of the model
        are NaN until the run ends. Every `health_every` steps (50 if not given, 0: never) a look is taken at
        the health of the run: bad signs become warnings, on stderr and in `History.warnings`, and the run
        ends by those whose rules `fail_on` names. `easy_first` names an observed number of each row: steps
        look at rows where it is low first, at more and more of them, after `widen` steps at all.
        `checkpoint` is a folder that the run is kept in: the same
        call goes on from there after it was cut off, and ends with the same numbers; `checkpoint_every` is a
        number of steps, or a time such as "5min" (one minute if not given). `seed` sets the order and the
        draws. Parameters that exist are kept, not drawn again. Returns the record of every step. A loss that
        is not finite ends the run, with the parameters before it. Raises DataError and ModelError.
        """
        given = given_of(self, data, values)
        settings = self.settings(tensors(data, values), dtype, device, seed, max_memory)
        settings = training.settings_for(self, settings, dtype, device)
        granted = None if max_memory is None else settings.chunk_bytes
        course = training.Course.of(
            epochs,
            steps,
            batch_size,
            settings.seed,
            validate,
            patience,
            precision,
            granted,
            workers,
            shard,
            health_every,
            fail_on,
            easy_first,
            widen,
        )
        sets = {name: given_of(self, values, {}) for name, values in (on or {}).items()}
        changes = {} if lr is None else {"lr": lr}
        asking = training.Asking(objective, using, changes, observed or {}, sets)
        if device is not None:
            training.with_parameters_on(self, settings.device)
        peers = training.peers_here()
        run = training.Fitting.of(self, given, settings, course, asking, peers)
        return training.fitted(run, checkpoint, checkpoint_every, progress)


def _taken(name: str) -> bool:
    """Whether nn.Module or Model uses the name itself."""
    return hasattr(Model, name) or hasattr(nn.Module, name)
