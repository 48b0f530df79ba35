"""Mistakes in nets: E07xx."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from ebmlang.compiler.diagnostics import Diagnostic, Label, did_you_mean, listing


@dataclass(frozen=True, eq=False, repr=False)
class NoConstructor(Diagnostic):
    """A net needs a constructor, unless it is `extern`.

    `net f : real[n] -> real[d] = mlp([64])` makes the net; `extern net f : real[n] -> real[d]` takes it from
    Python, by `load(..., nets={"f": module})` or `--bind f=package.module:make`.
    """

    code: ClassVar[str] = "E0701"
    name: str = ""

    def message(self) -> str:
        return f"the net `{self.name}` has no constructor"

    def expected(self) -> str:
        return "= mlp([64]), or another constructor"

    def hint(self) -> str:
        return f"a net from Python is declared: extern net {self.name} : ..."


@dataclass(frozen=True, eq=False, repr=False)
class ExternConstructor(Diagnostic):
    """An `extern` net comes from Python, and has no constructor in the file."""

    code: ClassVar[str] = "E0702"
    name: str = ""

    def message(self) -> str:
        return f"the net `{self.name}` is extern, and has a constructor"

    def hint(self) -> str:
        return "leave out `extern`, or the constructor"


@dataclass(frozen=True, eq=False, repr=False)
class UnknownConstructor(Diagnostic):
    """What stands after `=` of a net is no constructor."""

    code: ClassVar[str] = "E0703"
    found: str = ""
    known: tuple[str, ...] = ()
    called: bool = True

    def message(self) -> str:
        return f"there is no constructor `{self.found}`" if self.called else f"`{self.found}` makes no net"

    def expected(self) -> str:
        return listing(self.known)

    def hint(self) -> str:
        if not self.called and self.found in self.known:
            return f"call it: {self.found}(...)"
        return did_you_mean(self.found, self.known) or "a net of your own is `extern`, and comes from Python"


@dataclass(frozen=True, eq=False, repr=False)
class SignatureMisfit(Diagnostic):
    """The declared types of a net are none that its constructor can make."""

    code: ClassVar[str] = "E0704"
    constructor: str = ""
    signature: str = ""
    wanted: str = ""
    advice: str = ""

    def message(self) -> str:
        return f"`{self.constructor}` makes no net of the type {self.signature}"

    def expected(self) -> str:
        return self.wanted

    def hint(self) -> str:
        return self.advice


@dataclass(frozen=True, eq=False, repr=False)
class NetArgument(Diagnostic):
    """A net is called with a value of another type than its declaration says."""

    code: ClassVar[str] = "E0705"
    name: str = ""
    number: int = 0
    count: int = 1
    found: str = ""
    declared: str = ""
    places: tuple[Label, ...] = ()
    advice: str = ""

    def message(self) -> str:
        which = "the argument" if self.count == 1 else f"argument {self.number}"
        return f"{which} of the net `{self.name}` is {self.found}, not {self.declared}"

    def label(self) -> str:
        return self.found

    def expected(self) -> str:
        return self.declared

    def hint(self) -> str:
        return self.advice

    def related(self) -> Sequence[Label]:
        return self.places


@dataclass(frozen=True, eq=False, repr=False)
class SeveralResults(Diagnostic):
    """A net with several results is taken apart: `let (mu, s) = enc(x)`."""

    code: ClassVar[str] = "E0706"
    name: str = ""
    found: int = 0
    results: int = 0
    places: tuple[Label, ...] = ()

    def message(self) -> str:
        if not self.results:
            return "a `let` of several names takes the results of a net"
        many = f"{self.results} result{'s' * (self.results != 1)}"
        if not self.found:
            return f"the net `{self.name}` has {many}, and stands where one value does"
        return f"the net `{self.name}` has {many}, for {self.found} names"

    def hint(self) -> str:
        if self.results == 1:
            return f"one name takes one result: let h = {self.name}(...)"
        names = ", ".join("abcdefgh"[: self.results or 2])
        return f"let ({names}) = {self.name or 'f'}(...)"

    def related(self) -> Sequence[Label]:
        return self.places


@dataclass(frozen=True, eq=False, repr=False)
class NetMisused(Diagnostic):
    """A net takes the place of another one, or of its own average, only where the types agree."""

    code: ClassVar[str] = "E0707"
    name: str = ""
    found: str = ""
    wanted: str = ""
    places: tuple[Label, ...] = ()
    advice: str = ""
    averaged: bool = False

    def message(self) -> str:
        if self.averaged:
            return f"the net `{self.name}` cannot be the average of `{self.found}`"
        return f"`{self.found}` cannot take the place of the net `{self.name}`"

    def expected(self) -> str:
        return self.wanted

    def hint(self) -> str:
        return self.advice

    def related(self) -> Sequence[Label]:
        return self.places
