"""Hyperparameters and variables: types, domains, defaults, starts and distributions."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from ebmlang.compiler import ast, notation, typed
from ebmlang.compiler.binders import Binders, declare
from ebmlang.compiler.builtins import BUILTINS
from ebmlang.compiler.catalogue.later import NotBuilt
from ebmlang.compiler.catalogue.model import MissingStart, WrongModifier
from ebmlang.compiler.catalogue.names import UnknownDomain, UsedBeforeDefinition
from ebmlang.compiler.catalogue.types import DeclaredOtherwise, HyperKind, IntegerVariable, WrongArgumentCount
from ebmlang.compiler.catalogue.values import (
    DependsOnExample,
    DomainMisfit,
    EmptyInterval,
    LateDefault,
    OutsideDomain,
)
from ebmlang.compiler.constants import constant_of
from ebmlang.compiler.diagnostics import Label, Report
from ebmlang.compiler.domains import (
    DOMAINS,
    PERMUTATION,
    REALS,
    UNSPELLED,
    Domain,
    DomainRule,
    find_domain,
)
from ebmlang.compiler.expressions import Expressions
from ebmlang.compiler.scope import Bound, Declared, NetEntry, Scope, SizeEntry, broken, declared_at, origins
from ebmlang.compiler.sizes import Size
from ebmlang.compiler.sizing import read_size, read_type
from ebmlang.compiler.source import Span
from ebmlang.compiler.typed import Expr, Level
from ebmlang.compiler.types import ERROR, INT, Type, fits, stretched

UNKNOWN_ROLES = ("latent", "param")


@dataclass(slots=True)
class Declarations:
    """Checks declarations of one model, in the order of the text."""

    expressions: Expressions
    scope: Scope
    variables: list[typed.Variable] = field(default_factory=list)

    @property
    def report(self) -> Report:
        return self.expressions.report

    # --- hyperparameters ---

    def declare_hypers(self, hypers: tuple[ast.Hyper, ...]) -> None:
        """Names and types of all hyperparameters; integers first, so that types may use them."""
        whole = [h for h in hypers if h.type.name.text == "int" and not h.type.dims]
        for hyper in whole:
            entry = SizeEntry(Size.of(hyper.name.text), hyper.name.span)
            self._declare_hyper(hyper.name, entry)
        for hyper in hypers:
            if hyper in whole:
                continue
            type_ = read_type(hyper.type, self.scope, self.report)
            if type_.kind == "class":
                self.report.add(HyperKind(hyper.type.span, str(type_)))
                type_ = ERROR
            self._at_least_one(type_, hyper.name.text, hyper.type.span)
            self._declare_hyper(hyper.name, self._entry(type_, Level.CONSTANT, "hyper", -1, hyper.name.span))

    def _at_least_one(self, type_: Type, name: str, span: Span) -> None:
        """Dimensions that are expressions have to come out positive."""
        sizes = type_.shape if type_.classes is None else (type_.classes, *type_.shape)
        for size in sizes:
            if size.name is None and self.expressions.prover.room(size - 1, size).holds is None:
                reason = f"the size {size} of `{name}` has to be at least 1"
                self.expressions.requirements.append(typed.Requirement(size - 1, reason, span))

    def _declare_hyper(self, name: ast.Identifier, entry: SizeEntry | Declared | Bound) -> None:
        if declare(name, entry, self.scope, self.report):
            self.expressions.functions.scope.entries[name.text] = entry

    def _entry(
        self, type_: Type, level: Level, role: typed.Role, position: int, span: Span
    ) -> Declared | Bound:
        """What a declared name stands for; of a broken type, something that stays quiet."""
        if type_ == ERROR:
            return broken(span)
        return Declared(type_, level, role, position, span)

    def hypers(self, hypers: tuple[ast.Hyper, ...]) -> None:
        """Domains and defaults; a default reads numbers and earlier hyperparameters."""
        for position, hyper in enumerate(hypers):
            entry = self.scope.find(hyper.name.text)
            if entry is None or entry.span != hyper.name.span:
                continue
            if isinstance(entry, SizeEntry):
                type_ = Type("int")
            elif isinstance(entry, Declared):
                type_ = entry.type
            else:
                continue
            later = frozenset(h.name.text for h in hypers[position:])
            domain = self.domain(hyper.domain, type_, hyper.name.text, Level.CONSTANT)
            init = self._hyper_default(hyper, type_, later)
            self._inside(hyper.default, init, domain, hyper.name.text)
            self.variables.append(
                typed.Variable(
                    hyper.name.text, "hyper", type_, domain, Level.CONSTANT, False, init, "", hyper.span
                )
            )

    def _hyper_default(self, hyper: ast.Hyper, type_: Type, later: frozenset[str]) -> Expr | None:
        value = self.initial(hyper.default, type_, hyper.name.text, draws=False)
        if value is None or hyper.default is None:
            return None
        known = self._constant(value, hyper.name.text, hyper.default.span, later, "default")
        return value if known else None

    def _constant(self, value: Expr, name: str, span: Span, later: frozenset[str], what: str) -> bool:
        """Whether a value is known before data, from numbers and earlier hyperparameters."""
        for other in sorted(self.expressions.lets.sources_of(value) | _sizes_in(value)):
            entry = self.scope.find(other)
            if other in later:
                places = declared_at(entry, f"`{other}` is declared here")
                self.report.add(UsedBeforeDefinition(span, other, places, name))
                return False
            if isinstance(entry, Declared) and entry.role != "hyper":
                places = declared_at(entry, f"`{other}` is declared {entry.role}")
                self.report.add(LateDefault(span, name, other, places, what))
                return False
            if isinstance(entry, NetEntry):
                places = declared_at(entry, f"`{other}` is a net")
                self.report.add(LateDefault(span, name, other, places, what))
                return False
        return True

    # --- variables ---

    def declare_variable(self, node: ast.Variable, position: int) -> None:
        type_ = self._variable_type(node)
        shared = node.shared or node.per == "batch" or node.role == "param"
        level = Level.SHARED if shared else Level.EXAMPLE
        self._at_least_one(type_, node.name.text, node.type.span)
        declare(
            node.name, self._entry(type_, level, node.role, position, node.name.span), self.scope, self.report
        )

    def _variable_type(self, node: ast.Variable) -> Type:
        type_ = read_type(node.type, self.scope, self.report)
        if type_.kind == "int":
            self.report.add(IntegerVariable(node.type.span, node.name.text))
            return ERROR
        return type_

    def variable(self, node: ast.Variable) -> None:
        name = node.name.text
        self._modifiers(node)
        entry = self.scope.find(name)
        if not isinstance(entry, Declared) or entry.span != node.name.span:
            return
        domain = self.domain(node.domain, entry.type, name, entry.level)
        if domain.rule.geometry == "discrete" and node.role in ("random", "param"):
            what = f"a {domain.name} that is {'a parameter' if node.role == 'param' else 'drawn'}"
            advice = f"one for all examples: latent {name} : ... per batch" if node.role == "param" else ""
            self.report.add(NotBuilt(node.span, what, advice))
            return
        if node.role == "random" and not self._is_distribution(node):
            init = None
        else:
            init = self.initial(node.init, entry.type, name, draws=node.role != "observed")
        if init is not None and node.init is not None:
            init = init if self._start(init, node, entry) else None
            self._inside(node.init, init, domain, name, node.role)
        if node.role == "random" and isinstance(init, typed.Apply):
            self.expressions.distributions[name] = init
        self.variables.append(
            typed.Variable(
                name, node.role, entry.type, domain, entry.level, node.missing, init, node.doc, node.span
            )
        )

    def _modifiers(self, node: ast.Variable) -> None:
        role = f"`{node.role}`"
        if node.missing and node.role != "observed":
            advice = "only given values can be missing: observed y : real[n] missing"
            self.report.add(WrongModifier(self._word(node, "missing"), "missing", role, advice))
        elif node.missing and node.shared:
            self.report.add(NotBuilt(self._word(node, "missing"), "`missing` on a shared value"))
        if node.per == "batch" and node.role in ("observed", "param"):
            advice = "a value for all examples is `shared observed` or `param`"
            self.report.add(WrongModifier(self._word(node, "per"), "per batch", role, advice))
        if node.per == "episode":
            advice = "it goes with `state`"
            self.report.add(WrongModifier(self._word(node, "per"), "per episode", role, advice))

    def _word(self, node: ast.Variable, word: str) -> Span:
        """Where a modifier stands: after the type, and before anything else of that name."""
        found = re.compile(rf"\b{word}\b").search(self.report.source.text, node.type.span.end, node.span.end)
        return Span(*found.span()) if found else node.span

    def _is_distribution(self, node: ast.Variable) -> bool:
        assert node.init is not None
        if isinstance(node.init, ast.Call):
            row = BUILTINS.get(node.init.function.text)
            if row is not None and row.form == "distribution":
                return True
        found = f"`{self.report.source.extract(node.init.span)}`"
        self.report.add(MissingStart(node.init.span, node.name.text, found))
        return False

    def initial(self, node: ast.Expr | None, type_: Type, name: str, *, draws: bool) -> Expr | None:
        """A default, a start or a distribution; it must fill the declared type."""
        if node is None:
            return None
        self.expressions.draws = type_ if draws else None
        value = self.expressions.value(node, self.scope)
        self.expressions.draws = None
        if value.type.kind == "error":
            return None
        case = type_.kind == "class" and value.type.kind == "int"
        wanted = Type("int", type_.shape) if case else type_
        if not fits(value.type, wanted, stretch=True):
            places = origins(self.scope, value)
            advice = _initial_advice(value.type, type_)
            self.report.add(DeclaredOtherwise(node.span, name, str(value.type), str(type_), advice, places))
            return None
        if not self.expressions.is_case(value, type_, self.scope):
            return None
        return value

    def _start(self, value: Expr, node: ast.Variable, entry: Declared) -> bool:
        """Whether a start, default or distribution reads only what is known when it is made."""
        assert node.init is not None
        name, span = node.name.text, node.init.span
        if value.level > entry.level or value.coupled:
            self.report.add(DependsOnExample(span, name, origins(self.scope, value)))
            return False
        if node.role == "observed":
            what, advice = f"the default of `{name}`", "what is given has a default that is given too"
            if not Binders(self.expressions, self.scope).given(value, what, advice, span):
                return False
        for read in sorted(self.expressions.lets.sources_of(value)):
            other = self.scope.find(read)
            if not isinstance(other, Declared) or other.role == "hyper":
                continue
            given = other.role == "observed" and node.role != "observed"
            if not given and other.position >= entry.position:
                places = self._through(value, read)
                if read != name:
                    places = (*declared_at(other, f"`{read}` is declared here"), *places)
                self.report.add(UsedBeforeDefinition(span, read, places, name))
                return False
        return True

    def _through(self, value: Expr, name: str) -> tuple[Label, ...]:
        """The let through which a value reads a name that it does not read itself."""
        direct = typed.reads(value)
        if name in direct:
            return ()
        for let in sorted(direct):
            if name in self.expressions.lets.sources_of_let(let):
                return declared_at(self.scope.find(let), f"`{let}` is computed from `{name}`")
        return ()

    # --- domains ---

    def domain(self, node: ast.DomainExpr | None, type_: Type, name: str, reach: Level) -> Domain:
        if node is None or type_ == ERROR:
            return PERMUTATION if type_.permuted else REALS
        rule = find_domain(node.name.text, len(node.arguments))
        spelled = self.report.source.extract(node.name.span)
        if rule is None or spelled in UNSPELLED:
            known = tuple(r.name for r in DOMAINS if r.name not in ("reals", *UNSPELLED))
            self.report.add(UnknownDomain(node.name.span, node.name.text, known))
            return REALS
        arguments = [
            self.expressions.value(a.value, self.scope)
            for a in node.arguments
            if isinstance(a.value, ast.Expr)
        ]
        if not rule.built:
            shown = self.report.source.extract(node.span)[2:].strip()
            self.report.add(NotBuilt(node.span, f"the domain `{shown}`"))
            return REALS
        if len(arguments) != rule.arguments or any(a.name is not None for a in node.arguments):
            wanted = f"{rule.arguments or 'no'} argument{'s' * (rule.arguments != 1)}"
            self.report.add(WrongArgumentCount(node.span, node.name.text, len(node.arguments), wanted))
            return REALS
        if not self._rule_fits(node, rule, type_):
            return REALS
        if rule.name == "subset":
            self._mask(node, rule, type_, name, reach)
            return REALS if arguments[0].type.kind == "error" else self._subset(node, type_)
        if rule.name == "sparse_simplex":
            most = None if arguments[0].type.kind == "error" else self._most(node)
            where = self._mask(node, rule, type_, name, reach)
            return REALS if most is None else Domain(rule.name, (most,), where)
        if not all(self._bound_fits(a, rule, type_, name, reach) for a in arguments):
            return REALS
        if rule.name == "interval" and not self._ordered(arguments, node):
            return REALS
        return Domain(rule.name, tuple(arguments), self._mask(node, rule, type_, name, reach))

    def _rule_fits(self, node: ast.DomainExpr, rule: DomainRule, type_: Type) -> bool:
        wanted = "" if type_.kind in rule.kinds else f"{' or '.join(rule.kinds)} values"
        if type_.rank < rule.rank:
            wanted = f"an array with at least {rule.rank} dimension{'s' * (rule.rank > 1)}"
        elif rule.name in ("psd", "positive_definite") and type_.shape[-1] != type_.shape[-2]:
            wanted = "a square matrix"
        elif rule.name in ("SO3", "SE2") and any(s.constant != 3 for s in type_.shape[-rule.rank :]):
            wanted = "real[3, 3]" if rule.name == "SO3" else "real[3]: x, y and the angle"
        elif rule.name == "stiefel" and (type_.shape[-2] - type_.shape[-1]).known_positive(0) is False:
            wanted = "a matrix with at least as many rows as columns"
        if not wanted:
            return True
        self.report.add(DomainMisfit(node.span, rule.name, str(type_), wanted))
        return False

    def _subset(self, node: ast.DomainExpr, type_: Type) -> Domain:
        """`subset(k)`: k is a size, from 1 to the number of entries less 1 where that is known."""
        given = node.arguments[0].value
        assert isinstance(given, ast.Expr)
        chosen = read_size(given, self.scope, self.report)
        if chosen is None:
            return REALS
        count = type_.shape[-1]
        shown = self.report.source.extract(given.span)
        for room in (chosen, count - chosen):
            holds = self.expressions.prover.room(room, chosen).holds
            if holds is False:
                wanted = f"a number from 0 to {count}, the number of entries"
                self.report.add(DomainMisfit(given.span, "subset", shown, wanted, (), "the size of"))
                return REALS
            if holds is None:
                reason = f"subset({shown}) of {count} entries has a size from 0 to {count}"
                self.expressions.requirements.append(typed.Requirement(room, reason, given.span))
        return Domain("subset", (typed.SizeOf(INT, (), Level.CONSTANT, False, given.span, chosen),))

    def _most(self, node: ast.DomainExpr) -> Expr | None:
        """`simplex(k)`: k is a size, and at least 1."""
        given = node.arguments[0].value
        assert isinstance(given, ast.Expr)
        most = read_size(given, self.scope, self.report)
        if most is None:
            return None
        room = most - 1
        holds = self.expressions.prover.room(room, most).holds
        shown = self.report.source.extract(given.span)
        if holds is False:
            self.report.add(DomainMisfit(given.span, "simplex", shown, "at least 1", (), "the size of"))
            return None
        if holds is None:
            reason = f"simplex({shown}) has room for at least 1 entry"
            self.expressions.requirements.append(typed.Requirement(room, reason, given.span))
        return typed.SizeOf(INT, (), Level.CONSTANT, False, given.span, most)

    def _bound_fits(self, value: Expr, rule: DomainRule, type_: Type, name: str, reach: Level) -> bool:
        if value.type.kind == "error":
            return False
        places = origins(self.scope, value)
        if not value.type.numeric or stretched(value.type.shape, type_.shape) != type_.shape:
            wanted = f"bounds that fit {type_}"
            found = str(value.type)
            self.report.add(DomainMisfit(value.span, rule.name, found, wanted, places, "a bound of"))
            return False
        return self._known(value, name, reach, "a bound of the domain of")

    def _known(self, value: Expr, name: str, reach: Level, what: str) -> bool:
        """Whether a part of a domain is given, and reaches no further than its variable."""
        if reach is Level.CONSTANT:
            return self._constant(value, name, value.span, frozenset(), "domain")
        advice = "a bound that depends on unknowns is a constraint: subject to ..."
        if not Binders(self.expressions, self.scope).given(value, f"{what} `{name}`", advice, value.span):
            return False
        if value.level > reach:
            places = origins(self.scope, value)
            self.report.add(DependsOnExample(value.span, name, places, "its domain"))
            return False
        return True

    def _ordered(self, arguments: list[Expr], node: ast.DomainExpr) -> bool:
        low, high = (constant_of(a) for a in arguments)
        if low is not None and high is not None and low > high:
            shown = [self.report.source.extract(a.span) for a in node.arguments]
            self.report.add(EmptyInterval(node.name.span, *shown))
            return False
        return True

    def _mask(
        self, node: ast.DomainExpr, rule: DomainRule, type_: Type, name: str, reach: Level
    ) -> Expr | None:
        if node.where is None:
            return None
        where = self.expressions.value(node.where, self.scope)
        if where.type.kind == "error":
            return None
        mask = Type("bool", type_.shape)
        if not rule.masked or where.type != mask:
            wanted = f"{mask} after `where`" if rule.masked else "no `where`: it goes with simplex"
            places, found = origins(self.scope, where), str(where.type)
            self.report.add(DomainMisfit(node.where.span, rule.name, found, wanted, places, "the mask of"))
            return None
        return where if self._known(where, name, reach, "the mask of the domain of") else None

    def _inside(
        self, node: ast.Expr | None, value: Expr | None, domain: Domain, name: str, role: typed.Role = "hyper"
    ) -> None:
        """A constant default lies in the domain. Starts are projected, where that is possible."""
        number = constant_of(value) if value is not None else None
        if node is None or number is None:
            return
        meaning = ""
        given = role in ("hyper", "observed")
        if domain.name == "positive" and number <= 0:
            meaning = "positive"
        elif domain.name == "nonnegative" and number < 0 and given:
            meaning = "nonnegative"
        elif domain.name == "interval" and given:
            low, high = (constant_of(a) for a in domain.arguments)
            if (low is not None and number < low) or (high is not None and number > high):
                meaning = f"in [{', '.join(notation.text(a) for a in domain.arguments)}]"
        if meaning:
            shown = self.report.source.extract(node.span)
            self.report.add(OutsideDomain(node.span, name, shown, meaning))


def _sizes_in(value: Expr) -> frozenset[str]:
    sizes = (n.size for n in typed.walk(value) if isinstance(n, typed.SizeOf))
    return frozenset().union(*(s.names() for s in sizes))


def _initial_advice(found: Type, declared: Type) -> str:
    if declared.kind == "bool" and found.kind == "int":
        return "write true or false"
    if declared.kind == "int" and found.kind == "real":
        return "write a whole number, or declare it real"
    if found.rank > declared.rank or found.kind not in ("real", "bool"):
        return "change the value or the declared type"
    return ""
