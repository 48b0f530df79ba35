"""Random well-typed models: every node kind of the language, in text form, with values for them."""

# Texts of models are longer than lines of code.
# ruff: noqa: E501

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np

T = TypeVar("T")

SIZES = {"n": 3, "m": 2, "k": 4}
CLASSES = 3
EDGES = 4

Shape = tuple[str, ...]

DECLARATIONS = """
  observed y : real[n]
  observed u : real
  observed B : real[m, n]
  observed b : bool[n]
  observed c : class[3]
  observed cs : class[3][n]
  observed Q : real[n, n]
  shared observed X : real[n, n]
  shared observed W : real[m, n]
  shared observed v : real[n]
  shared observed sb : bool[n]
  shared observed sc : class[3]
  shared observed edges : class[n][4, 2]
  shared observed U : real[2, m, n]
  latent x : real[n]
  latent s : real
  latent Z : real[m, n]
  latent A : real[n, n]
  latent r : real[3]
  per_batch
  param P : real[n, m]
  param p : real[n]
  fn soft(a: real[d], t: real) -> real[d] = sign(a) * relu(abs(a) - t)
  fn form(a: real[d], M: real[d, d]) -> real = a @ M @ a
""".replace("per_batch", "latent q : real[n] per batch")

HEAD = "(n: int, m: int, k: int, lam: real = 0.7, flag: bool = true, h: real[n] = 0.5, at: int[m] = 1)"

REALS: dict[Shape, tuple[str, ...]] = {
    (): ("u", "s", "lam", "s", "u"),
    ("n",): ("y", "x", "v", "p", "q", "h", "x"),
    ("3",): ("r",),
    ("m", "n"): ("B", "Z", "W"),
    ("n", "m"): ("P",),
    ("n", "n"): ("Q", "X", "A"),
    ("2", "m", "n"): ("U",),
}

UNKNOWN = ("x", "s", "Z", "A", "r", "q", "P", "p")
"""Real variables that can be sought; observed ones can be too."""

PER_EXAMPLE = ("y", "u", "B", "b", "c", "cs", "Q", "x", "s", "Z", "A", "r")

_UNARY = (
    "tanh({})",
    "sin({})",
    "cos({})",
    "sigmoid({})",
    "softplus({})",
    "huber({})",
    "huber({}, delta = 0.6)",
    "relu({})",
    "sqrt(1 + ({})^2)",
    "|{}|",
    "exp(-({})^2)",
    "log(2 + ({})^2)",
    "log1p(|{}|)",
    "gelu({})",
    "silu({})",
    "erf({})",
    "atan({})",
    "square({})",
    "({})^2",
    "({})^3",
    "-({})",
    "wrap(4 * ({}))",
    "sign({} + 0.317)",
    "floor({} + 0.317)",
    "expm1(0.3 * ({}))",
    "huber({}, delta = lam)",
    "2 ^ ({})",
    "cosh(0.5 * ({}))",
)
_BINARY = (
    "{} + {}",
    "{} - {}",
    "{} * {}",
    "({}) * ({})",
    "({}) / (1.5 + ({})^2)",
    "maximum({}, {})",
    "minimum({}, {})",
    "({}) - ({})",
    "atan2({}, 2 + ({})^2)",
    "xlogy(({})^2, 1 + ({})^2)",
    "clamp({}, -0.5, 1 + ({})^2)",
    "(1 + ({})^2) ^ (0.3 * ({}))",
    "({} + 0.317) % (2 + ({})^2)",
    "({} + 0.317) // (2 + ({})^2)",
)
_WHOLE = (
    "sum({})",
    "mean({})",
    "max({})",
    "min({})",
    "prod({})",
    "std({})",
    "var({})",
    "||{}||^2",
    "||{}||_1",
    "||{}||",
    "||{}||_inf",
    "||{}||_3",
    "entropy(sigmoid({}))",
    "argmax({})",
    "argmin({})",
)


@dataclass(frozen=True)
class Index:
    """An open plate or reduction index: `text` runs over a dimension of size `size`, its offset
    reaching `reach` further at most; a class index has no arithmetic."""

    text: str
    size: str
    reach: int = 0
    arithmetic: bool = True


@dataclass
class Models:
    """Draws models. `pick(n)` chooses one of 0..n-1."""

    pick: Callable[[int], int]
    fresh: int = 0
    lets: dict[Shape, list[str]] = field(default_factory=dict)

    def of(self, options: tuple[T, ...]) -> T:
        return options[self.pick(len(options))]

    def chance(self, share: int) -> bool:
        """True once in `share` times."""
        return self.pick(share) == share - 1

    def name(self, stem: str) -> str:
        self.fresh += 1
        return f"{stem}{self.fresh}"

    # --- reals ---

    def real(self, shape: Shape, deep: int, scope: tuple[Index, ...]) -> str:
        if deep <= 0:
            return self.leaf(shape, scope)
        kind = self.pick(12)
        if kind < 2:
            return self.leaf(shape, scope)
        if kind < 4:
            return self.of(_UNARY).replace("{}", self.real(shape, deep - 1, scope))
        if kind < 7:
            return self.binary(shape, deep, scope)
        if kind == 7:
            return self.selection(shape, deep, scope)
        if kind == 8:
            return f"({self.real(shape, deep - 1, scope)} with {self.replacement(deep - 1, scope)})"
        made = self.structured(shape, deep, scope)
        return made if made is not None else self.binary(shape, deep, scope)

    def leaf(self, shape: Shape, scope: tuple[Index, ...]) -> str:
        named: list[str] = [*REALS.get(shape, ()), *self.lets.get(shape, ())]
        picked = self.pick(4)
        if shape == () and picked < 3:
            if picked == 0:
                return self.of(
                    ("0.5", "2", "1 / 2", "-1.5", "lam", "pi", "n", "1 / n", "n - m", "flag", "sqrt(2)")
                )
            if picked == 1 and scope:
                return f"({self.integer(scope)})"
            return self.entry(scope)
        if shape and (picked == 0 or not named):
            sub = self.subarray(shape, scope)
            if sub is not None:
                return sub
        if not named:
            return f"zeros({', '.join(shape)})"
        found: str = self.of(tuple(named))
        return found

    def entry(self, scope: tuple[Index, ...]) -> str:
        """One entry of an array."""
        shape = self.of(tuple(s for s in REALS if s))
        base: str = self.of((*REALS[shape], *self.lets.get(shape, ())))
        return f"{base}[{', '.join(self.subscript(size, scope) for size in shape)}]"

    def subscript(self, size: str, scope: tuple[Index, ...]) -> str:
        fitting = [i for i in scope if i.size == size]
        if fitting and not self.chance(3):
            index = self.of(tuple(fitting))
            if not index.arithmetic:
                return index.text
            picked = self.pick(4)
            if picked == 0 and index.reach:
                return f"{index.text} + {index.reach}"
            if picked == 1:
                return f"{size} - 1 - {index.text}" if not index.reach else index.text
            if picked == 2:
                return f"({index.text} + 1) % {size}"
            return index.text
        if size == "3":
            return self.of(("c", "sc", "0", "-1", "2"))
        if size == "n":
            return self.of(("0", "-1", "n - 1", "at[0]", "argmax(y)", "argmin(x)"))
        return self.of(("0", "-1")) if size != "m" else self.of(("0", "-1", "m - 1"))

    def subarray(self, shape: Shape, scope: tuple[Index, ...]) -> str | None:
        """An array of this shape out of a larger one, or None."""
        if len(shape) == 1:
            size = shape[0]
            options = []
            for other in REALS:
                for base in REALS[other]:
                    if len(other) == 2 and other[1] == size:
                        options.append(f"{base}[{self.subscript(other[0], scope)}]")
                    if len(other) == 2 and other[0] == size:
                        options.append(f"{base}[.., {self.subscript(other[1], scope)}]")
            if size == "n":
                options += [
                    "concat(x[1..n], y[0..1])",
                    "concat(v[0..1], x[0..n-1])",
                    "gather(x, edges[0..n, 0])",
                    "r[cs]",
                ]
            if size == "m":
                options += ["x[at]", "y[at]", "U[1][.., 0]", "Z[.., 1]"]
            return self.of(tuple(options)) if options else None
        if len(shape) == 2 and shape == ("m", "n"):
            return self.of(("U[1]", "U[0]", "P.T", "P[.., 0..m].T", "Q[at]", "reshape(P, m, n)", "X[at, ..]"))
        if shape == ("n", "m"):
            return self.of(("B.T", "Z.T", "reshape(Z, n, m)", "U[0].T", "A[.., at]"))
        if shape == ("n", "n"):
            return self.of(
                (
                    "Q.T",
                    "outer(x, y)",
                    "diag(p)",
                    "identity(n)",
                    "outer(v, x)",
                    "cov(B)",
                    "cov(Z)",
                    "A[edges[0..n, 1]]",
                )
            )
        return None

    def binary(self, shape: Shape, deep: int, scope: tuple[Index, ...]) -> str:
        template = self.of(_BINARY)
        left, right = self.real(shape, deep - 1, scope), self.real(shape, deep - 1, scope)
        if shape and self.chance(3):
            scalar = self.real((), deep - 1, scope)
            left, right = (left, scalar) if self.chance(2) else (scalar, right)
        elif len(shape) == 2 and self.chance(4):
            row = self.real(shape[1:], deep - 1, scope)
            column = self.real(shape[:1], deep - 1, scope)
            right = f"({row})[None, ..]" if self.chance(2) else f"({column})[.., None]"
        for part in (left, right):
            template = template.replace("{}", f"({part})" if self.chance(2) else part, 1)
        return f"({template})"

    def selection(self, shape: Shape, deep: int, scope: tuple[Index, ...]) -> str:
        condition = self.condition(shape if self.chance(2) else (), deep - 1, scope)
        return f"where({condition}, {self.real(shape, deep - 1, scope)}, {self.real(shape, deep - 1, scope)})"

    def replacement(self, deep: int, scope: tuple[Index, ...]) -> str:
        name, shape = self.of(
            (("x", ("n",)), ("y", ("n",)), ("s", ()), ("Z", ("m", "n")), ("v", ("n",)), ("p", ("n",)))
        )
        return f"{name} = {self.real(shape, deep - 1, scope)}"

    def structured(self, shape: Shape, deep: int, scope: tuple[Index, ...]) -> str | None:
        """Functions that change shapes."""
        d = deep - 1
        if shape == ():
            return self.scalar(d, scope)
        if shape == ("n",):
            mat, vec = self.real(("n", "n"), d, scope), self.real(("n",), d, scope)
            i = self.name("i")
            return self.of(
                (
                    f"(({mat}) @ ({vec}))",
                    f"(({vec}) @ ({mat}))",
                    f"softmax({vec})",
                    f"cumsum({vec})",
                    f"sort({vec})",
                    f"diag({mat})",
                    f"(({self.real(('m',), d, scope)}) @ ({self.real(('m', 'n'), d, scope)}))",
                    f"(({self.real(('n', 'm'), d, scope)}) @ ({self.real(('m',), d, scope)}))",
                    f"linear_solve(4 * identity(n) + 0.3 * tanh({mat}), {vec})",
                    f"sum({self.real(('m', 'n'), d, scope)}, over = 0)",
                    f"{self.of(('max', 'logsumexp', 'mean', 'prod', 'std'))}({self.real(('n', 'm'), d, scope)}, over = -1)",
                    f"soft({vec}, 0.2)",
                    f"({mat})[{self.subscript('n', scope)}]",
                    f"({mat})[.., {self.subscript('n', scope)}]",
                    f"sum(({vec}) * v[{i}], over = {i} in 0..n)",
                    f'einsum("ij,j->i", {mat}, {vec})',
                )
            )
        if shape == ("n", "n"):
            return self.of(
                (
                    f"(({self.real(('n', 'm'), d, scope)}) @ ({self.real(('m', 'n'), d, scope)}))",
                    f"outer({self.real(('n',), d, scope)}, {self.real(('n',), d, scope)})",
                    f"(({self.real(('n', 'n'), d, scope)}).T)",
                    f"diag({self.real(('n',), d, scope)})",
                    f"inverse(4 * identity(n) + 0.3 * tanh({self.real(('n', 'n'), d, scope)}))",
                    f"linear_solve(4 * identity(n) + 0.3 * tanh({self.real(('n', 'n'), d, scope)}), {self.real(('n', 'n'), d, scope)})",
                    f"softmax({self.real(('n', 'n'), d, scope)}, over = 0)",
                    f"cov({self.real(('m', 'n'), d, scope)})",
                )
            )
        if shape == ("m", "n"):
            return self.of(
                (
                    f"(({self.real(('m', 'n'), d, scope)}) @ ({self.real(('n', 'n'), d, scope)}))",
                    f"reshape({self.real(('n', 'm'), d, scope)}, m, n)",
                    f"(({self.real(('n', 'm'), d, scope)}).T)",
                    f"cumsum({self.real(('m', 'n'), d, scope)}, over = 0)",
                    f"sort({self.real(('m', 'n'), d, scope)})",
                    f"concat({self.real(('m', 'n'), d, scope)}[0..1], {self.real(('m', 'n'), d, scope)}[1..m])",
                    f"({self.real(('2', 'm', 'n'), d, scope)})[1]",
                )
            )
        if shape == ("2", "m", "n"):
            return self.of(
                (
                    f"[{self.real(('m', 'n'), d, scope)}, {self.real(('m', 'n'), d, scope)}]",
                    f"stack({self.real(('m', 'n'), d, scope)}, {self.real(('m', 'n'), d, scope)})",
                )
            )
        if shape == ("3",):
            return self.of(
                (
                    f"[{self.real((), d, scope)}, {self.real((), d, scope)}, {self.real((), d, scope)}]",
                    "onehot(c, 3)",
                    f"softmax({self.real(('3',), d, scope)})",
                    f"concat({self.real(('3',), d, scope)}[1..3], r[0..1])",
                    "onehot(sc, 3)",
                )
            )
        return None

    def scalar(self, d: int, scope: tuple[Index, ...]) -> str:
        picked = self.pick(10)
        if picked < 3:
            shape = self.of((("n",), ("m", "n"), ("n", "n"), ("3",), ("n", "m"), ("2", "m", "n")))
            return self.of(_WHOLE).replace("{}", self.real(shape, d, scope))
        if picked == 3:
            left, right = self.real(("n",), d, scope), self.real(("n",), d, scope)
            return self.of(
                (
                    f"dot({left}, {right})",
                    f"(({left}) @ ({right}))",
                    f"form({left}, {self.real(('n', 'n'), d, scope)})",
                )
            )
        if picked == 4:
            inner = f"4 * identity(n) + 0.3 * tanh({self.real(('n', 'n'), d, scope)})"
            return self.of(
                (
                    f"trace({inner})",
                    f"det({inner})",
                    f"logabsdet({inner})",
                    f'einsum("ij,ij->", {inner}, X)',
                    f"det({self.real(('n', 'n'), d, scope)})",
                )
            )
        if picked == 5:
            return f"({self.real(('n',), d, scope)})[{self.subscript('n', scope)}]"
        if picked == 6:
            return f"sum({self.condition(('n',), d, scope)})"
        if picked == 7:
            body = f"({self.real((), d, scope)}) + r[c]"
            return f"{self.of(('logsumexp', 'min', 'max', 'sum', 'mean'))}({body}, over = c)"
        return self.reduction(d, scope)

    def reduction(self, d: int, scope: tuple[Index, ...]) -> str:
        function = self.of(("sum", "sum", "sum", "mean", "max", "min", "prod", "logsumexp"))
        i, j = self.name("i"), self.name("j")
        picked = self.pick(6)
        if picked == 0:
            binders = f"({i}, {j}) in edges"
            own: tuple[Index, ...] = (Index(i, "n", 0, False), Index(j, "n", 0, False))
        elif picked == 1:
            binders, own = f"{i} in 0..n, {j} in 0..m", (Index(i, "n"), Index(j, "m"))
        elif picked == 2:
            binders, own = f"{i} in 0..n-1", (Index(i, "n", 1),)
        else:
            binders, own = f"{i} in 0..n", (Index(i, "n"),)
        inner = (*scope, *own)
        guard = ""
        if self.chance(2):
            guard = f" if {self.guard(own[0], inner, True)}"
            if picked > 2 and self.chance(2):
                guard, own = f" if {i} < n - 1", (Index(i, "n", 1),)
                inner = (*scope, *own)
        first = f"x[{i}]" if self.chance(2) else f"v[{i}]"
        return f"{function}({first} * ({self.real((), d, inner)}), over = {binders}{guard})"

    # --- integers and conditions ---

    def integer(self, scope: tuple[Index, ...]) -> str:
        numbers = tuple(i.text for i in scope if i.arithmetic)
        if not numbers:
            return self.of(("n", "m", "3", "argmax(x)"))
        i = self.of(numbers)
        return self.of(
            (
                i,
                f"{i} + 1",
                f"{i} // 2",
                f"{i} % 2",
                f"{i} * {i}",
                f"|{i} - 1|",
                f"max({i}, 1)",
                f"{i}^2",
                f"-{i}",
            )
        )

    def condition(self, shape: Shape, deep: int, scope: tuple[Index, ...]) -> str:
        picked = self.pick(6)
        if deep > 0 and picked == 0:
            word = self.of(("and", "or"))
            return f"(({self.condition(shape, deep - 1, scope)}) {word} ({self.condition(shape, deep - 1, scope)}))"
        if deep > 0 and picked == 1:
            return f"not({self.condition(shape, deep - 1, scope)})"
        if picked == 2 and shape == ():
            return self.of(
                (
                    "flag",
                    "c == sc",
                    "c != 1",
                    "sc == 2",
                    "b[0]",
                    "any(b)",
                    "all(sb)",
                    "(u > 0) == b[1]",
                    "lam > 0.5",
                    "(lam > 0.5) == flag",
                )
            )
        if picked == 2 and shape == ("n",):
            return self.of(("b", "sb", "cs == c", "cs != 2", "b == sb", "cs == sc"))
        op = self.of(("<", "<=", ">", ">="))
        return f"({self.real(shape, deep - 1, scope)} {op} {self.real(shape if self.chance(2) else (), deep - 1, scope)})"

    def guard(self, index: Index, scope: tuple[Index, ...], moving: bool) -> str:
        """A condition on an index: known early, or different by example where that is allowed."""
        i = index.text
        still = (
            (f"sb[{i}]", f"v[{i}] > 0", "flag", f"X[{i}, 0] < X[0, {i}]") if index.size == "n" else ("flag",)
        )
        if index.arithmetic:
            still = (*still, f"{i} > 0", f"{i} % 2 == 0", f"{i} != 1")
        if moving and self.chance(2):
            return self.of(
                (f"b[{i}]", f"y[{i}] > 0", f"cs[{i}] == c", f"b[{i}] and {self.of(still)}")
                if index.size == "n"
                else ("u > 0",)
            )
        return self.of(still)

    # --- models ---

    def model(self, deep: int = 3) -> str:
        self.lets = {}
        lines = []
        for _ in range(self.pick(3)):
            shape = self.of(((), ("n",), ("m", "n"), ("n", "n")))
            name = self.name("l")
            lines.append(f"let {name} = {self.real(shape, deep, ())}")
            self.lets.setdefault(shape, []).append(name)
        for _ in range(1 + self.pick(3)):
            lines += self.term(deep)
        if self.chance(3):
            lines += self.constraint(deep)
        body = "\n  ".join(lines)
        return f"model drawn{HEAD} {{{DECLARATIONS}\n  {body}\n}}\n"

    def constraint(self, deep: int) -> list[str]:
        shape, sign = self.of(((), ("n",), ("m", "n"))), self.of(("<=", ">=", "=="))
        c, t = self.name("c"), self.name("t")
        if self.chance(2):
            sides = f"{self.real(shape, deep, ())} {sign} {self.real(shape, deep - 1, ())}"
            return [f"subject to {c} : {sides}"]
        first = Index(t, "n", 1) if self.chance(2) else Index(t, "n")
        guard = f" if {self.guard(first, (first,), True)}" if self.chance(2) else ""
        sides = f"{self.real(shape, deep, (first,))} {sign} {self.real(shape, deep - 1, (first,))}"
        stop = "n-1" if first.reach else "n"
        return [f"for {t} in 0..{stop}{guard} {{ subject to {c}[{t}] : {sides} }}"]

    def term(self, deep: int) -> list[str]:
        picked = self.pick(8)
        if picked == 0:
            return [f"energy {self.name('e')} = {self.real((), deep, ())}"]
        if picked == 1:
            function = self.of(("mean", "sum", "max", "min", "var", "std", "logsumexp", "prod"))
            inner = f"{function}({self.real((), deep - 1, ())}, over = batch)"
            if self.chance(3):
                inner = f"trace(cov({self.real(('n',), deep - 1, ())}, over = batch))"
            return [f"batch energy {self.name('e')} = {inner}"]
        t, w, e = self.name("t"), self.name("w"), self.name("e")
        if picked == 2:
            own = (Index(t, "n", 0, False), Index(w, "n", 0, False))
            guard = f" if {self.guard(own[0], own, True)}" if self.chance(2) else ""
            return [f"for ({t}, {w}) in edges{guard} {{ energy {e}[{t}, {w}] = {self.real((), deep, own)} }}"]
        first = Index(t, "n", 1) if self.chance(2) else Index(t, "n")
        stop = "n-1" if first.reach else "n"
        start = "0"
        if not first.reach and self.chance(4):
            start = "1"
        guard = f" if {self.guard(first, (first,), True)}" if self.chance(2) else ""
        if picked < 5:
            lines = [f"for {t} in {start}..{stop}{guard} {{"]
            if not guard and start == "0" and self.chance(2):
                d = self.name("d")
                lines.append(f"  let {d}[{t}] = {self.real((), deep - 1, (first,))}")
                lines.append(f"  energy {e} = {d}[{t}] * {self.real((), deep - 1, (first,))}")
            else:
                lines.append(f"  energy {e}[{t}] = {self.real((), deep, (first,))}")
            return [*lines, "}"]
        second = Index(w, "m")
        if picked == 5:
            both = f" if {self.guard(first, (first, second), True)}" if self.chance(2) else ""
            head = f"for {t} in {start}..{stop}, {w} in 0..m{both} {{"
            return [head, f"  energy {e}[{t}, {w}] = {self.real((), deep, (first, second))}", "}"]
        inner = f" if {self.guard(first, (first, second), False)}" if self.chance(2) else ""
        return [
            f"for {t} in {start}..{stop}{guard} {{",
            f"  for {w} in 0..m{inner} {{ energy {e}[{t}, {w}] = {self.real((), deep, (first, second))} }}",
            "}",
        ]


def values(rng: np.random.Generator, rows: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Values for every variable: shared ones, and one mapping per example."""
    n, m = SIZES["n"], SIZES["m"]
    shared: dict[str, Any] = {
        "X": rng.normal(size=(n, n)),
        "W": rng.normal(size=(m, n)),
        "v": rng.normal(size=n),
        "sb": rng.random(n) < 0.6,
        "sc": rng.integers(CLASSES),
        "edges": rng.integers(0, n, size=(EDGES, 2)),
        "U": rng.normal(size=(2, m, n)),
        "q": rng.normal(size=n),
        "P": rng.normal(size=(n, m)),
        "p": rng.normal(size=n),
        "lam": 0.7,
        "flag": True,
        "h": rng.normal(size=n),
        "at": rng.integers(0, n, size=m),
    }
    examples = [
        {
            "y": rng.normal(size=n),
            "u": rng.normal(),
            "B": rng.normal(size=(m, n)),
            "b": rng.random(n) < 0.5,
            "c": rng.integers(CLASSES),
            "cs": rng.integers(0, CLASSES, size=n),
            "Q": rng.normal(size=(n, n)),
            "x": rng.normal(size=n),
            "s": rng.normal(),
            "Z": rng.normal(size=(m, n)),
            "A": rng.normal(size=(n, n)),
            "r": rng.normal(size=3),
        }
        for _ in range(rows)
    ]
    return shared, examples
