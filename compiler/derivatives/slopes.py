"""Derivatives of nets, of any order, as values of one kind.

A net f is no formula, but all of its derivatives are entries of one family: with weights v for a result and
directions w1, ..., wk for its inputs, let

    s(x, v, w1, ..., wk) = the derivative of <v, f(x)> along w1, ..., wk.

A call of the net is the gradient of s in v without directions, a product with a transposed Jacobian its
gradient in x, a product with a Jacobian its gradient in v with one direction. When an argument changes,
such a gradient changes by another one of them: s is linear in v and in every direction, and a change of x
adds one more direction. So forward and reverse mode stay in the family, as often as they are applied.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from ebmlang.compiler.derivatives.algebra import NoDerivativeError, apply, widened
from ebmlang.compiler.typed import Apply, Expr
from ebmlang.compiler.types import Shape


@dataclass(frozen=True, slots=True)
class Slope:
    """The gradient of s in one of its arguments, which has no value here: None.

    `arguments` are the inputs of the net, the weights of the result, and the directions; `along` says which
    input each direction belongs to. `shapes` are the shapes of the inputs and of the result.
    """

    net: Expr
    indices: tuple[Expr, ...]
    arguments: tuple[Expr | None, ...]
    inputs: int
    along: tuple[int, ...]
    free: int
    result: Shape
    output: int
    of: int

    @staticmethod
    def of_node(node: Apply) -> Slope:
        at, output, count = node.option("at"), node.option("output"), node.option("of")
        assert isinstance(at, int)
        assert isinstance(output, int)
        assert isinstance(count, int)
        net, indices, rest = node.arguments[0], node.arguments[1 : 1 + at], node.arguments[1 + at :]
        if node.function == "net":
            return Slope(
                net, indices, (*rest, None), len(rest), (), len(rest), node.type.shape, output, count
            )
        inputs, along, free = node.option("inputs"), node.option("along"), node.option("free")
        assert isinstance(inputs, int)
        assert isinstance(along, tuple)
        assert isinstance(free, int)
        arguments: tuple[Expr | None, ...] = (*rest[:free], None, *rest[free:]) if free >= inputs else rest
        weights = arguments[inputs]
        result = node.type.shape if weights is None else weights.type.shape
        return Slope(net, indices, arguments, inputs, along, free, result, output, count)

    @property
    def node(self) -> Expr:
        """As an expression: a call of the net where it is no more than that."""
        given = tuple(a for a in self.arguments if a is not None)
        static: tuple[tuple[str, object], ...] = (
            ("output", self.output), ("of", self.of), ("at", len(self.indices)),
        )  # fmt: skip
        parts = (self.net, *self.indices, *given)
        if self.free == self.inputs and not self.along:
            return apply("net", parts, self.result, static)
        own = (("inputs", self.inputs), ("along", self.along), ("free", self.free))
        return apply("net_slope", parts, self._shape(self.free), (*static, *own))

    def _shape(self, number: int) -> Shape:
        """The shape of an argument."""
        if number == self.inputs:
            return self.result
        owner = number if number < self.inputs else self.along[number - self.inputs - 1]
        value = self.arguments[owner]
        assert value is not None
        return value.type.shape

    def changed(self, number: int, change: Expr) -> Slope:
        """How it moves when an argument moves along `change`; also the weighted sum of its entries, to be
        differentiated, where the argument is the free one."""
        change = widened(change, self._shape(number))
        if number < self.inputs:
            arguments = (*self.arguments, change)
            return replace(self, arguments=arguments, along=(*self.along, number))
        return replace(self, arguments=_with(self.arguments, number, change))

    def freed(self, number: int) -> Slope:
        """The gradient in another argument."""
        if number < self.inputs:
            return replace(self, free=number)
        return replace(self, arguments=_with(self.arguments, number, None), free=number)

    def number(self, operand: int) -> int:
        """Which argument an operand is. Raises NoDerivativeError for indices and whole numbers."""
        place = operand - 1 - len(self.indices)
        if place < 0:
            raise NoDerivativeError("an index of a net")
        number = place + (place >= self.free >= self.inputs)
        value = self.arguments[number]
        if value is None or value.type.kind != "real":
            raise NoDerivativeError("a net of whole numbers")
        return number


def _with(arguments: tuple[Expr | None, ...], number: int, value: Expr | None) -> tuple[Expr | None, ...]:
    return (*arguments[:number], value, *arguments[number + 1 :])


def net_share(node: Apply, adjoint: Expr, operand: int) -> Expr:
    """The share of an operand of a net, or of a derivative of one, in reverse mode."""
    own = Slope.of_node(node)
    number = own.number(operand)
    return own.changed(own.free, adjoint).freed(number).node


def net_change(node: Apply, operand: int, change: Expr) -> Expr:
    """The change of a net, or of a derivative of one, when an operand changes."""
    own = Slope.of_node(node)
    return own.changed(own.number(operand), change).node
