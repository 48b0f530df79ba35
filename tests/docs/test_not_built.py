"""What the reference lists as not built is refused with E0901, and the README names it too."""

from __future__ import annotations

import pytest

from ebmlang.compiler.pipeline import check_source
from ebmlang.compiler.source import Source

MODEL = """model m(n: int, k: int) {{
  observed y : real[n]
  latent   x : real[n]
  energy fit = ||y - x||^2
  {}
}}
"""

STATEMENTS = {
    "permutation as a parameter": "param p : permutation[n]",
    "moving slice and indices": "observed A : real[n, n]; observed o : class[n][2]; "
    "for t in 0..n-2 { energy w[t] = sum(A[o, t..t+3]) }",
    "missing shared": "shared observed c : real[n] missing",
}


@pytest.mark.parametrize("statement", STATEMENTS.values(), ids=STATEMENTS)
def test_refused_by_name(statement: str) -> None:
    found = check_source(Source("<text>", MODEL.format(statement.replace("; ", "\n  "))))
    codes = {x.diagnostic.code for x in found.diagnostics if x.diagnostic.severity == "error"}
    assert codes == {"E0901"}, [x.header() for x in found.diagnostics]
