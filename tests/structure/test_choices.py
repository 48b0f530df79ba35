"""What is found about models of many fields, and the method that they get."""

from __future__ import annotations

import pytest

from ebmlang.compiler import pipeline
from ebmlang.compiler.choose import Plan
from ebmlang.compiler.explanation import explain
from ebmlang.compiler.query import Query
from ebmlang.compiler.source import Source
from tests.structure.choice_cases import CASES, Case


def plan_of(case: Case) -> Plan:
    checked = pipeline.check_source(Source("case", case.text))
    assert not checked.failed, [str(d.diagnostic) for d in checked.diagnostics]
    model = checked.models[-1]
    sought = case.sought or tuple(v.name for v in model.variables if v.role == "latent")
    return pipeline.plan_for(pipeline.graph_of(model), Query(sought))


@pytest.mark.parametrize("case", CASES, ids=[c.name for c in CASES])
def test_findings_and_method(case: Case) -> None:
    plan = plan_of(case)
    structure = plan.structure
    said = structure.properties() | {
        f"{f.property} if {', '.join(o.says for o in f.obligations)}"
        for f in structure.findings
        if f.obligations
    }
    free = {f.property for f in structure.findings if not f.obligations}
    missing = [p for p in case.found if p not in (said if " if " in p else free)]
    assert not missing, explain(plan)
    assert not structure.properties() & set(case.absent), explain(plan)
    assert plan.method is not None, explain(plan)
    assert plan.method.name == case.method, explain(plan)


@pytest.mark.parametrize("case", CASES, ids=[c.name for c in CASES])
def test_text_fits_the_page(case: Case) -> None:
    assert max(map(len, explain(plan_of(case)).splitlines())) <= 78
