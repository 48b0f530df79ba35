"""Products with the matrix of Gauss and Newton: J' W J times a direction, from the residuals of an energy.

For an energy of sums of weight * loss(residual), W is the weight times the second derivative of the loss,
cut off at 0: the Hessian without the curvature of the residuals, positive semidefinite. The change of a
residual along the direction is taken forwards, its weighted share of the product backwards.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from ebmlang.compiler import typed
from ebmlang.compiler.curvature.losses import RESIDUAL
from ebmlang.compiler.derivatives import algebra
from ebmlang.compiler.derivatives.adjoint import Adjoint
from ebmlang.compiler.derivatives.algebra import constant, times, widened
from ebmlang.compiler.derivatives.tangent import Tangent
from ebmlang.compiler.facts import Dependence, direction_name
from ebmlang.compiler.structure.finding import LossPart
from ebmlang.compiler.typed import Expr, Level, Read

Canonical = Callable[[Expr], Expr]
Share = Callable[[LossPart, Expr], Expr]
"""How often a part counts, times its seed."""


def gauss_newton(
    losses: Iterable[LossPart], depends: Dependence, canonical: Canonical, share: Share
) -> dict[str, list[Expr]]:
    """For each sought variable the parts whose sum is the product. Raises NoDerivativeError."""
    tangent = Tangent(depends, canonical)
    seeds = []
    for part in losses:
        residual = canonical(part.residual)
        if depends(residual):
            seeds.append((residual, canonical(_seed(part, residual, tangent, share))))
    return Adjoint(depends, canonical).gradient(seeds)


def _seed(part: LossPart, residual: Expr, tangent: Tangent, share: Share) -> Expr:
    """The weighted change of a residual, summed over everything that the residual does not vary along."""
    change = widened(tangent(residual), residual.type.shape)
    seed = times(times(part.weight, _curvature(part, residual, tangent)), change)
    if part.guard is not None:
        seed = algebra.where(part.guard, seed, constant(0.0, residual.span))
    seed = algebra.sum_axes(seed, tuple(a for a in part.axes if a not in residual.axes))
    if residual.level is not Level.EXAMPLE:
        # The direction of a variable that all examples share does not make the seed differ by example.
        seed = algebra.sum_examples(seed) if seed.level is Level.EXAMPLE else share(part, seed)
    return seed


def _curvature(part: LossPart, residual: Expr, tangent: Tangent) -> Expr:
    """The second derivative of the loss at the residual, not below 0."""
    if part.loss is None:
        return constant(2.0, residual.span)
    # Equal expressions are one node of the canonical forms: residuals of two shapes need two names.
    name = f"{RESIDUAL} of {residual.type.shape}"
    around = Dependence(tangent.depends.graph, frozenset({name}))
    loss = tangent.canonical(_renamed(part.loss, name))
    one = constant(1.0, residual.span)
    slope = algebra.total(Adjoint(around, tangent.canonical).gradient([(loss, one)])[name])
    second = Tangent(around, tangent.canonical)(slope)
    found = _placed(second, {name: residual, direction_name(name): one})
    return algebra.elementwise("relu", found)


def _renamed(node: Expr, name: str) -> Expr:
    """The loss with another name of its placeholder."""
    if isinstance(node, Read):
        return replace(node, name=name) if node.name == RESIDUAL else node
    children = node.children()
    return typed.rebuilt(node, tuple(_renamed(c, name) for c in children)) if children else node


def _placed(node: Expr, values: dict[str, Expr]) -> Expr:
    """The expression with values for the placeholder of the residual and for its direction."""
    if isinstance(node, Read):
        return values.get(node.name, node)
    children = node.children()
    return typed.rebuilt(node, tuple(_placed(c, values) for c in children)) if children else node
