"""The summary against numpy over all rows at once, and how it looks."""

import io
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from ebmlang import report
from ebmlang.report import Summary


def summary_of(
    energy: NDArray[Any], iterations: NDArray[Any], converged: NDArray[Any], cuts: list[int]
) -> Summary:
    """A summary of rows with two terms, added in chunks that end at the cuts."""
    summary = Summary(method="fista", because="smooth plus absolute values")
    for start, stop in zip([0, *cuts], [*cuts, len(energy)], strict=True):
        part = slice(start, stop)
        summary.add(
            energy[part],
            {"data": 0.75 * energy[part], "prior[t]": 0.25 * energy[part]},
            {},
            converged[part],
            iterations[part],
            ["converged" if ok else "step limit" for ok in converged[part]],
        )
    return summary


@given(
    rows=st.lists(
        st.tuples(st.floats(-1e6, 1e6), st.integers(0, 300), st.booleans()), min_size=1, max_size=40
    ),
    data=st.data(),
)
def test_chunks_do_not_matter(rows: list[tuple[float, int, bool]], data: st.DataObject) -> None:
    energy, iterations, converged = (np.array(column) for column in zip(*rows, strict=True))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(rows)), max_size=4)))
    summary = summary_of(energy, iterations, converged, cuts)
    assert summary.rows == len(rows)
    assert summary.mean_energy == pytest.approx(energy.mean(), abs=1e-6)
    assert summary.mean_terms["data"] == pytest.approx(0.75 * energy.mean(), abs=1e-6)
    assert summary.converged == converged.sum()
    assert summary.median_iterations == np.median(iterations)
    assert summary.most_iterations == iterations.max()
    left = sorted((-energy[i], i) for i in range(len(rows)) if not converged[i])
    assert [worst.row for worst in summary.worst] == [i for _, i in left[:5]]


def test_rows_that_are_not_finite_are_counted_and_left_out() -> None:
    energy = np.array([1.0, np.inf, 3.0, np.nan])
    summary = summary_of(energy, np.array([5, 1, 7, 1]), np.array([True, False, True, False]), [2])
    assert summary.mean_energy == 2
    assert summary.finite == 2
    assert [worst.row for worst in summary.worst] == [1, 3]
    assert json.loads(json.dumps(summary.to_json(), allow_nan=False))["worst"][0]["energy"] is None


def test_shares_of_terms_that_may_be_negative() -> None:
    summary = Summary()
    ones = np.ones(2)
    summary.add(
        2 * ones,
        {"up": 3 * ones, "down": np.array(-1.0)},
        {"var": np.array(0.5)},
        ones > 0,
        ones.astype(int),
        ["a"] * 2,
    )
    assert summary.shares == {"up": 0.75, "down": 0.25}
    assert summary.mean_terms == {"up": 3, "down": -1}
    assert summary.batch_terms == {"var": 0.5}


def test_nothing_at_all() -> None:
    summary = Summary()
    text = io.StringIO()
    summary.print("none", file=text)
    assert "0 of 0 rows" in text.getvalue()
    assert json.loads(json.dumps(summary.to_json(), allow_nan=False))["energy"] is None


EXPECTED = """\
m.ebm: 4 rows from y.npz

 term      mean energy  share
 data           1.6875  75.0%
 prior[t]       0.5625  25.0%
 total            2.25

 converged   2 of 4 rows
 iterations  median 6, most 10,000
 method      fista
 because     smooth plus absolute values
 written     out.npz

2 of 4 rows did not converge; those of highest energy:
 row  energy  iterations  status
   3       4      10,000  step limit
   1     2.5           5  step limit
"""


def printed(file: io.StringIO) -> str:
    energy = np.array([1.0, 2.5, 1.5, 4.0])
    converged = np.array([True, False, True, False])
    summary_of(energy, np.array([1, 5, 7, 10_000]), converged, []).print(
        "m.ebm: 4 rows from y.npz", "out.npz", file
    )
    return file.getvalue()


def test_plain_text_in_80_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    lines = [line.rstrip() for line in printed(io.StringIO()).splitlines()]
    assert "\n".join(lines) + "\n" == EXPECTED


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_colours_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b[" in printed(Terminal())
    assert "\x1b[" not in printed(io.StringIO())


def test_long_words_are_folded_not_cut() -> None:
    summary, text = Summary(method="m" * 100, because="why " * 50), io.StringIO()
    summary.print("t", file=text)
    assert max(map(len, text.getvalue().splitlines())) <= 80
    assert text.getvalue().count("m") >= 100
    assert text.getvalue().count("why") == 50


def test_progress_lines_appear_only_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 0.5, 2.5, 3.0, 5.0])
    monkeypatch.setattr("time.monotonic", lambda: next(clock))
    text = io.StringIO()
    with report.progress("infer", 2000, text) as update:
        for rows in (1, 1000, 1500, 2000):
            update(rows, 7)
    assert text.getvalue() == "infer: 1,000 of 2,000 rows, step 7\ninfer: 2,000 of 2,000 rows, step 7\n"


def test_progress_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    text = Terminal()
    with report.progress("infer", 20, text) as update:
        update(10, 3)
    assert "10/20" in text.getvalue()
    assert "step 3" in text.getvalue()
