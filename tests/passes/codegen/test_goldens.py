"""Generated modules to the byte, for models that show each way of writing."""

from __future__ import annotations

import keyword
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

from ebmlang.compiler import pipeline
from ebmlang.compiler.query import Query, default_question, default_sought
from ebmlang.compiler.source import Source
from tests.passes.codegen.ruled import WIDTH, check_text

HERE = Path(__file__).parent
MODELS = sorted(HERE.glob("*.ebm"))


def generated(path: Path) -> str:
    found = pipeline.check_source(Source(path.name, path.read_text(encoding="utf-8")))
    assert not found.failed, [str(d.diagnostic) for d in found.diagnostics]
    model = found.models[-1]
    query = Query(default_sought(model, default_question(model)))
    return pipeline.generate_for(pipeline.plan_for(pipeline.graph_of(model), query)).text


@pytest.mark.parametrize("path", MODELS, ids=lambda p: p.stem)
def test_text(path: Path, golden: Callable[[Path, str], None]) -> None:
    text = generated(path)
    assert text == generated(path)
    golden(path.with_suffix(".expected"), text)


@pytest.mark.parametrize("path", MODELS, ids=lambda p: p.stem)
def test_text_is_tidy(path: Path) -> None:
    text = generated(path)
    check_text(text)
    assert max(len(line.split("  #")[0]) for line in methods_of(text)) <= WIDTH
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        compile(text, path.name, "exec")


def methods_of(text: str) -> list[str]:
    body = text[text.index("    def prepare") :]
    return [line for line in body.splitlines() if '"""' not in line]


def test_there_are_models() -> None:
    assert len(MODELS) >= 10
    assert not keyword.iskeyword("match")
