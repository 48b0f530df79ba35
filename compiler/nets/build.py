"""Constructors as written to constructors as understood: rows of the table with their options."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ebmlang.compiler import ast, typed
from ebmlang.compiler.catalogue.names import RepeatedName, UnknownArgument
from ebmlang.compiler.catalogue.nets import NetMisused, SignatureMisfit, UnknownConstructor
from ebmlang.compiler.catalogue.types import BadOption, WrongArgumentCount
from ebmlang.compiler.diagnostics import did_you_mean, listing
from ebmlang.compiler.nets.constructors import (
    ACTIVATIONS,
    AVERAGE,
    NORMS,
    OPTION_WORDS,
    Constructor,
    Option,
    constructor,
    constructor_names,
)
from ebmlang.compiler.nets.net import Build, Net, OptionValue, Signature
from ebmlang.compiler.nets.passing import named_net
from ebmlang.compiler.scope import Declared, Entry, NetEntry, Scope, declared_at
from ebmlang.compiler.sizes import Size
from ebmlang.compiler.sizing import read_size
from ebmlang.compiler.source import Span
from ebmlang.compiler.types import Shape

if TYPE_CHECKING:
    from ebmlang.compiler.expressions import Expressions


def decay_name(net: str) -> str:
    """The variable that computes the decay of an average."""
    return f"{net}.decay"


def bad_decay(span: Span, shown: str) -> BadOption:
    return BadOption(span, "`decay` of `ema`", f"`{shown}`", "a number from 0 to 1")


@dataclass(frozen=True, slots=True)
class Builder:
    """Reads what stands after `=` of a net in plates of the sizes `at`; `averages` are the nets that are
    averages of others."""

    expressions: Expressions
    scope: Scope
    at: Shape = ()
    averages: frozenset[str] = frozenset()

    @staticmethod
    def is_average(node: ast.Net) -> bool:
        return isinstance(node.init, ast.Call) and node.init.function.text == AVERAGE

    @staticmethod
    def follows_a_part(node: ast.Net) -> bool:
        """Whether it is the average of a net of a part, which is there from the statement of the part on."""
        call = node.init
        first = call.arguments[0].value if isinstance(call, ast.Call) and call.arguments else None
        return Builder.is_average(node) and isinstance(first, ast.Attribute | ast.Index)

    def net(self, node: ast.Net, types: Signature) -> Net | None:
        """The net of a declaration; None after a mistake."""
        name, init = node.name.text, node.init
        if init is None:
            return Net(name, types, "array", None, self.at, "kink", False, node.doc, node.span)
        while isinstance(init, ast.Parenthesised):
            init = init.inner
        if not isinstance(init, ast.Call):
            shown = self.expressions.report.source.extract(init.span)
            self._add(UnknownConstructor(init.span, shown, constructor_names(), False))
            return None
        if init.function.text == AVERAGE:
            return self._average(node, types, init)
        row = constructor(init.function.text)
        if row is None:
            known = constructor_names()
            self._add(UnknownConstructor(init.function.span, init.function.text, known))
            return None
        build = self._build(row, init)
        if build is None or not self._fits(row, types, build, init.span):
            return None
        return Net(
            name, types, row.form(types), build, self.at, row.grade(build), row.affine, node.doc, node.span
        )

    def _add(self, found: object) -> None:
        self.expressions.report.add(found)  # type: ignore[arg-type]

    # --- options ---

    def _build(self, row: Constructor, call: ast.Call) -> Build | None:
        given = self._arguments(call, row.name, tuple(o.name for o in row.options), row.first)
        if given is None:
            return None
        values: list[tuple[str, OptionValue]] = []
        for option in row.options:
            argument = given.get(option.name)
            value = option.default if argument is None else self._value(option, argument, row)
            if argument is None and value is None:
                wanted = f"{OPTION_WORDS[option.kind]} for `{option.name}`"
                example = row.example.split(" = ", 1)[1]
                self._add(WrongArgumentCount(call.span, row.name, len(call.arguments), wanted, example))
            if value is None:
                return None
            values.append((option.name, value))
        return Build(row.name, tuple(values))

    def _arguments(
        self, call: ast.Call, name: str, known: tuple[str, ...], first: str
    ) -> dict[str, ast.Argument] | None:
        """The arguments by name; `first` is what stands without one."""
        given: dict[str, ast.Argument] = {}
        for number, argument in enumerate(call.arguments):
            if argument.name is None and (number or not first):
                wanted = f"1 argument without a name, `{first}`" if first else "no argument without a name"
                self._add(WrongArgumentCount(argument.span, name, number + 1, wanted))
                return None
            key = first if argument.name is None else argument.name.text
            if argument.name is not None and key not in known:
                self._add(UnknownArgument(argument.name.span, key, name, known))
                return None
            if key in given:
                self._add(RepeatedName(argument.span, key, f"`{name}`"))
                return None
            given[key] = argument
        return given

    def _value(self, option: Option, argument: ast.Argument, row: Constructor) -> OptionValue | None:
        node = argument.value
        if isinstance(node, ast.Expr):
            match option.kind, node:
                case "size", _:
                    return self._size(node, option)
                case "sizes", ast.ListExpr(items=items) if items:
                    found = [self._size(item, option) for item in items]
                    return None if None in found else tuple(s for s in found if s is not None)
                case "flag", ast.Name(text="true" | "false" as text):
                    return text == "true"
                case "rate", ast.Number(text=text) if 0 <= float(text) < 1:
                    return float(text)
                case "activation", ast.Name(text=text) if text in (a.name for a in ACTIVATIONS):
                    return text
                case "norm", ast.Name(text=text) if text in NORMS:
                    return text
        self._wrong(option, node.span, row)
        return None

    def _wrong(self, option: Option, span: Span, row: Constructor) -> None:
        shown = self.expressions.report.source.extract(span)
        wanted = OPTION_WORDS[option.kind]
        known: tuple[str, ...] = ()
        if option.kind == "activation":
            known = tuple(a.name for a in ACTIVATIONS)
            wanted = listing(known)
        hint = did_you_mean(shown, known)
        self._add(BadOption(span, f"`{option.name}` of `{row.name}`", f"`{shown}`", wanted, hint))

    def _size(self, node: ast.Expr, option: Option) -> Size | None:
        size = read_size(node, self.scope, self.expressions.report)
        least = 0 if option.name == "padding" else 1
        if size is None:
            return None
        if size.known_positive(least, self.expressions.prover.floors) is False:
            shown = self.expressions.report.source.extract(node.span)
            self._add(BadOption(node.span, option.name, f"`{shown}`", f"at least {least}"))
            return None
        if size.known_positive(least, self.expressions.prover.floors) is None:
            reason = f"`{option.name}` of a net has to be at least {least}"
            self.expressions.requirements.append(typed.Requirement(size - least, reason, node.span))
        return size

    # --- types ---

    def _fits(self, row: Constructor, types: Signature, build: Build, span: Span) -> bool:
        fit = row.fit(types, build)
        if fit.wanted:
            self._add(SignatureMisfit(span, row.name, str(types), fit.wanted, fit.advice))
            return False
        for made, declared in fit.equal:
            reason = f"`{row.name}` makes the size {made}, and {declared} is declared"
            for difference in (made - declared, declared - made):
                self.expressions.requirements.append(typed.Requirement(difference, reason, span))
        return True

    # --- moving averages ---

    def _average(self, node: ast.Net, types: Signature, call: ast.Call) -> Net | None:
        """`ema(enc, decay = 0.99)`: the average of the parameters of another net."""
        report = self.expressions.report
        values = [a for a in call.arguments if a.name is None]
        named = {a.name.text: a for a in call.arguments if a.name is not None}
        for key, argument in named.items():
            if key != "decay":
                assert argument.name is not None
                report.add(UnknownArgument(argument.name.span, key, AVERAGE, ("decay",)))
                return None
        decay = named.get("decay") or (values[1] if len(values) == 2 else None)
        if len(values) + len(named) != 2 or decay is None or len(call.arguments) != 2:
            wanted = "a net and its decay"
            example = "ema(enc, decay = 0.99)"
            report.add(WrongArgumentCount(call.span, AVERAGE, len(call.arguments), wanted, example))
            return None
        source = self._source(node, types, values[0])
        rate = self._rate(decay, node.name.text)
        if source is None or rate is None:
            return None
        return Net(
            node.name.text, types, source.form, None, source.at, source.grade, source.affine, node.doc,
            node.span, source.name, rate,
        )  # fmt: skip

    def _rate(self, decay: ast.Argument, name: str) -> float | str | None:
        """A number, or the name of what computes it: it may read schedules, which are checked later."""
        rate = decay.value
        entry = self.scope.find(rate.text) if isinstance(rate, ast.Name) else None
        if isinstance(rate, ast.Name) and isinstance(entry, Declared) and entry.role == "observed":
            return rate.text  # a schedule: nothing else of that role is allowed
        if isinstance(rate, ast.Expr) and not isinstance(rate, ast.Number):
            return decay_name(name)
        if isinstance(rate, ast.Number) and 0 <= float(rate.text) <= 1:
            return float(rate.text)
        self._add(bad_decay(rate.span, self.expressions.report.source.extract(rate.span)))
        return None

    def _source(self, node: ast.Net, types: Signature, argument: ast.Argument) -> Net | None:
        """The net that is averaged; None after a mistake."""
        value = argument.value
        entry: Entry | None = None
        if isinstance(value, ast.Name):
            entry = self.scope.find(value.text)
        elif isinstance(value, ast.Attribute | ast.Index):
            entry = named_net(value, self.scope)[0]
        name = node.name.text
        shown = self.expressions.report.source.extract(value.span)
        if not isinstance(entry, NetEntry):
            places = declared_at(entry, f"`{shown}` is declared here")
            self._add(NetMisused(value.span, name, shown, "the name of a net", places, averaged=True))
            return None
        places = declared_at(entry, f"`{shown}` is declared here")
        if shown in self.averages or (entry.net is not None and entry.net.source):
            advice = "average the net that has parameters of its own"
            wanted = "a net that is no average itself"
            self._add(NetMisused(value.span, name, shown, wanted, places, advice, True))
            return None
        if entry.net is None:
            return None  # refused where it is declared
        if entry.net.signature != types or entry.net.at != self.at:
            wanted = f"a net of the type {types}" + (" in the same plates" if self.at or entry.net.at else "")
            self._add(NetMisused(value.span, name, shown, wanted, places, averaged=True))
            return None
        return entry.net
