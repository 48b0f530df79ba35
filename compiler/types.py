"""Types of values: a kind and a shape of sizes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from ebmlang.compiler.sizes import ONE, Size

Kind = Literal["real", "int", "bool", "class", "net", "error"]
Shape = tuple[Size, ...]


@dataclass(frozen=True, slots=True)
class Type:
    """`classes` is the number of classes of a `class[K]`.

    A `permutation[n]` is a `class[n]` with a last dimension of n and `permuted`: all entries along it differ.
    """

    kind: Kind
    shape: Shape = ()
    classes: Size | None = None
    permuted: bool = False

    @property
    def rank(self) -> int:
        return len(self.shape)

    @property
    def scalar(self) -> bool:
        return not self.shape

    @property
    def numeric(self) -> bool:
        """Whether arithmetic may use it: class values are names of cases, not numbers."""
        return self.kind in ("real", "int", "bool", "error")

    @property
    def integral(self) -> bool:
        """Whether it may stand as a subscript."""
        return self.kind in ("int", "class")

    def with_shape(self, shape: Shape) -> Type:
        return Type(self.kind, shape, self.classes)

    def with_kind(self, kind: Kind) -> Type:
        return Type(kind, self.shape, self.classes)

    def __str__(self) -> str:
        if self.kind == "error":
            return "unknown"
        if self.permuted:
            each = ", ".join(map(str, self.shape[:-1]))
            return f"permutation[{self.classes}]" + (f"[{each}]" if each else "")
        dims = ", ".join(map(str, self.shape))
        if self.classes is not None:
            return f"{self.kind}[{self.classes}]" + (f"[{dims}]" if dims else "")
        return f"{self.kind}[{dims}]" if dims else str(self.kind)


ERROR = Type("error")
"""The type of an expression with a mistake in it: it goes with everything, so that one mistake
gives one message."""

REAL = Type("real")
INT = Type("int")
BOOL = Type("bool")


def stretched(a: Shape, b: Shape) -> Shape | None:
    """The common shape of two operands, or None: equal ranks with sizes equal or 1, or a scalar."""
    if a == b or not b:
        return a
    if not a:
        return b
    if len(a) != len(b):
        return None
    shape = []
    for x, y in zip(a, b, strict=True):
        if x != y and x != ONE and y != ONE:
            return None
        shape.append(y if x == ONE else x)
    return tuple(shape)


def join_kinds(a: Kind, b: Kind) -> Kind:
    """The kind of an arithmetic result."""
    if a == "error" or b == "error":
        return "error"
    if a == "real" or b == "real":
        return "real"
    return "int"


def common_kind(types: Iterable[Type]) -> Type | None:
    """The scalar type that holds values of all the given types side by side, or None.

    Numbers and conditions join as in arithmetic; class values only go with the same classes.
    """
    common: Type | None = None
    for found in types:
        if common is None or found.kind == common.kind:
            if common is not None and found.classes != common.classes:
                return None
            common = common or Type(found.kind, (), found.classes)
        elif found.numeric and common.numeric:
            common = Type(join_kinds(common.kind, found.kind))
        else:
            return None
    return common


def fits(found: Type, declared: Type, *, stretch: bool = False) -> bool:
    """Whether a value of one type may stand for a declared one.

    Any number is a real number; with `stretch` a scalar or a size of 1 fills the declared shape.
    """
    shape = stretched(found.shape, declared.shape) if stretch else found.shape
    if shape != declared.shape:
        return False
    if declared.kind == "real":
        return found.numeric
    return found.kind == declared.kind and found.classes == declared.classes
