"""A named loss as the objective that it stands for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from ebmlang.compiler import ast, typed
from ebmlang.compiler.catalogue.names import RepeatedName, UnknownArgument
from ebmlang.compiler.catalogue.training import LossMisfit
from ebmlang.compiler.catalogue.types import BadOption
from ebmlang.compiler.declarations import Declarations
from ebmlang.compiler.diagnostics import Label, Report, listing
from ebmlang.compiler.losses.table import WRITTEN
from ebmlang.compiler.losses.words import MOST_COPIES, LossRow, Words
from ebmlang.compiler.losses.writing import Writing
from ebmlang.compiler.naming import read_options, read_sampler
from ebmlang.compiler.samplers import Takes, find_sampler
from ebmlang.compiler.scope import Declared, Scope
from ebmlang.compiler.sizes import Size
from ebmlang.compiler.source import Span
from ebmlang.compiler.typed import Expr, NamedLoss, Negatives
from ebmlang.compiler.types import Type

_USUAL: dict[Takes, str] = {"real": "langevin(steps = 20)", "countable": "gibbs(steps = 1)"}
"""How negatives of real variables and of countable ones are drawn where somebody has to be told."""


@dataclass(slots=True)
class Expansion:
    """Writes one loss of a `train` line. Mistakes go to the report."""

    declarations: Declarations
    row: LossRow
    label: str | None
    span: Span

    @property
    def report(self) -> Report:
        return self.declarations.report

    @property
    def scope(self) -> Scope:
        return self.declarations.scope

    @property
    def writing(self) -> Writing:
        return Writing(self.declarations, self.span)

    def objective(self, arguments: tuple[ast.Argument, ...]) -> tuple[NamedLoss, Expr | None] | None:
        """The loss and its checked value, None where it draws from the model; declares what it draws. None
        after a mistake."""
        variable = self._variable(arguments)
        options = self._options(arguments[1:])
        if variable is None or options is None or not self._complete(variable, options):
            return None
        words = self._words(*variable, options)
        if self.row.sampled:
            negatives = self._negatives(arguments, words)
            found = NamedLoss(self.row.name, words.variable, self.row.written(words), (), negatives)
            return None if negatives is None else (found, None)
        draws = {purpose: self.writing.free(f"{self._stem}_{purpose}") for purpose in self.row.draws(words)}
        words = replace(words, draws=draws)
        text = self.row.written(words)
        declared = {draws[purpose]: rest for purpose, rest in self.row.draws(words).items()}
        value = self.writing.value(text, declared, costs=False)
        if value is None:
            return None
        there = self.row.compared(words) if self.row.compared is not None else ""
        texts = ("total", there) if there else ()
        energies = tuple(self.writing.value(one, {}, costs=False) for one in texts)
        compared = tuple(one for one in energies if one is not None)
        return NamedLoss(self.row.name, variable[0], text, tuple(draws.values()), compared=compared), value

    def _words(self, name: str, type_: Type, options: dict[str, str]) -> Words:
        shape = tuple(str(size) for size in type_.shape)
        classes = "" if type_.classes is None else str(type_.classes)
        named = {option: self.scope.find(value) for option, value in options.items()}
        types = {o: e.type for o, e in named.items() if isinstance(e, Declared)}
        shapes = {option: tuple(str(size) for size in found.shape) for option, found in types.items()}
        indices = tuple(self.writing.free(f"i{k}") for k in range(len(shape) + 1))
        return Words(name, type_.kind, shape, classes, options, shapes, {}, indices)

    def _complete(self, variable: tuple[str, Type], options: dict[str, str]) -> bool:
        """Whether the line says what it has to."""
        name, type_ = variable
        missing = [o for o in self.row.asked(type_.kind, type_.rank) if not options[o]]
        for option in missing:
            because = f"for `{name}`, which is {type_}, it needs `{option}`"
            drawn = _copies_of(type_) if option in self.row.copies else type_
            advice = f"by {self.row.name}({name}, {option} = u), with a declared random u : {drawn}"
            if self.row.sampled:
                some = _USUAL["real" if type_.kind == "real" else "countable"]
                advice = f"by {self.row.name}({name}, {option} = {some})"
            self.report.add(LossMisfit(self.span, self.row.name, because, advice))
        return not missing and all(
            self._several(name, type_, options[o]) for o in self.row.copies if options[o]
        )

    def _several(self, name: str, type_: Type, noise: str) -> bool:
        """Whether a random variable holds several values of the variable that is shaped."""
        entry = self.scope.find(noise)
        assert isinstance(entry, Declared)
        if entry.type.kind == "error":
            return False
        if entry.type.rank == type_.rank + 1 and entry.type.shape[1:] == type_.shape:
            return True
        because = f"it averages over draws of `{name}`, one after the other, and `{noise}` is {entry.type}"
        places = (Label(entry.span, f"`{noise}` is declared here"),)
        self.report.add(
            LossMisfit(
                self.span, self.row.name, because, f"random {noise} : {_copies_of(type_)} ~ ...", places
            )
        )
        return False

    def _negatives(self, arguments: tuple[ast.Argument, ...], words: Words) -> Negatives | None:
        """How the model draws the values that are pushed up; None after a mistake."""
        named = {a.name.text: a.value for a in arguments if a.name is not None}
        node, before = named["sampler"], len(self.report.errors)
        assert isinstance(node, ast.Expr)
        options = node.arguments if isinstance(node, ast.Call) else ()
        steps = [a for a in options if a.name is not None and a.name.text == "steps"]
        if isinstance(node, ast.Call):
            node = replace(node, arguments=tuple(a for a in options if a not in steps))
        method = read_sampler(node, node.span, self.report)
        count = read_options("the sampler", (("steps", "whole"),), tuple(steps), self.report)
        refresh = words.options["refresh"]
        if not _is_share(refresh):
            span = named["refresh"].span
            self.report.add(BadOption(span, "refresh", f"`{refresh}`", "a number from 0 to 1"))
        if method is None or len(self.report.errors) > before:
            return None
        row = find_sampler(method.name)
        assert row is not None
        wanted: Takes = "real" if words.kind == "real" else "countable"
        if wanted not in row.takes or not row.chain:
            because = f"{method.name} moves no chain of {words.kind} variables"
            self.report.add(LossMisfit(node.span, self.row.name, because, f"sampler = {_USUAL[wanted]}"))
            return None
        steps_taken = int(dict(count).get("steps", 1))
        return Negatives(method, steps_taken, words.options["persistent"] == "true", float(refresh))

    @property
    def _stem(self) -> str:
        return f"{self.label}_{self.row.name}" if self.label else self.row.name

    # --- arguments ---

    def _variable(self, arguments: tuple[ast.Argument, ...]) -> tuple[str, Type] | None:
        """The variable whose energy is shaped, and its type."""
        first = arguments[0] if arguments else None
        node = first.value if first is not None and first.name is None else None
        entry = self.scope.find(node.text) if isinstance(node, ast.Name) else None
        if not isinstance(node, ast.Name) or not isinstance(entry, Declared) or entry.role == "hyper":
            span = self.span if first is None else first.span
            found = "nothing" if first is None else f"`{self.report.source.extract(first.span)}`"
            self._misfit(span, f"it shapes the energy of a variable, and {found} stands there")
            return None
        if entry.type.kind == "error":
            return None
        declared = next((v for v in self.declarations.variables if v.name == node.text), None)
        for because in _misfits(self.row, node.text, entry, declared):
            places = (Label(entry.span, f"`{node.text}` is declared here"),)
            self._misfit(node.span, because, places)
            return None
        return node.text, entry.type

    def _misfit(self, span: Span, because: str, places: tuple[Label, ...] = ()) -> None:
        self.report.add(LossMisfit(span, self.row.name, because, self._advice(), places))

    def _advice(self) -> str:
        """A variable that the loss fits, or a loss that fits a variable."""
        data = [v for v in self.declarations.variables if v.role == "observed"]
        for row in (self.row, *WRITTEN):
            for variable in data:
                entry = self.scope.find(variable.name)
                if isinstance(entry, Declared) and not any(_misfits(row, variable.name, entry, variable)):
                    if row.sampled:
                        continue
                    asked = "".join(f", {o} = u" for o in row.asked(entry.type.kind, entry.type.rank))
                    return f"by {row.name}({variable.name}{asked})"
        return "write the loss out: train ... of EXPR"

    def _is_random(self, node: ast.Expr) -> bool:
        entry = self.scope.find(node.text) if isinstance(node, ast.Name) else None
        return isinstance(entry, Declared) and entry.role == "random"

    def _options(self, arguments: tuple[ast.Argument, ...]) -> dict[str, str] | None:
        known, fine = dict(self.row.options), True
        found: dict[str, str] = {}
        for argument in arguments:
            shown = self.report.source.extract(argument.value.span)
            if argument.name is None or argument.name.text not in known:
                name = shown if argument.name is None else argument.name.text
                advice = f"name it: {next(iter(known))} = {shown}" if argument.name is None and known else ""
                self.report.add(UnknownArgument(argument.span, name, self.row.name, tuple(known), advice))
                fine = False
            elif argument.name.text in found:
                self.report.add(RepeatedName(argument.span, argument.name.text, f"`{self.row.name}`"))
                fine = False
            elif not isinstance(argument.value, ast.Expr):
                self.report.add(BadOption(argument.span, argument.name.text, f"`{shown}`", "a value"))
                fine = False
            elif wanted := self._wanted(argument.name.text, argument.value, shown):
                self.report.add(BadOption(argument.value.span, argument.name.text, f"`{shown}`", wanted))
                fine = False
            else:
                plain = isinstance(argument.value, ast.Number | ast.Name)
                found[argument.name.text] = shown if plain else f"({shown})"
        return {**known, **found} if fine else None

    def _wanted(self, option: str, value: ast.Expr, shown: str) -> str:
        """What an option should be instead; empty where it fits."""
        choices = dict(self.row.choices)
        if option in self.row.random and not self._is_random(value):
            return "the name of a random variable"
        if option in self.row.counts and not _is_count(shown):
            return f"a whole number from 1 to {MOST_COPIES}"
        if option in self.row.scales and _number(shown) is not None and not (_number(shown) or 0) > 0:
            return "a positive number"
        if shown not in choices.get(option, (shown,)):
            return listing(choices[option], "or")
        return ""


def _copies_of(type_: Type) -> Type:
    """The type of several values, one after the other, in a message."""
    return type_.with_shape((Size.of(1000), *type_.shape))


def _is_count(text: str) -> bool:
    return text.isdecimal() and 1 <= int(text) <= MOST_COPIES


def _misfits(row: LossRow, name: str, entry: Declared, variable: typed.Variable | None) -> Iterator[str]:
    """Why a loss is not defined for a variable, in words."""
    if entry.role != "observed":
        yield f"it shapes the energy of data, and `{name}` is {entry.role}"
    if entry.level is not typed.Level.EXAMPLE:
        yield f"`{name}` has one value for all examples"
    if entry.type.kind not in row.kinds:
        yield f"`{name}` is {entry.type}, and it is defined for {' or '.join(row.kinds)} variables"
    if entry.type.rank > row.rank:
        yield f"`{name}` has {entry.type.rank} dimensions, and it takes up to {row.rank}"
    real = entry.type.kind == "real"
    if variable is not None and real and not row.bordered and variable.domain.name != "reals":
        yield f"`{name}` is in {variable.domain.name}, and the formula holds without a border"


def _is_share(text: str) -> bool:
    number = _number(text)
    return number is not None and 0 <= number <= 1


def _number(text: str) -> float | None:
    """None for what is no plain number."""
    try:
        return float(text)
    except ValueError:
        return None
