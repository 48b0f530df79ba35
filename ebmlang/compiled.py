"""The generated code of a loaded model: made once for every question, and what is kept beside it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from ebmlang.compiler import pipeline, typed
from ebmlang.compiler.choose import Plan
from ebmlang.compiler.envelope import Loss
from ebmlang.compiler.graph import FactorGraph
from ebmlang.questions import Asked
from ebmlang.runtime.generated import load_text
from ebmlang.runtime.kept import Kept


@dataclass(slots=True, eq=False)
class Compiled:
    """Plans and modules by question, losses by question of training, and what each module keeps."""

    model: typed.Model
    graph: FactorGraph
    modules: dict[Any, tuple[Plan, ModuleType]] = field(default_factory=dict)
    losses: dict[Any, Loss] = field(default_factory=dict)
    _kept: dict[ModuleType, Kept] = field(default_factory=dict)

    def copy(self) -> Compiled:
        """For a model with parameters of its own: the same code, nothing of what it keeps."""
        return Compiled(self.model, self.graph, dict(self.modules), dict(self.losses))

    def answer(self, asked: Asked, using: str | None) -> tuple[Plan, ModuleType]:
        """The plan for a question and its module."""
        verb = asked.question.verb if asked.question is not None else ""
        key = (asked.sought, asked.summed, asked.of, asked.label, verb, asked.using, asked.variant, using)
        known = self.modules.get(key)
        if known is None:
            graph = self.graph if asked.model is self.model else pipeline.graph_of(asked.model)
            plan = pipeline.plan_for(graph, asked.query, using)
            known = plan, load_text(pipeline.generate_for(plan).text, self.model.name)
            self.modules[key] = known
        return known

    def loss(self, key: Any, make: Callable[[], Loss]) -> Loss:
        """The loss of a question of training, settled once."""
        if key not in self.losses:
            self.losses[key] = make()
        return self.losses[key]

    def kept(self, module: ModuleType) -> Kept:
        """What is kept from one question to the next that the same module answers."""
        return self._kept.setdefault(module, Kept())
