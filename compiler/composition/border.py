"""What crosses the border of a part: hyperparameters, bound values, and the sizes they settle."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from ebmlang.compiler import ast, notation, typed
from ebmlang.compiler.catalogue.names import RepeatedName
from ebmlang.compiler.catalogue.parts import BindingMisfit, UnknownBinding
from ebmlang.compiler.catalogue.types import BadOption
from ebmlang.compiler.constants import constant_of
from ebmlang.compiler.diagnostics import Label, Report
from ebmlang.compiler.expressions import Expressions
from ebmlang.compiler.nets.calls import NetCalls, net_read
from ebmlang.compiler.nets.net import Net
from ebmlang.compiler.nets.passing import named_net, signature_with
from ebmlang.compiler.scope import Scope, origins
from ebmlang.compiler.sizes import Size
from ebmlang.compiler.sizing import read_size
from ebmlang.compiler.source import Span
from ebmlang.compiler.typed import Expr, Level
from ebmlang.compiler.types import Type, fits

BINDABLE = ("observed", "latent", "param", "random")


@dataclass(slots=True)
class Border:
    """Reads the parentheses and the `with` of one statement against the model that it names.

    After `read`, `sizes` has the integer hyperparameters that are settled, `values` the other
    hyperparameters and the variables that got a value, each of its declared type; `nets` are the nets
    bound to those of the part, `indices` which one of the nets of a plate each is. `lost` is true after
    a mistake in what is bound, wherever that was reported.
    """

    expressions: Expressions
    scope: Scope
    model: typed.Model
    span: Span
    sizes: dict[str, Size] = field(default_factory=dict)
    settled: dict[str, Label] = field(default_factory=dict)
    values: dict[str, Expr] = field(default_factory=dict)
    bound: dict[str, ast.Binding] = field(default_factory=dict)
    nets: dict[str, Net] = field(default_factory=dict)
    indices: dict[str, tuple[Expr, ...]] = field(default_factory=dict)
    lost: bool = False

    @property
    def report(self) -> Report:
        return self.expressions.report

    def read(self, arguments: tuple[ast.Argument, ...], bindings: tuple[ast.Binding, ...]) -> bool:
        """Whether everything that is bound fits; mistakes are in the report."""
        before = len(self.report.errors)
        for argument in arguments:
            self._hyper(argument)
        raw = self._bound(bindings)
        for name, value in raw.items():
            self._settle_names(name, value)
        for name, value in raw.items():
            self._settle_linear(name, value)
        self._bounds_of_sizes()
        if self.lost or len(self.report.errors) > before:
            return False
        for name, value in raw.items():
            self._fit(name, value)
        return len(self.report.errors) == before

    def type(self, type_: Type) -> Type:
        """A type of the part with the sizes that are settled."""
        classes = None if type_.classes is None else type_.classes.substitute(self.sizes)
        shape = tuple(s.substitute(self.sizes) for s in type_.shape)
        return Type(type_.kind, shape, classes, type_.permuted)

    def declared(self, name: str) -> Label:
        """Where the part declares a name."""
        variable = self.model.variable(name) or self.model.net(name)
        span = variable.span if variable is not None else self.model.span
        return Label(span, f"`{name}` is declared here, in `{self.model.name}`", self.model.source)

    # --- hyperparameters ---

    def _hyper(self, argument: ast.Argument) -> None:
        known = tuple(v.name for v in self.model.hypers)
        span = argument.span
        if argument.name is None or not isinstance(argument.value, ast.Expr):
            example = f"{self.model.name}({known[0] if known else 'n'} = ...)"
            shown = f"`{self.report.source.extract(span)}`"
            self.report.add(
                BadOption(span, "a hyperparameter of a part", shown, f"a name and a value: {example}")
            )
            return
        name = argument.name.text
        hyper = self.model.variable(name)
        if hyper is None or hyper.role != "hyper":
            note = f"a variable is bound after `with`: with {name} = ..." if hyper is not None else ""
            self.report.add(
                UnknownBinding(argument.name.span, name, self.model.name, "hyperparameter", known, note)
            )
            return
        if name in self.settled:
            self.report.add(
                RepeatedName(argument.name.span, name, f"the hyperparameters of `{self.model.name}`")
            )
            return
        self.settled[name] = Label(span, f"`{name}` is set here")
        if hyper.type == Type("int"):
            size = read_size(argument.value, self.scope, self.report)
            if size is None:
                self.lost = True
            else:
                self.sizes[name] = size
            return
        value = self.expressions.value(argument.value, self.scope)
        if value.type.kind == "error":
            self.lost = True
            return
        type_ = self.type(hyper.type)
        if value.level is not Level.CONSTANT or value.axes:
            shown = f"`{self.report.source.extract(argument.value.span)}`"
            self.misfit(name, shown, "a value that is known without data", argument.value.span)
        elif not fits(value.type, type_, stretch=type_.kind == "real"):
            self.misfit(name, str(value.type), str(type_), argument.value.span, value)
        elif self._inside(hyper, value, argument.value.span):
            value = self.expressions.as_real(value) if type_.kind == "real" else value
            self.values[name] = self.expressions.filled(value, type_)

    def _inside(self, hyper: typed.Variable, value: Expr, span: Span) -> bool:
        """Whether a number lies in the domain of its hyperparameter; other values pass."""
        number = constant_of(value)
        low, high, wanted = _limits(hyper)
        if number is None or (
            low <= number <= high and not (number == 0 and hyper.domain.name == "positive")
        ):
            return True
        self.misfit(hyper.name, f"{number:g}", wanted, span)
        return False

    def _bounds_of_sizes(self) -> None:
        """Sizes stay in the domains of their hyperparameters."""
        for hyper in self.model.hypers:
            size, place = self.sizes.get(hyper.name), self.settled.get(hyper.name)
            # Sizes without a place here are those of a `part`, and were looked at where it is declared.
            if size is None or place is None or hyper.domain.name == "reals":
                continue
            low, high, wanted = _limits(hyper)
            for room in ([size - math.ceil(low)] if low > -float("inf") else []) + (
                [Size.of(math.floor(high)) - size] if high < float("inf") else []
            ):
                holds = room.known_positive(0, self.expressions.prover.floors)
                if holds is False:
                    self.misfit(hyper.name, str(size), wanted, place.span)
                elif holds is None:
                    reason = f"`{hyper.name}` of `{self.model.name}` has to be {wanted}"
                    self.expressions.requirements.append(typed.Requirement(room, reason, place.span))

    # --- variables ---

    def _bound(self, bindings: tuple[ast.Binding, ...]) -> dict[str, Expr]:
        raw: dict[str, Expr] = {}
        for binding in bindings:
            name = binding.name.text
            variable, net = self.model.variable(name), self.model.net(name)
            if net is None and (variable is None or variable.role not in BINDABLE):
                self._unknown(binding.name, variable)
                continue
            if name in self.bound:
                self.report.add(RepeatedName(binding.name.span, name, "what follows `with`"))
                continue
            if net is not None:
                raw.update(self._net(binding, net))
                continue
            value = self.expressions.value(binding.value, self.scope)
            self.bound[name] = binding
            if value.type.kind == "error":
                self.lost = True
            else:
                raw[name] = value
        return raw

    def _net(self, binding: ast.Binding, net: Net) -> dict[str, Expr]:
        """A net in the place of one of the part's; empty after a mistake."""
        name = binding.name.text
        entry, subscripts = named_net(binding.value, self.scope)
        self.bound[name] = binding
        if entry is None:
            shown = f"`{self.report.source.extract(binding.value.span)}`"
            if isinstance(binding.value, ast.Name) and self.scope.find(binding.value.text) is None:
                shown = f"{shown}, which nothing is called"
            self.misfit(name, shown, f"a net, {net.signature}", binding.value.span)
        if entry is None or entry.net is None:
            self.lost = True
            return {}
        indices = NetCalls(self.expressions, self.scope).chosen(subscripts, entry.net, binding.value.span)
        if indices is None:
            self.lost = True
            return {}
        self.nets[name], self.indices[name] = entry.net, tuple(indices)
        return {name: net_read(entry.net, binding.value.span)}

    def _unknown(self, name: ast.Identifier, found: typed.Variable | None) -> None:
        """A name after `with` that is no variable of the part."""
        model = self.model
        known = tuple(v.name for v in model.variables if v.role in BINDABLE)
        note = f"hyperparameters stand in parentheses: {model.name}({name.text} = ...)" if found else ""
        places = () if found else (Label(model.span, f"`{model.name}` is declared here", model.source),)
        self.report.add(UnknownBinding(name.span, name.text, model.name, "variable", known, note, places))

    def _settle_names(self, name: str, value: Expr) -> None:
        """A dimension that is exactly a hyperparameter takes the size of what is bound."""
        for dim, size in self._dimensions(name, value):
            wanted = dim.name
            if wanted is not None and wanted not in self.sizes:
                self._settle(wanted, size, name)

    def _settle_linear(self, name: str, value: Expr) -> None:
        """A dimension that is linear in one hyperparameter is solved for it."""
        for dim, size in self._dimensions(name, value):
            rest = dim.substitute(self.sizes)
            open_ = [n for n in dim.names() if n not in self.sizes]
            linear = rest.linear_in(open_[0]) if len(open_) == 1 else None
            if linear is None:
                continue
            factor, constant = linear
            solved = (size - constant) // factor
            if solved * factor == size - constant:
                self._settle(open_[0], solved, name)

    def _settle(self, hyper: str, size: Size, by: str) -> None:
        self.sizes[hyper] = size
        span = self.bound[by].value.span
        self.settled[hyper] = Label(span, f"`{hyper}` is {size}, from what is bound to `{by}`")

    def _dimensions(self, name: str, value: Expr) -> list[tuple[Size, Size]]:
        """Each size that the part declares for a variable, with the size of what is bound."""
        net = self.model.net(name)
        if net is not None:
            types = zip(net.signature.types, self.nets[name].signature.types, strict=False)
            return [p for own, other in types for p in zip(own.shape, other.shape, strict=False)]
        variable = self.model.variable(name)
        assert variable is not None
        pairs = []
        if variable.type.classes is not None and value.type.classes is not None:
            pairs.append((variable.type.classes, value.type.classes))
        if variable.type.rank == value.type.rank:
            pairs.extend(zip(variable.type.shape, value.type.shape, strict=True))
        return pairs

    def _fit_net(self, name: str, net: Net, value: Expr) -> None:
        wanted, found = signature_with(net.signature, self._size), self.nets[name].signature
        span, at, chosen = self.bound[name].value.span, self.nets[name].at, len(self.indices[name])
        if wanted != found:
            self.misfit(name, f"a net, {found}", str(wanted), span)
        elif at[chosen:] != net.at:
            self.misfit(name, _nets(at[chosen:]), _nets(net.at), span)
        else:
            self.values[name] = value

    def _size(self, size: Size) -> Size:
        return size.substitute(self.sizes)

    def _fit(self, name: str, value: Expr) -> None:
        net = self.model.net(name)
        if net is not None:
            self._fit_net(name, net, value)
            return
        variable = self.model.variable(name)
        assert variable is not None
        type_ = self.type(variable.type)
        span = self.bound[name].value.span
        if not fits(value.type, type_, stretch=type_.kind == "real"):
            self.misfit(name, str(value.type), str(type_), span, value)
        elif value.level > variable.level:
            wanted = f"one value for all examples ({type_})"
            self.misfit(name, "one value per example", wanted, span, value)
        else:
            value = self.expressions.as_real(value) if type_.kind == "real" else value
            self.values[name] = self.expressions.filled(value, type_)

    def misfit(
        self, name: str, found: str, wanted: str, span: Span, value: Expr | None = None, advice: str = ""
    ) -> None:
        """Point at both sides: what is bound, and the declaration with the places that settled its sizes."""
        variable = self.model.variable(name)
        sizes = set() if variable is None else {n for s in variable.type.shape for n in s.names()}
        places = [self.declared(name)]
        places += [label for hyper, label in self.settled.items() if hyper in sizes and label.span != span]
        if value is not None:
            places += origins(self.scope, value)
        self.report.add(BindingMisfit(span, name, found, wanted, advice, tuple(places[:4])))


def _nets(at: tuple[Size, ...]) -> str:
    return f"one net for each of {', '.join(map(str, at))}" if at else "one net"


def _limits(hyper: typed.Variable) -> tuple[float, float, str]:
    """The bounds of a hyperparameter's domain where they are numbers, and the domain in words."""
    infinite = float("inf")
    match hyper.domain.name:
        case "positive":
            return (1.0 if hyper.type.kind == "int" else 0.0), infinite, "a positive value"
        case "nonnegative":
            return 0.0, infinite, "a nonnegative value"
        case "interval":
            low, high = (constant_of(a) for a in hyper.domain.arguments)
            shown = ", ".join(notation.text(a) for a in hyper.domain.arguments)
            return (
                -infinite if low is None else float(low),
                infinite if high is None else float(high),
                f"a value in [{shown}]",
            )
    return -infinite, infinite, "any value"
