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
            self.declarations.report.add(LossMisfit(node.span, "amortize", because, "", places))
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
        report, call = self.declarations.report, node.prediction
        normal = isinstance(call, ast.Call) and call.function.text == "normal" and len(call.arguments) == 2
        if not isinstance(call, ast.Call) or not normal or type_.kind != "real":
            what = "a prediction by another distribution than a normal one"
            report.add(
                NotBuilt(node.span, what, f"amortize {name} ~ normal(mean, deviation), of real numbers")
            )
            return None
        mean, deviation = (f"({report.source.extract(a.value.span)})" for a in call.arguments)
        sizes = [str(size) for size in type_.shape]
        count = " * ".join(f"({s})" for s in sizes) or "1"
        spread = f"log({deviation}) + zeros({', '.join(sizes)})" if sizes else f"log({deviation})"
        shape = f"[{', '.join(sizes)}]" if sizes else ""
        draw = f": real{shape} ~ normal()"
        text = (
            f"(total with {name} = {mean} + {deviation} * NOISE)"
            f" - sum({spread}) - {count} / 2 * (1 + log(2 * pi))"
        )
        first = call.arguments[0].value
        assert isinstance(first, ast.Expr)
        entry = self.declarations.scope.find(name)
        assert isinstance(entry, Declared)
        prediction = self._fitting(first, name, entry)
        if prediction is None:
            return None
        second = call.arguments[1].value
        assert isinstance(second, ast.Expr)
        spread_by = self.declarations.expressions.value(second, self.declarations.scope)
        return self._checked(node, EVIDENCE, name, text, {"NOISE": draw}, (prediction, spread_by))

    def _checked(
        self,
        node: ast.Question,
        kind: str,
        name: str,
        text: str,
        draws: dict[str, str],
        prediction: tuple[Expr, ...],
    ) -> Amortized | None:
        stem = f"{self.label}_{kind}" if self.label else f"{kind}_of_{name}"
        writing = Writing(self.declarations, node.span)
        names = {placeholder: writing.free(f"{stem}_{placeholder.lower()}") for placeholder in draws}
        for placeholder, found in names.items():
            text = text.replace(placeholder, found)
        value = writing.value(text, {names[p]: rest for p, rest in draws.items()}, costs=True)
        if value is None:
            return None
        return Amortized(NamedLoss(kind, name, text, tuple(names.values())), value, prediction)


def begun(variables: Sequence[Variable], questions: Sequence[Question]) -> tuple[Variable, ...]:
    """The variables of a model with the starts of its searches: what is predicted begins there."""
    predicted = {q.targets[0]: q.prediction[0] for q in questions if q.prediction}
    return tuple(replace(v, init=predicted[v.name]) if v.name in predicted else v for v in variables)
