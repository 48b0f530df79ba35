"""`amortize`: a prediction of what a search would find, and the loss by which it is learnt.

Like the losses of `train`, each is written in the language: P is the prediction of z, E the total.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ebmlang.compiler import ast
from ebmlang.compiler.catalogue.later import NotBuilt
from ebmlang.compiler.catalogue.training import LossMisfit
from ebmlang.compiler.catalogue.types import DeclaredOtherwise
from ebmlang.compiler.declarations import Declarations
from ebmlang.compiler.losses.writing import Writing
from ebmlang.compiler.scope import Declared, declared_at, origins
from ebmlang.compiler.typed import Expr, NamedLoss, Question, Variable
from ebmlang.compiler.types import Type, fits

REGRESSION, ENERGY, EVIDENCE = "regression", "energy", "evidence"

BY = (REGRESSION, ENERGY)
"""What may follow `amortize z = P by`; without it, regression."""

TITLES = {
    REGRESSION: "the squared distance from what is found for each row (Kavukcuoglu, Ranzato & LeCun 2008)",
    ENERGY: "the energy at the prediction",
    EVIDENCE: "the evidence bound: the mean energy of draws less their entropy (Kingma & Welling 2014)",
}


@dataclass(frozen=True, slots=True)
class Amortized:
    """The checked parts of a line: the loss with its objective, and the prediction."""

    loss: NamedLoss
    of: Expr
    prediction: tuple[Expr, ...]


@dataclass(slots=True)
class Amortizing:
    """Checks one line. Mistakes go to the report."""

    declarations: Declarations
    label: str | None

    def read(self, node: ast.Question, by: str) -> Amortized | None:
        """`amortize z = P [by LOSS]`, `amortize z with P` and `amortize z ~ normal(mean, deviation)`; None
        after a mistake."""
        assert node.prediction is not None
        report, scope = self.declarations.report, self.declarations.scope
        if len(node.targets) != 1:
            report.add(NotBuilt(node.span, "predicting several unknowns in one line", "one line for each"))
            return None
        name = node.targets[0].text
        entry = scope.find(name)
        if not isinstance(entry, Declared) or entry.type.kind == "error":
            return None
        if entry.role != "latent":
            places = declared_at(entry, f"`{name}` is declared here")
            because = f"`{name}` is {entry.role}: what is predicted has one value for each example"
            advice = f"train {name}" if entry.role == "param" else ""
            report.add(LossMisfit(node.targets[0].span, "amortize", because, advice, places))
            return None
        if node.relation == "~":
            return self._evidence(node, name, entry.type)
        prediction = self._fitting(node.prediction, name, entry)
        if prediction is None:
            return None
        text = f"({report.source.extract(node.prediction.span)})"
        kind = by or REGRESSION
        if kind == REGRESSION and entry.type.kind != "real":
            what = f"regression on {name}, which is {entry.type},"
            report.add(NotBuilt(node.span, what, "by energy"))
            return None
        written = (
            f"sum(square(stop({name}) - {text}))" if kind == REGRESSION else f"(total with {name} = {text})"
        )
        return self._checked(node, kind, name, written, {}, (prediction,))

    def _fitting(self, node: ast.Expr, name: str, entry: Declared) -> Expr | None:
        """The prediction, which must fit what it stands for."""
        value = self.declarations.expressions.value(node, self.declarations.scope)
        if value.type.kind == "error":
            return None
        unknown = self._unknowns(value)
        if unknown:
            places = declared_at(self.declarations.scope.find(unknown), f"`{unknown}` is declared here")
            because = f"it reads the unknown `{unknown}`"
            advice = "a prediction is made of what is given"
            self.declarations.report.add(LossMisfit(node.span, "amortize", because, advice, places))
            return None
        if fits(value.type, entry.type):
            return value
        places = (
            *declared_at(entry, f"`{name}` is declared {entry.type}"),
            *origins(self.declarations.scope, value),
        )
        found, wanted = str(value.type), str(entry.type)
        self.declarations.report.add(
            DeclaredOtherwise(node.span, name, found, wanted, "change the value", places)
        )
        return None

    def _unknowns(self, value: Expr) -> str:
        """A latent that a prediction depends on; empty where there is none."""
        latents = {v.name for v in self.declarations.variables if v.role == "latent"}
        sources = self.declarations.expressions.lets.sources_of(value)
        return next((name for name in sorted(sources) if name in latents), "")

    def _evidence(self, node: ast.Question, name: str, type_: Type) -> Amortized | None:
        """The energy at a draw less the entropy of the draws, in closed form."""
        report, scope = self.declarations.report, self.declarations.scope
        parts, entry = _of_normal(node.prediction), scope.find(name)
        if parts is None or type_.kind != "real" or not isinstance(entry, Declared):
            what = "a prediction by another distribution than a normal one"
            advice = f"amortize {name} ~ normal(mean, deviation), of real numbers"
            report.add(NotBuilt(node.span, what, advice))
            return None
        prediction = self._fitting(parts[0], name, entry)
        wide = self.declarations.expressions.value(parts[1], scope) if prediction is not None else None
        if prediction is None or wide is None or wide.type.kind == "error":
            return None
        mean, deviation = (f"({report.source.extract(part.span)})" for part in parts)
        sizes = [str(size) for size in type_.shape]
        shape = f"[{', '.join(sizes)}]" if sizes else ""
        noise = Writing(self.declarations, node.span).free(f"{self._stem(EVIDENCE, name)}_noise")
        spread = f"sum(log({deviation}) + zeros({', '.join(sizes)}))" if sizes else f"log({deviation})"
        count = " * ".join(f"({size})" for size in sizes) or "1"
        text = (
            f"(total with {name} = {mean} + {deviation} * {noise})"
            f" - {spread} - {count} / 2 * (1 + log(2 * pi))"
        )
        return self._checked(
            node, EVIDENCE, name, text, {noise: f": real{shape} ~ normal()"}, (prediction, wide)
        )

    def _stem(self, kind: str, name: str) -> str:
        return f"{self.label}_{kind}" if self.label else f"{kind}_of_{name}"

    def _checked(
        self,
        node: ast.Question,
        kind: str,
        name: str,
        text: str,
        draws: dict[str, str],
        prediction: tuple[Expr, ...],
    ) -> Amortized | None:
        value = Writing(self.declarations, node.span).value(text, draws, costs=True)
        if value is None:
            return None
        return Amortized(NamedLoss(kind, name, text, tuple(draws)), value, prediction)


def _of_normal(node: ast.Expr | None) -> tuple[ast.Expr, ast.Expr] | None:
    """Mean and deviation of `normal(mean, deviation)`; None for anything else."""
    if not isinstance(node, ast.Call) or node.function.text != "normal" or len(node.arguments) != 2:
        return None
    first, second = (a.value for a in node.arguments)
    named = any(a.name is not None for a in node.arguments)
    if named or not isinstance(first, ast.Expr) or not isinstance(second, ast.Expr):
        return None
    return first, second


def begun(variables: Sequence[Variable], questions: Sequence[Question]) -> tuple[Variable, ...]:
    """The variables of a model with the starts of its searches: what is predicted begins there."""
    predicted = {q.targets[0]: q.prediction[0] for q in questions if q.prediction}
    return tuple(replace(v, init=predicted[v.name]) if v.name in predicted else v for v in variables)
