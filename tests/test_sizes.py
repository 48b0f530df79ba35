"""Sizes against sympy: equal polynomials have one normal form, and all questions agree with integers."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import sympy
from hypothesis import assume, given
from hypothesis import strategies as st

import ebmlang
from ebmlang.compiler.sizes import LARGEST, ONE, ZERO, Size, SizeError

NAMES = ("a", "b", "n")
SYMBOLS = {name: sympy.Symbol(name, integer=True) for name in NAMES}

Pair = tuple[Size, sympy.Expr]


def combined(op: str, left: Pair, right: Pair) -> Pair:
    match op:
        case "+":
            return left[0] + right[0], left[1] + right[1]
        case "-":
            return left[0] - right[0], left[1] - right[1]
    return left[0] * right[0], left[1] * right[1]


leaves: st.SearchStrategy[Pair] = st.one_of(
    st.integers(-5, 5).map(lambda v: (Size.of(v), sympy.Integer(v))),
    st.sampled_from(NAMES).map(lambda name: (Size.of(name), SYMBOLS[name])),
)
polynomials: st.SearchStrategy[Pair] = st.recursive(
    leaves,
    lambda inner: st.tuples(st.sampled_from("+-*"), inner, inner).map(lambda t: combined(*t)),
    max_leaves=8,
)
values = st.fixed_dictionaries({name: st.integers(-6, 6) for name in NAMES})


def value_of(expression: sympy.Expr, numbers: dict[str, int]) -> int:
    return int(expression.subs({SYMBOLS[name]: value for name, value in numbers.items()}))


@given(polynomials, polynomials)
def test_normal_form_decides_equality(left: Pair, right: Pair) -> None:
    assert (left[0] == right[0]) == (sympy.expand(left[1] - right[1]) == 0)
    assert hash(left[0] + right[0]) == hash(right[0] + left[0])


@given(polynomials, values)
def test_evaluate(pair: Pair, numbers: dict[str, int]) -> None:
    size, expression = pair
    assert size.evaluate(numbers) == value_of(expression, numbers)


@given(polynomials)
def test_text_is_read_back(pair: Pair) -> None:
    """What a size prints is an expression of the language; sympy reads the same notation."""
    size, expression = pair
    back = sympy.sympify(str(size).replace("^", "**"), locals=SYMBOLS)
    assert sympy.expand(back - expression) == 0


@given(polynomials, polynomials, st.sampled_from(NAMES))
def test_substitute(pair: Pair, put: Pair, name: str) -> None:
    size, expression = pair
    assume(sum(p for m, _ in size.terms for _, p in m) < 12)
    found = size.substitute({name: put[0]})
    wanted = sympy.Poly(sympy.expand(expression.subs(SYMBOLS[name], put[1])), *SYMBOLS.values())
    # Compared by coefficients: `found` is a normal form, and has no other way to be the same.
    mine = {tuple(dict(m).get(n, 0) for n in NAMES): c for m, c in found.terms}
    assert mine == {m: int(c) for m, c in wanted.terms() if c}


@given(polynomials, st.sampled_from(NAMES))
def test_linear_in(pair: Pair, name: str) -> None:
    size, expression = pair
    polynomial = sympy.Poly(sympy.expand(expression), SYMBOLS[name])
    found = size.linear_in(name)
    if found is None:
        constant_factor = polynomial.degree() == 1 and polynomial.LC().is_Integer
        assert not constant_factor
        return
    factor, rest = found
    assert factor != 0
    assert name not in rest.names()
    assert Size.of(name) * factor + rest == size


@given(polynomials, polynomials, values, st.sampled_from(["//", "%"]))
def test_division(left: Pair, right: Pair, numbers: dict[str, int], op: str) -> None:
    """Also where a quotient is simplified: for every value of the names it rounds as Python does."""
    divisor = value_of(right[1], numbers)
    assume(divisor != 0)
    size = left[0] // right[0] if op == "//" else left[0] % right[0]
    dividend = value_of(left[1], numbers)
    assert size.evaluate(numbers) == (dividend // divisor if op == "//" else dividend % divisor)


@given(polynomials, st.integers(-3, 3), st.fixed_dictionaries({name: st.integers(0, 2) for name in NAMES}))
def test_known_positive_is_sound(pair: Pair, least: int, floors: dict[str, int]) -> None:
    """What is claimed holds for names at and above their lower bounds."""
    size = pair[0]
    claim = size.known_positive(least, floors)
    for step in ((0, 0, 0), (1, 0, 0), (0, 3, 1), (2, 5, 7), (40, 1, 0), (0, 0, 90)):
        numbers = {name: floors[name] + s for name, s in zip(NAMES, step, strict=True)}
        if claim is not None:
            assert (size.evaluate(numbers) >= least) == claim


@pytest.mark.parametrize(
    ("size", "least", "floors", "claim"),
    [
        (Size.of("n"), 0, {}, True),
        (Size.of("n"), 1, {}, None),
        (Size.of("n") - 1, 0, {"n": 1}, True),
        (Size.of("n") - 1, 0, {"n": 0}, None),
        (-Size.of("n"), 0, {"n": 1}, False),
        (Size.of("n") - Size.of("a"), 0, {"n": 1, "a": 1}, None),
        (Size.of("n") // 2, 0, {"n": 1}, True),
        ((Size.of("n") - 5) // 2, 0, {"n": 1}, None),
        (Size.of("n") % 3, 0, {}, True),
        (Size.of("n") + 2, 0, {"n": -2}, True),
        (Size.of("n") * Size.of("a"), 0, {"n": -2}, None),
    ],
)
def test_known_positive(size: Size, least: int, floors: dict[str, int], claim: bool | None) -> None:
    assert size.known_positive(least, floors) is claim


@pytest.mark.parametrize(
    "make",
    [
        lambda n: n // 0,
        lambda n: n % ZERO,
        lambda n: n**17,
        lambda n: n**-1,
        lambda n: (n**16) ** 5,
        lambda n: Size.of(10**12) ** 16,
        lambda n: Size.of(LARGEST),
        lambda n: n * LARGEST,
        lambda n: (n + Size.of("a") + Size.of("b") + Size.of("c") + ONE) ** 8,
    ],
)
def test_arithmetic_is_bounded(make: Callable[[Size], Size]) -> None:
    with pytest.raises(SizeError):
        make(Size.of("n"))


def test_evaluate_refuses_what_no_array_has() -> None:
    size = Size.of("n") * Size.of("n")
    with pytest.raises(SizeError, match=r"n\^2 = 10000000000000000000000 is larger than any array"):
        size.evaluate({"n": 10**11})
    with pytest.raises(SizeError, match="divides by zero"):
        (Size.of("n") // Size.of("a")).evaluate({"n": 3, "a": 0})
    with pytest.raises(KeyError):
        size.evaluate({})


DEFAULTS = """
model m(n: int, k: int = 2 * n, h: int = k + 1, r: int = 3) {
  observed y : real[n]
  observed v : real[h] = 0
  latent z : real[k]
  latent w : real[h, r]
  energy e = ||y||^2 + ||z - 1||^2 + sum((w - v[0])^2)
  infer z, w
}"""


def test_defaults_that_read_sizes_of_the_data() -> None:
    found = ebmlang.loads(DEFAULTS).infer(y=[[1.0, 2.0, 3.0]])
    assert (tuple(found["z"].shape), tuple(found["w"].shape)) == ((1, 6), (1, 7, 3))
    found = ebmlang.loads(DEFAULTS, k=2).infer(y=[[1.0, 2.0, 3.0]])
    assert (tuple(found["z"].shape), tuple(found["w"].shape)) == ((1, 2), (1, 3, 3))
    found = ebmlang.loads(DEFAULTS).infer(y=[[1.0, 2.0]], v=[[0.0] * 5])
    assert tuple(found["w"].shape) == (1, 5, 3)


def test_such_a_default_does_not_yield_to_data() -> None:
    with pytest.raises(ebmlang.DataError, match=r"h = 5 by default.*the data has 4"):
        ebmlang.loads(DEFAULTS).infer(y=[[1.0, 2.0]], v=[[0.0] * 4])


def test_a_default_whose_size_nothing_gives() -> None:
    unknowns = "latent z : real[k]; latent x : real[n]"
    text = f"model m(n: int, k: int = n + 1) {{ {unknowns}; energy e = ||z||^2 + ||x||^2 }}"
    with pytest.raises(ebmlang.DataError, match="nothing gives the size `n`"):
        ebmlang.loads(text).infer()


def test_a_dimension_that_no_whole_number_gives_is_named() -> None:
    text = (
        "model m(n: int) { observed y : real[2 * n + 1]; latent x : real[n]; energy e = ||y[0..n] - x||^2 }"
    )
    assert ebmlang.loads(text).infer(y=[[1.0] * 9] * 2).x.shape == (2, 4)
    with pytest.raises(ebmlang.DataError, match=r"no whole number `n` makes 2 \* n \+ 1 the 8") as caught:
        ebmlang.loads(text).infer(y=[[1.0] * 8] * 2)
    assert "`y` is declared real[2 * n + 1]" in str(caught.value)
