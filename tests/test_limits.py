"""What no program may do to the checker: sink it by depth, by size, or by broken text."""

from __future__ import annotations

import random
import re
from pathlib import Path

import pytest

from ebmlang.compiler import notation
from ebmlang.compiler.diagnostics import render_all
from ebmlang.compiler.dump import dump_model
from tests.diagnose import checked, diagnose

FOLDER = Path(__file__).parent
PROGRAMS = sorted((FOLDER / "passes" / "check").glob("*.ebm"))
MISTAKES = sorted(p for p in (FOLDER / "errors").glob("*.ebm") if p.name >= "E02")


# --- limits -------------------------------------------------------------------------------------


def test_long_sums() -> None:
    long = " + ".join(["x"] * 800)
    value = checked(f"model m {{\nlatent x : real\nenergy e = {long}\n}}").terms[0].value
    assert notation.text(value) == long


@pytest.mark.parametrize(
    "body",
    [
        "energy e = " + " + ".join(["x"] * 1500),
        "energy e = x" + "[0]" * 300,
        "energy e = x" + ".T" * 300,
        "energy e = " + "x^" * 300 + "2",
        "energy e = " + "- " * 300 + "x",
        "energy e = " + "exp(-" * 90 + "x" + ")" * 90,
    ],
)
def test_what_is_too_deep_is_said_so(body: str) -> None:
    report, _ = diagnose(f"model m {{\nlatent x : real\n{body}\n}}")
    assert "E0515" in [d.diagnostic.code for d in report.diagnostics]


def test_chains_of_local_lets_are_limited() -> None:
    """Local lets are written out where they are used: neither depth nor size may explode."""
    deep = "\n".join(f"let a{i} = a{i - 1} + 1" for i in range(1, 1500))
    wide = "\n".join(f"let a{i} = a{i - 1} * a{i - 1}" for i in range(1, 60))
    for lets, last, code in ((deep, 1499, "E0515"), (wide, 59, "E0512")):
        body = f"for t in 0..n {{\nlet a0 = x[t]\n{lets}\nenergy e[t] = a{last}\n}}"
        report, _ = diagnose(f"model m(n: int) {{\nlatent x : real[n]\n{body}\n}}")
        assert code in [d.diagnostic.code for d in report.diagnostics]


def test_chains_of_lets_are_free() -> None:
    lets = "\n".join(f"let a{i} = a{i - 1} * a{i - 1} + x" for i in range(1, 500))
    body = f"latent x : real\nlet a0 = x\n{lets}\nenergy e = a499"
    assert len(checked(f"model m {{\n{body}\n}}").lets) == 500
    # Written out it would have 2^500 operations.
    report, _ = diagnose(f"model m {{\n{body}\nproperty p : (e with x = 1) >= 0\n}}")
    assert [d.diagnostic.code for d in report.diagnostics] == ["E0512"]


def test_substitution_in_a_long_chain() -> None:
    lets = "\n".join(f"let a{i} = a{i - 1} + {i}" for i in range(1, 900))
    found = checked(
        f"model m {{\nlatent x : real\nlet a0 = x\n{lets}\nenergy e = a899\n"
        "property p : (e with x = 7) >= 0\n}"
    )
    assert notation.text(found.properties[0].left).startswith("7 + 1 + 2 + 3")


def test_huge_numbers_are_numbers() -> None:
    huge = "99999999999999999999 * x + 10^30 + 1_000_000 * 10^12"
    value = checked(f"model m {{\nlatent x : real\nenergy e = {huge}\n}}").terms[0].value
    assert str(value.type) == "real"


# --- mutations ----------------------------------------------------------------------------------

TOKENS = re.compile(r"\s+|[^\W\d]\w*|\d+(?:\.\d+)?|\|\||<=|>=|==|\.\.|->|.", re.DOTALL)
PUT = (
    "n", "k", "z", "y", "0", "1", "-1", "real", "class", "[..]", "[0]", ".T", "+", "@", "^", "total",
    "c", "i", "true", "1e30", "||", "sum", "None", "batch", "over", "1000000000000", "99999999999999999999",
    "(z with z = 1)", "[1, 2]", "if", "in", "()", "zeros(0)", "{}",
)  # fmt: skip


def mutated(text: str, rng: random.Random) -> str:
    """The text with a token dropped, doubled, swapped or replaced."""
    tokens = TOKENS.findall(text)
    places = [i for i, t in enumerate(tokens) if t.strip()]
    first, second = rng.sample(places, 2)
    match rng.randrange(5):
        case 0:
            tokens[first] = ""
        case 1:
            tokens[first] += " " + tokens[second]
        case 2:
            tokens[first], tokens[second] = tokens[second], tokens[first]
        case 3:
            tokens[first] = tokens[second]
        case _:
            tokens[first] = rng.choice(PUT)
    return "".join(tokens)


@pytest.mark.parametrize("path", [*PROGRAMS, *MISTAKES[::6]], ids=lambda p: p.stem)
def test_mutated_programs_never_raise(path: Path) -> None:
    """Whatever stands in a file, the check ends with models or with messages that can be shown."""
    text = path.read_text(encoding="utf-8")
    rng = random.Random(path.name)
    for _ in range(25 if path in PROGRAMS else 5):
        report, models = diagnose(mutated(text, rng))
        assert models or report.diagnostics
        assert render_all(report.diagnostics) or not report.diagnostics
        for found in models:
            dump_model(found)


def test_mistakes_of_one_token_do_not_cascade() -> None:
    rng = random.Random(20240607)
    counts = []
    for path in PROGRAMS:
        text = path.read_text(encoding="utf-8")
        for _ in range(20):
            report, _ = diagnose(mutated(text, rng))
            if not any(d.diagnostic.code < "E02" for d in report.errors):
                counts.append(len(report.errors))
    assert sum(c <= 3 for c in counts) >= 0.9 * len(counts)
