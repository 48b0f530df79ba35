"""A copy of a checked model for one place of use: other names, sizes and plates, same meaning."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from ebmlang.compiler import typed
from ebmlang.compiler.composition.names import inner_name
from ebmlang.compiler.domains import Domain
from ebmlang.compiler.sizes import Size
from ebmlang.compiler.source import Span
from ebmlang.compiler.typed import Axes, Axis, Expr
from ebmlang.compiler.types import Type

if TYPE_CHECKING:
    from ebmlang.compiler.expressions import Expressions


@dataclass(slots=True)
class Instance:
    """Copies expressions of a part.

    `sizes` and `values` replace integer hyperparameters and reads; every other name gets the
    prefix `part`. `indices` say which of the nets of a plate is meant by a net of the part. All spans
    become `span`, the place of use: those of the part point into another text.
    """

    expressions: Expressions
    part: str
    span: Span
    sizes: Mapping[str, Size]
    values: dict[str, Expr] = field(default_factory=dict)
    indices: dict[str, tuple[Expr, ...]] = field(default_factory=dict)
    axes: dict[Axis, Axis] = field(default_factory=dict)
    nests: dict[int, typed.Nested] = field(default_factory=dict)
    done: dict[int, Expr] = field(default_factory=dict)

    def adopt_axes(self, roots: Iterable[Expr], plates: Iterable[Axis]) -> None:
        """Make the axes of the copy in the order of the original: outer ones come first."""
        found = {id(a): a for a in plates}
        for root in roots:
            for node in typed.walk(root):
                match node:
                    case typed.Position() | typed.Carry() | typed.Scan():
                        found.setdefault(id(node.axis), node.axis)
                    case typed.Fold() | typed.Tabulate():
                        found.update((id(a), a) for a in node.over)
        for axis in sorted(found.values(), key=lambda a: a.order):
            self.axis(axis)

    def axis(self, axis: Axis) -> Axis:
        """The axis of the copy that stands for one of the part."""
        known = self.axes.get(axis)
        if known is None:
            size = None if axis.size is None else self.size(axis.size)
            rows = None if axis.rows is None else self.expr(axis.rows)
            known = self.axes[axis] = self.expressions.new_axis(axis.names, self.size(axis.start), size, rows)
        return known

    def over(self, axes: Axes) -> Axes:
        return tuple(self.axis(a) for a in axes)

    def size(self, size: Size) -> Size:
        return size.substitute(self.sizes)

    def type(self, type_: Type) -> Type:
        classes = None if type_.classes is None else self.size(type_.classes)
        return Type(type_.kind, tuple(self.size(s) for s in type_.shape), classes, type_.permuted)

    def domain(self, domain: Domain) -> Domain:
        where = None if domain.where is None else self.expr(domain.where)
        return Domain(domain.name, tuple(self.expr(a) for a in domain.arguments), where)

    def read(self, variable: typed.Variable) -> Expr:
        """What stands for a variable of the part."""
        # Not by `expr`, which remembers nodes by their ids: this one is gone afterwards.
        return self._own(typed.Read(variable.type, (), variable.level, False, variable.span, variable.name))

    def expr(self, root: Expr) -> Expr:
        """The expression of the copy; parts that several expressions share stay shared."""
        done = self.done
        stack = [root]
        while stack:
            node = stack[-1]
            if id(node) in done:
                stack.pop()
                continue
            children = node.children()
            missing = [c for c in children if id(c) not in done]
            if missing:
                stack.extend(missing)
                continue
            self.expressions.node_count += 1
            made = typed.rebuilt(self._own(node), tuple(done[id(c)] for c in children))
            done[id(node)] = self._chosen(node, made)
        return done[id(root)]

    def _chosen(self, node: Expr, made: Expr) -> Expr:
        """What uses a net that every copy of the part has for itself, with the indices of this one."""
        match node, made:
            case typed.Apply(function="net", arguments=(typed.Read(name=name), *_)), typed.Apply():
                indices = self.indices.get(name, ())
                if not indices:
                    return made
                own, *rest = made.arguments
                at = made.option("at")
                assert isinstance(at, int)
                count = ("at", at + len(indices))
                static = tuple(count if key == "at" else (key, value) for key, value in made.static)
                parts = (own, *indices, *rest)
                return self.expressions.apply("net", parts, made.type, made.span, static)
            case typed.Solve(), typed.Solve() if made.nets:
                nets = tuple(
                    replace(lent, indices=(*self.indices.get(old.net.name, ()), *lent.indices))
                    for old, lent in zip(node.nets, made.nets, strict=True)
                )
                return typed.solve_with(made, made.inputs, nets)
        return made

    def _own(self, node: Expr) -> Expr:
        """The node itself with its own sizes, names and axes replaced, over the old children."""
        type_, span = self.type(node.type), self.span
        match node:
            case typed.Read():
                value = self.values.get(node.name)
                name = inner_name(self.part, node.name)
                return value if value is not None else replace(node, type=type_, span=span, name=name)
            case typed.SizeOf():
                return replace(node, span=span, size=self.size(node.size))
            case typed.Position():
                axis = self.axis(node.axis)
                level = axis.rows.level if axis.rows is not None else node.level
                return replace(node, type=type_, span=span, axis=axis, axes=(axis,), level=level)
            case typed.Apply():
                return replace(node, type=type_, span=span, static=self._static(node.static))
            case typed.Pick():
                subscripts = tuple(self._subscript(s) for s in node.subscripts)
                return replace(node, type=type_, span=span, subscripts=subscripts)
            case typed.Scatter():
                subscripts = tuple(self._subscript(s) for s in node.subscripts)
                over = self.over(node.over)
                return replace(node, type=type_, span=span, subscripts=subscripts, over=over)
            case typed.Fold() | typed.Tabulate():
                return replace(node, type=type_, span=span, over=self.over(node.over))
            case typed.Carry():
                return replace(
                    node,
                    type=type_,
                    span=span,
                    axis=self.axis(node.axis),
                    name=inner_name(self.part, node.name),
                )
            case typed.Scan():
                states = tuple(replace(s, name=inner_name(self.part, s.name)) for s in node.states)
                return replace(node, type=type_, span=span, axis=self.axis(node.axis), states=states)
            case typed.Solve():
                return replace(node, type=type_, span=span, nested=self._nested(node.nested))
        return replace(node, type=type_, span=span)

    def _nested(self, nested: typed.Nested) -> typed.Nested:
        """A search of the part, in the sizes of the copy; searches that are one stay one."""
        if id(nested) not in self.nests:
            sizes = tuple((name, self.size(size)) for name, size in nested.sizes)
            self.nests[id(nested)] = replace(nested, part=inner_name(self.part, nested.part), sizes=sizes)
        return self.nests[id(nested)]

    def solved(self, found: typed.Solved) -> typed.Solved:
        """The record of a nested minimum of the part."""
        search = found.search
        if search is not None:
            copied = self.expr(search)
            assert isinstance(copied, typed.Solve)
            search = copied
        return replace(found, part=inner_name(self.part, found.part), search=search, span=self.span)

    def _subscript(self, subscript: typed.Subscript) -> typed.Subscript:
        if isinstance(subscript, typed.SliceOf):
            return typed.SliceOf(self.size(subscript.start), self.size(subscript.stop))
        return subscript

    def _static(self, static: tuple[tuple[str, object], ...]) -> tuple[tuple[str, object], ...]:
        return tuple((key, self._static_value(value)) for key, value in static)

    def _static_value(self, value: object) -> object:
        match value:
            case Size():
                return self.size(value)
            case Type():
                return self.type(value)
            case tuple():
                return tuple(self._static_value(v) for v in value)
        return value
