"""Lower bounds of integer hyperparameters, read from the declarations of a model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ebmlang.compiler import ast, typed
from ebmlang.compiler.sizes import Size
from ebmlang.compiler.source import Span


@dataclass(frozen=True, slots=True)
class Floors:
    """`least` has a lower bound of every integer hyperparameter; `dimensions` says where one
    stands as a dimension, which makes it at least 1; `loose` are those that nothing bounds."""

    least: dict[str, int]
    dimensions: dict[str, Span]
    loose: frozenset[str]
    declared: dict[str, Span]

    def requirements(self, assumed: set[str]) -> tuple[typed.Requirement, ...]:
        """What has to hold so that the bounds do: nothing else keeps sizes from being negative."""
        found = [
            typed.Requirement(Size.of(name) - 1, f"`{name}` is a dimension, and must be at least 1", span)
            for name, span in self.dimensions.items()
        ]
        found.extend(
            typed.Requirement(Size.of(name), f"`{name}` bounds a subscript, and cannot be negative", span)
            for name, span in self.declared.items()
            if name in assumed
        )
        return tuple(found)


def floors_of(model: ast.Model) -> Floors:
    whole = {h.name.text: h for h in model.hypers if h.type.name.text == "int" and not h.type.dims}
    dimensions: dict[str, Span] = {}
    for name, span in _dimensions(model):
        if name in whole:
            dimensions.setdefault(name, span)
    least: dict[str, int] = {}
    loose: set[str] = set()
    for name, hyper in whole.items():
        stated = _stated(hyper.domain)
        bounds = [b for b in (stated, 1 if name in dimensions else None) if b is not None]
        if bounds:
            least[name] = max(bounds)
        else:
            loose.add(name)
    declared = {name: hyper.name.span for name, hyper in whole.items()}
    return Floors(least, dimensions, frozenset(loose), declared)


def _dimensions(model: ast.Model) -> Iterator[tuple[str, Span]]:
    """Names that are exactly a dimension of a hyperparameter or a variable."""
    types = [h.type for h in model.hypers] + [s.type for s in model.body if isinstance(s, ast.Variable)]
    for type_ in types:
        for group in type_.dims:
            for dim in group:
                if isinstance(dim, ast.Name):
                    yield dim.text, dim.span


def _stated(domain: ast.DomainExpr | None) -> int | None:
    """The lower bound that a domain states, where it is a number."""
    if domain is None:
        return None
    if domain.name.text in ("positive", "nonnegative"):
        return int(domain.name.text == "positive")
    if domain.name.text != "interval" or not domain.arguments:
        return None
    low = domain.arguments[0].value
    sign = 1
    while isinstance(low, ast.Unary):
        sign, low = -sign if low.op == "-" else sign, low.operand
    if isinstance(low, ast.Number) and low.text.isdigit() and len(low.text) < 18:
        return sign * int(low.text)
    return None
