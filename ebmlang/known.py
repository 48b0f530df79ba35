"""What the compiler knows of a loaded model: its graph, what is proven of it, the code of its questions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from ebmlang.compiled import Compiled
from ebmlang.compiler import pipeline, typed
from ebmlang.compiler.choose import Plan
from ebmlang.compiler.explanation import explain
from ebmlang.compiler.graph import FactorGraph
from ebmlang.compiler.latex import model_latex
from ebmlang.questions import Asked, ask_roles
from ebmlang.runtime.kept import Kept

if TYPE_CHECKING:
    import networkx


class Known:
    """The part of a model that needs no values. Compiled code is kept per question."""

    _model: typed.Model
    _hypers: dict[str, Any]
    _graph: FactorGraph
    _compiled: Compiled

    def _know(self, model: typed.Model, hypers: Mapping[str, Any]) -> None:
        self._model = model
        self._hypers = dict(hypers)
        self._graph = pipeline.graph_of(model)
        self._compiled = Compiled(model, self._graph)

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

    def choice(
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
        """Which method for which block, why, and what was rejected. Arguments as for `choice`."""
        return explain(self.choice(**question))

    @property
    def latex(self) -> str:
        """The energy, what surrounds it and what is asked, as one `aligned` environment of LaTeX."""
        with pipeline.room_for_passes():
            return model_latex(self._model)

    @property
    def structure(self) -> tuple[str, ...]:
        """The findings about the default question, as sentences."""
        return tuple(map(str, self.choice().structure.findings))

    @property
    def source(self) -> str:
        """The generated PyTorch for the default question."""
        return pipeline.generate_for(self.choice()).text

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
        """The plan for a question and the module generated for it."""
        return self._compiled.answer(asked, using)

    def kept(self, module: ModuleType) -> Kept:
        """What is kept from one question to the next that the same module answers."""
        return self._compiled.kept(module)
