"""A nested problem with its numbers: rows of inputs, the search, and answers laid out for the caller."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import _disable_current_modes

from ebmlang.runtime import ask, posing
from ebmlang.runtime.bind import Bound, Settings, domain_of, make
from ebmlang.runtime.constrained import asking
from ebmlang.runtime.discrete import answer as discrete
from ebmlang.runtime.driver import TOLERANCES
from ebmlang.runtime.generated import Draws
from ebmlang.runtime.nested.solves import Note, Solves
from ebmlang.runtime.nested.watching import heard
from ebmlang.runtime.nets import Nets
from ebmlang.runtime.problem import Problem
from ebmlang.runtime.result import Status
from ebmlang.runtime.search import Search
from ebmlang.runtime.spec import VariableSpec

Values = Mapping[str, Tensor]

TOLERANCE = 1e-12
"""How far nested searches go where the file does not say: an answer that is differentiated, and read by
another search, needs more digits than one that is looked at."""

WIDE = torch.float64

NEAR = 1e-5
"""How far from its domain an input may be: as far as a value of single precision that was brought there."""


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """Where a search ended: coordinates [R, N], multipliers [R, M] or None, the rows that failed bool [R],
    and how the first of them did."""

    problem: Problem
    x: Tensor
    multipliers: Tensor | None
    failed: Tensor
    says: str


@dataclass(frozen=True, slots=True, eq=False)
class Question:
    """`rows` nested problems.

    Their real inputs are those of `names`, and behind these what `nets` is computed from, by the ids in
    `weights`. `others` are the inputs that are no real numbers.
    """

    solves: Solves
    part: str
    namespace: Any
    specs: Mapping[str, VariableSpec]
    sizes: Mapping[str, int]
    rows: int
    names: tuple[str, ...]
    others: Values
    device: torch.device
    nets: Nets
    weights: tuple[int, ...]

    def bound(self, reals: tuple[Tensor, ...]) -> Bound:
        """The nested model with its values: real inputs in float64, [R, *shape] or [*shape], and weights."""
        numbers = np.arange(self.rows, dtype=np.int64)
        draws = Draws(self.solves.seed, numbers, frozenset(), WIDE, self.device)
        own, weights = reals[: len(self.names)], reals[len(self.names) :]
        nets = self.nets.to(WIDE).tapped(None).over(dict(zip(self.weights, weights, strict=True)))
        instance = make(self.namespace, self.sizes, self.rows, WIDE, self.device, draws, nets)
        values = {**self.others, **dict(zip(self.names, own, strict=True))}
        shapes = {
            n: tuple(size.evaluate(self.sizes) for size in s.shape)
            for n, s in self.specs.items()
            if s.role != "hyper"
        }
        settings = Settings(WIDE, self.device, self.solves.seed)
        given, rows = frozenset(values), self.rows
        return Bound(
            self.namespace, instance, self.specs, shapes, self.sizes, values, given, rows, settings
        )  # fmt: skip

    def search(self, reals: tuple[Tensor, ...]) -> Found:
        """The minimum of every row, without a graph."""
        plain = tuple(x.detach() for x in reals)
        asked = (*plain, *self.others.values())
        known = self.solves.known(self.part, asked)
        if isinstance(known, Found):
            return known
        found = self._searched(self.bound(plain))
        self.solves.remember(self.part, asked, found)
        return found

    def _searched(self, bound: Bound) -> Found:
        # Who counts what an evaluation allocates must not add up the steps of a search.
        with _disable_current_modes(), heard(bound) as notes, torch.no_grad():
            problem = posing.make_problem(bound, {})
            found = (
                self._constrained(bound, problem)
                if posing.plan_inner(self.namespace)
                else self._free(bound, problem)
            )
        failed, says = found.failed, found.says
        for note in notes:
            failed, says = failed | note.rows.to(failed.device), says or f"{note.part}: {note.says}"
        outside = self._outside(bound)
        if bool(outside.any()):
            found = replace(found, x=found.x.masked_fill(outside[:, None], math.nan))
            failed, says = failed | outside, says or "an input lies outside of its domain"
        return replace(found, failed=failed, says=says)

    def _free(self, bound: Bound, problem: Problem) -> Found:
        start = self.solves.start(self.part, (problem.space.rows, problem.space.size))
        how = Search(tol=None if "tol" in self.namespace.OPTIONS else TOLERANCE, seed=self.solves.seed)
        outcome, _, _ = ask.searched(bound, problem, how, None, start)
        self.solves.keep(self.part, outcome.x)
        good = outcome.converged
        if not bool(good.all()):
            # What a search ends with is good enough where it meets the tolerance of any other question.
            first = problem.space.start(self.solves.seed, np.arange(self.rows, dtype=np.int64)).x
            scale = 1 + problem.space.optimality(first, problem.energy_and_gradient(first)[1])
            ended = [s in (Status.PRECISION, Status.STEP_LIMIT, Status.SETTLED) for s in outcome.status]
            near = outcome.optimality <= TOLERANCES[WIDE] * scale
            good = good | (near & torch.tensor(ended, device=near.device))
        return Found(problem, outcome.x, None, ~good, _first(~good, outcome.sentences))

    def _constrained(self, bound: Bound, problem: Problem) -> Found:
        how = Search(seed=self.solves.seed)
        outcome, _, _ = asking.search(bound, problem, how, {}, None)
        good = torch.tensor([s.converged for s in outcome.status], device=outcome.x.device)
        return Found(problem, outcome.x, outcome.multipliers, ~good, _first(~good, outcome.sentences))

    def _outside(self, bound: Bound) -> Tensor:
        """Rows in which an input breaks what its declaration says of it: proofs rest on that."""
        outside = torch.zeros(self.rows, dtype=torch.bool, device=self.device)
        for spec in self.specs.values():
            if spec.role != "observed" or spec.domain == "reals" or spec.kind != "real":
                continue
            value = bound.values[spec.name]
            value = value if spec.per_example else value[None]
            inside = domain_of(bound, spec).inside(value, NEAR).reshape(value.shape[0], -1).all(1)
            outside |= ~inside
        return outside


def _first(failed: Tensor, sentences: tuple[str, ...]) -> str:
    rows = failed.nonzero()[:1, 0].tolist()
    return sentences[rows[0] if len(sentences) > 1 else 0] if rows else ""


def answers(
    solves: Solves, part: str, sizes: Mapping[str, int], inputs: Values, nets: Nets
) -> dict[str, Tensor]:
    """See `Solves.__call__`."""
    from ebmlang.runtime.nested.implicit import minimum
    from ebmlang.runtime.nested.unrolled import unrolled

    namespace = solves.parts[part]
    specs = {v.name: v for v in namespace.VARIABLES}
    front, flat = _rows(specs, inputs)
    rows = math.prod(front)
    sought = [specs[name] for name in namespace.SOUGHT]
    shapes = [tuple(size.evaluate(sizes) for size in s.shape) for s in sought]
    dtype = next((x.dtype for x in inputs.values() if x.is_floating_point()), solves.dtype)
    names = tuple(n for n, x in flat.items() if x.is_floating_point())
    others = {n: x for n, x in flat.items() if not x.is_floating_point()}
    weights = nets.numbers()
    question = Question(
        solves, part, namespace, specs, sizes, rows, names, others, solves.device, nets, tuple(weights)
    )
    reals = (
        *(flat[n].to(WIDE) for n in names),
        *(w.to(solves.device, WIDE) for w in weights.values()),
    )
    if rows == 0:
        return {
            s.name: torch.zeros(
                *front, *shape, dtype=dtype if s.kind == "real" else torch.long, device=solves.device
            )
            for s, shape in zip(sought, shapes, strict=True)
        }
    if any(s.kind != "real" for s in sought):
        return _countable(question, reals, front)
    if "UNROLL" in vars(namespace):
        values, failed, says = unrolled(question, reals)
    else:
        values, failed, says = minimum(question, reals)
    _note(question, front, failed, says)
    return {
        s.name: values[s.name].to(dtype).reshape((*front, *shape))
        for s, shape in zip(sought, shapes, strict=True)
    }


def _rows(specs: Mapping[str, VariableSpec], inputs: Values) -> tuple[tuple[int, ...], dict[str, Tensor]]:
    """The leading dimensions of the answers, and inputs as [R, *shape], or [*shape] where rows share them."""
    lead = {n: x.ndim - len(specs[n].shape) for n, x in inputs.items()}
    front = tuple(torch.broadcast_shapes(*(x.shape[: lead[n]] for n, x in inputs.items())))
    flat = {}
    for n, x in inputs.items():
        own = x.shape[lead[n] :]
        moves = specs[n].per_example
        flat[n] = x.expand(*front, *own).reshape(math.prod(front), *own) if moves else x
    return front, flat


def _countable(question: Question, reals: tuple[Tensor, ...], front: tuple[int, ...]) -> dict[str, Tensor]:
    """Unknowns with countable values: no small change of an input changes them."""
    bound = question.bound(tuple(x.detach() for x in reals))
    options = dict(question.namespace.OPTIONS)
    wanted = discrete.Wanted("", options.get("steps"), options.get("restarts"), question.solves.seed)
    with torch.no_grad():
        found = discrete.solve(bound, posing.held_values(bound), {}, wanted)
    failed = torch.tensor([not _settled(s) for s in found.status], device=question.device)
    _note(question, front, failed, _first(failed, found.status))
    return {n: v.reshape((*front, *v.shape[1:])) for n, v in found.values.items()}


def _settled(sentence: str) -> bool:
    return sentence in (Status.EXACT.sentence(), Status.LOCAL.sentence())


def _note(question: Question, front: tuple[int, ...], failed: Tensor, says: str) -> None:
    if not bool(failed.any()):
        return
    per_example = question.namespace.PER_EXAMPLE and len(front) > 0
    rows = failed.reshape(front[0], -1).any(1) if per_example else failed.any().reshape(1)
    question.solves.note(Note(question.part, rows.cpu(), says))
