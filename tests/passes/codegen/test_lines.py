"""Lines that are broken mean what they meant in one piece."""

from __future__ import annotations

import ast
import textwrap

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

import ebmlang
from ebmlang.compiler.codegen.lines import Line, layout

NAMES = ("w", "a_name", "a_name_that_takes_most_of_a_line_of_generated_code", "self.scale", "2.0", "-3")

atoms = st.sampled_from(NAMES)


def _larger(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    joined = st.tuples(inner, st.sampled_from(["+", "-", "*", "/", "@"]), inner)
    return st.one_of(
        joined.map(lambda p: f"{p[0]} {p[1]} {p[2]}"),
        inner.map(lambda text: f"({text})"),
        st.lists(inner, min_size=1, max_size=3).map(lambda p: f"torch.stack({', '.join(p)})"),
        st.tuples(inner, inner).map(lambda p: f"({p[0]}).sum(-1)[:, None] + {p[1]}"),
    )


values = st.recursive(atoms, _larger, max_leaves=12)
tables = st.lists(values, min_size=1, max_size=3).map(
    lambda texts: "{" + ", ".join(f'"key {i}": {text}' for i, text in enumerate(texts)) + "}"
)


@settings(max_examples=200, deadline=None)
@given(st.one_of(values, tables), st.integers(0, 4))
def test_a_broken_line_is_the_same_program(value: str, depth: int) -> None:
    laid_out = textwrap.dedent(layout(Line(("result",), value), depth))
    assert ast.dump(ast.parse(laid_out)) == ast.dump(ast.parse(f"result = {value}"))


def test_weights_of_absolute_values_that_take_several_lines() -> None:
    long = "weight_with_a_name_that_takes_more_than_half_of_a_line"
    m = ebmlang.loads(f"""
    model shrink(n: int, {long}: real in nonnegative = 0.5, w: real in nonnegative = 0.2) {{
      observed y : real[n]
      latent x : real[n]
      energy fit = ||y - x||^2
      energy size = {long} * ||x||_1 + w * ||x||_1 + {long} * {long} * w * ||x||_1
      infer x
    }}
    """)
    r = m.infer(y=np.ones((1, 2)), dtype="float64")
    assert np.allclose(r.x, 1 - (0.5 + 0.2 + 0.5 * 0.5 * 0.2) / 2)
