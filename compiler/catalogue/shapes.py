"""Mistakes with shapes: E04xx. Each names the declarations that the sizes came from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from ebmlang.compiler.diagnostics import Diagnostic, Label


@dataclass(frozen=True, eq=False, repr=False)
class ShapesDiffer(Diagnostic):
    """Two operands have shapes that do not go together.

    Shapes go together when their ranks are equal and each pair of sizes is equal or one of them
    is 1; a scalar goes with anything. Nothing else is stretched.
    """

    code: ClassVar[str] = "E0401"
    left: str = ""
    right: str = ""
    what: str = ""
    advice: str = ""
    places: tuple[Label, ...] = ()

    def message(self) -> str:
        return f"{self.what}: the shapes {self.left} and {self.right} differ"

    def label(self) -> str:
        return f"{self.left} and {self.right}"

    def expected(self) -> str:
        return "equal shapes, sizes of 1, or a scalar"

    def hint(self) -> str:
        return self.advice

    def related(self) -> Sequence[Label]:
        return self.places


@dataclass(frozen=True, eq=False, repr=False)
class MatrixProduct(Diagnostic):
    """The inner sizes of a matrix product differ."""

    code: ClassVar[str] = "E0402"
    left: str = ""
    right: str = ""
    advice: str = ""
    places: tuple[Label, ...] = ()

    def message(self) -> str:
        return f"cannot multiply {self.left} @ {self.right}"

    def label(self) -> str:
        return f"{self.left} @ {self.right}"

    def expected(self) -> str:
        return "the last size on the left equal to the first on the right"

    def hint(self) -> str:
        return self.advice

    def related(self) -> Sequence[Label]:
        return self.places


@dataclass(frozen=True, eq=False, repr=False)
class WrongRank(Diagnostic):
    """A function needs a vector or a matrix and got another shape."""

    code: ClassVar[str] = "E0403"
    function: str = ""
    found: str = ""
    wanted: str = ""
    places: tuple[Label, ...] = ()

    def message(self) -> str:
        return f"`{self.function}` takes {self.wanted}, not {self.found}"

    def label(self) -> str:
        return self.found

    def expected(self) -> str:
        return self.wanted

    def related(self) -> Sequence[Label]:
        return self.places


@dataclass(frozen=True, eq=False, repr=False)
class TooManySubscripts(Diagnostic):
    """More subscripts than dimensions."""

    code: ClassVar[str] = "E0404"
    found: int = 0
    type: str = ""
    places: tuple[Label, ...] = ()

    def message(self) -> str:
        return f"{self.found} subscript{'s' * (self.found != 1)} on {self.type}"

    def expected(self) -> str:
        return "at most one subscript or slice for each dimension"

    def hint(self) -> str:
        if "[" not in self.type:
            return "a single value is used without subscripts"
        return "None adds a dimension: x[None, ..]"

    def related(self) -> Sequence[Label]:
        return self.places


@dataclass(frozen=True, eq=False, repr=False)
class OutOfRange(Diagnostic):
    """A subscript lies outside of the dimension.

    The first entry has index 0, ranges are half-open, and the check holds for every value that
    a plate index takes. A class has as many cases as the dimension that it reads has entries.
    """

    code: ClassVar[str] = "E0405"
    subscript: str = ""
    reach: str = ""
    size: str = ""
    places: tuple[Label, ...] = ()
    advice: str = ""
    what: str = "subscript"

    def message(self) -> str:
        if self.what == "class":
            return f"{self.subscript} is one of {self.reach} cases, and reads a dimension of {self.size}"
        if self.subscript == self.reach:
            return f"the {self.what} {self.subscript} is outside of 0..{self.size}"
        return f"the {self.what} {self.subscript} reaches {self.reach}, outside of 0..{self.size}"

    def label(self) -> str:
        if self.what == "class":
            return f"{self.reach} cases"
        return "" if self.subscript == self.reach else f"reaches {self.reach}"

    def expected(self) -> str:
        if self.what == "class":
            return f"a class[{self.size}]"
        return f"0 <= index < {self.size}" if self.what == "subscript" else f"a part of 0..{self.size}"

    def hint(self) -> str:
        return self.advice

    def related(self) -> Sequence[Label]:
        return self.places


@dataclass(frozen=True, eq=False, repr=False)
class NoSuchAxis(Diagnostic):
    """`over` names an axis that the value does not have."""

    code: ClassVar[str] = "E0406"
    axis: str = ""
    type: str = ""
    places: tuple[Label, ...] = ()
    rank: int = 1

    def message(self) -> str:
        return f"there is no axis {self.axis} in {self.type}"

    def expected(self) -> str:
        if not self.rank:
            return "an array"
        if self.rank == 1:
            return "axis 0, which is also -1"
        return f"an axis from 0 to {self.rank - 1}, or from -{self.rank} to -1"

    def related(self) -> Sequence[Label]:
        return self.places


@dataclass(frozen=True, eq=False, repr=False)
class ReshapeSize(Diagnostic):
    """A reshape changes the number of entries."""

    code: ClassVar[str] = "E0407"
    before: str = ""
    after: str = ""
    count: str = ""
    wanted: str = ""
    places: tuple[Label, ...] = ()

    def message(self) -> str:
        return f"cannot reshape {self.before} to {self.after}"

    def label(self) -> str:
        return f"{self.count} entries"

    def expected(self) -> str:
        return f"{self.wanted} entries"

    def related(self) -> Sequence[Label]:
        return self.places


@dataclass(frozen=True, eq=False, repr=False)
class ItemsDiffer(Diagnostic):
    """The items of a list, a stack or a concatenation have different shapes."""

    code: ClassVar[str] = "E0408"
    first: str = ""
    other: str = ""
    what: str = ""
    places: tuple[Label, ...] = ()

    def message(self) -> str:
        if not self.other:
            return "a list without items has no shape"
        return f"the items of {self.what} differ in shape: {self.first} and {self.other}"

    def expected(self) -> str:
        return self.first

    def related(self) -> Sequence[Label]:
        return self.places


@dataclass(frozen=True, eq=False, repr=False)
class EinsumSpec(Diagnostic):
    """The index specification of einsum does not fit its operands."""

    code: ClassVar[str] = "E0409"
    spec: str = ""
    reason: str = ""
    places: tuple[Label, ...] = ()

    def message(self) -> str:
        shown = f'einsum "{self.spec}"' if self.spec else "einsum"
        return f"{shown}: {self.reason}"

    def hint(self) -> str:
        return 'einsum("ij,j->i", A, x) multiplies a matrix with a vector'

    def related(self) -> Sequence[Label]:
        return self.places


@dataclass(frozen=True, eq=False, repr=False)
class NotASize(Diagnostic):
    """A size that is negative or zero. Arrays have at least one entry along each dimension."""

    code: ClassVar[str] = "E0410"
    found: str = ""
    places: tuple[Label, ...] = ()

    def message(self) -> str:
        return f"a size cannot be {self.found}"

    def expected(self) -> str:
        return "a size of at least 1"

    def related(self) -> Sequence[Label]:
        return self.places


@dataclass(frozen=True, eq=False, repr=False)
class EmptyRange(Diagnostic):
    """A range that holds no index."""

    code: ClassVar[str] = "E0411"
    found: str = ""

    def message(self) -> str:
        return f"the range {self.found} is empty"

    def expected(self) -> str:
        return "a start below the end: 0..n"

    def hint(self) -> str:
        return "ranges are half-open, as in Python"


@dataclass(frozen=True, eq=False, repr=False)
class TooLarge(Diagnostic):
    """An array, or a range, with more entries than any machine holds."""

    code: ClassVar[str] = "E0412"
    what: str = ""
    count: str = ""
    limit: int = 0

    def message(self) -> str:
        return f"{self.what} has {self.count} entries"

    def expected(self) -> str:
        return f"at most {self.limit:,}"


@dataclass(frozen=True, eq=False, repr=False)
class SizeArithmetic(Diagnostic):
    """The arithmetic of sizes leads out of what a size can be."""

    code: ClassVar[str] = "E0413"
    reason: str = ""

    def message(self) -> str:
        return f"the sizes in this expression lead to {self.reason}"

    def expected(self) -> str:
        return "whole numbers below 4.6e18 and names, with + - * // % and powers of at most 16"


@dataclass(frozen=True, eq=False, repr=False)
class TooFewEntries(Diagnostic):
    """A spread of fewer than two entries, which would be 0 divided by 0."""

    code: ClassVar[str] = "E0414"
    name: str = ""
    count: str = ""
    places: tuple[Label, ...] = ()

    def message(self) -> str:
        return f"`{self.name}` divides by the number of entries less one; here there is {self.count}"

    def expected(self) -> str:
        return "at least 2 entries"

    def related(self) -> Sequence[Label]:
        return self.places


@dataclass(frozen=True, eq=False, repr=False)
class MovingLength(Diagnostic):
    """A slice that has another length at every index of a plate: arrays are rectangular."""

    code: ClassVar[str] = "E0415"
    found: str = ""
    index: str = ""

    def message(self) -> str:
        return f"the length of the slice {self.found} changes with `{self.index}`"

    def expected(self) -> str:
        return f"bounds that move together: x[{self.index}..{self.index}+3]"

    def hint(self) -> str:
        return f"sum over an index with a guard: sum(x[k], over = k in 0..n if k <= {self.index})"
