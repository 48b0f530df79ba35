"""Mistakes with imports and parts: E06xx."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import ClassVar

from ebmlang.compiler.diagnostics import Diagnostic, Label, did_you_mean, listing

_CLOSE = 0.75
"""How alike a name and one of the library are for it to be meant: the library has many names."""


@dataclass(frozen=True, eq=False, repr=False)
class UnknownModel(Diagnostic):
    """`use` or `solve` names a model that this file neither holds nor imports.

    Models of the same file are named as they are; those of another file are imported first.
    """

    code: ClassVar[str] = "E0601"
    name: str = ""
    known: tuple[str, ...] = ()
    library: tuple[str, ...] = ()

    def message(self) -> str:
        return f"there is no model `{self.name}`"

    def expected(self) -> str:
        return listing(f"`{n}`" for n in self.known) if self.known else "a model of this file or an import"

    def hint(self) -> str:
        found = self.name.rpartition(".")[2]
        if found in self.library:
            return f"import std.{found}"
        near = did_you_mean(self.name, self.known)
        if near or not self.library:
            return near
        close = get_close_matches(found, self.library, n=1, cutoff=_CLOSE)
        return f"import std.{close[0]}, and use it by that name" if close else ""


@dataclass(frozen=True, eq=False, repr=False)
class ImportFailed(Diagnostic):
    """An imported file that cannot be used: it is not there, cannot be read, or holds mistakes.

    `import std.spread` names a file of the standard library, `import "parts/block.ebm" as block` one
    beside the importing file.
    """

    code: ClassVar[str] = "E0602"
    name: str = ""
    why: str = ""
    advice: str = ""

    def message(self) -> str:
        return f"`{self.name}` cannot be imported: {self.why}"

    def hint(self) -> str:
        return self.advice


@dataclass(frozen=True, eq=False, repr=False)
class Circular(Diagnostic):
    """Files that import each other in a circle, or a model that is a part of itself."""

    code: ClassVar[str] = "E0603"
    what: str = ""
    chain: tuple[str, ...] = ()

    def message(self) -> str:
        return f"`{self.chain[0]}` {self.what} itself: {' -> '.join(self.chain)}"

    def hint(self) -> str:
        if len(self.chain) == 2:
            return "name another one"
        return "move what both need into a model of its own"


@dataclass(frozen=True, eq=False, repr=False)
class BindingMisfit(Diagnostic):
    """A value bound to a part does not fit what the part declares.

    Sizes of a part are solved from what is bound to it and from the hyperparameters in parentheses; all of
    them have to agree.
    """

    code: ClassVar[str] = "E0604"
    name: str = ""
    found: str = ""
    wanted: str = ""
    advice: str = ""
    places: tuple[Label, ...] = ()

    def message(self) -> str:
        return f"`{self.name}` takes {self.wanted}, and this is {self.found}"

    def label(self) -> str:
        return self.found

    def expected(self) -> str:
        return self.wanted

    def hint(self) -> str:
        return self.advice

    def related(self) -> Sequence[Label]:
        return self.places


@dataclass(frozen=True, eq=False, repr=False)
class BindingMissing(Diagnostic):
    """An observed variable of a part has neither a value nor a default."""

    code: ClassVar[str] = "E0605"
    name: str = ""
    model: str = ""
    type: str = ""
    places: tuple[Label, ...] = ()

    def message(self) -> str:
        return f"`{self.model}` observes `{self.name}`, and nothing is bound to it"

    def hint(self) -> str:
        return f"bind it: with {self.name} = ... ({self.type})"

    def related(self) -> Sequence[Label]:
        return self.places


@dataclass(frozen=True, eq=False, repr=False)
class UnknownBinding(Diagnostic):
    """A name that is bound or set, and that the part does not declare.

    `with` binds variables of the part, the parentheses set its hyperparameters.
    """

    code: ClassVar[str] = "E0606"
    name: str = ""
    model: str = ""
    what: str = ""
    known: tuple[str, ...] = ()
    note: str = ""
    places: tuple[Label, ...] = ()

    def message(self) -> str:
        return f"`{self.model}` has no {self.what} `{self.name}`"

    def expected(self) -> str:
        return listing(f"`{n}`" for n in self.known) if self.known else f"it has no {self.what}"

    def hint(self) -> str:
        return self.note or did_you_mean(self.name, self.known)

    def related(self) -> Sequence[Label]:
        return self.places


@dataclass(frozen=True, eq=False, repr=False)
class UnknownMember(Diagnostic):
    """`part.name` where the part has nothing of that name."""

    code: ClassVar[str] = "E0607"
    part: str = ""
    name: str = ""
    known: tuple[str, ...] = ()
    places: tuple[Label, ...] = ()

    def message(self) -> str:
        return f"the part `{self.part}` has no `{self.name}`"

    def expected(self) -> str:
        return listing(f"`{self.part}.{n}`" for n in self.known[:8])

    def hint(self) -> str:
        if not self.known:
            return "what is in a part is known below the line that places it"
        return did_you_mean(self.name, self.known)

    def related(self) -> Sequence[Label]:
        return self.places


@dataclass(frozen=True, eq=False, repr=False)
class TooManyParts(Diagnostic):
    """Parts inside parts, deeper or larger than any real model."""

    code: ClassVar[str] = "E0608"
    found: str = ""
    limit: str = ""

    def message(self) -> str:
        return f"the parts are {self.found}: the limit is {self.limit}"

    def hint(self) -> str:
        return "a plate repeats a part without copying it: for l in 0..L { use ... }"


@dataclass(frozen=True, eq=False, repr=False)
class PartMisplaced(Diagnostic):
    """A part where it cannot stand, for instance one with unknowns of its own over the rows of a list."""

    code: ClassVar[str] = "E0609"
    what: str = ""
    advice: str = ""
    places: tuple[Label, ...] = ()

    def message(self) -> str:
        return self.what

    def hint(self) -> str:
        return self.advice

    def related(self) -> Sequence[Label]:
        return self.places
