"""The descriptions by which stories and end-to-end tests take a model its way fit the project's definitions."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.e2e.models.demand import DEMAND
from tests.e2e.models.employment import EMPLOYMENT

from demo.models.anomaly import ANOMALY
from demo.models.case import Case
from demo.models.lead_time import LEAD_TIME
from demo.models.returns import RETURNS
from tidegate.adapters.files.project_file import load_project


@pytest.mark.parametrize("case", [DEMAND, LEAD_TIME, RETURNS, ANOMALY, EMPLOYMENT], ids=lambda case: case.model)
def test_the_copy_is_a_project_and_its_fault_is_an_edit_of_it(case: Case, tmp_path: Path) -> None:
    case.copy(tmp_path)
    before = texts(tmp_path)
    case.fault(tmp_path)
    config = load_project(tmp_path).model(case.model)
    assert bool(config.features) == case.stored
    changed = {name for name, text in texts(tmp_path).items() if before[name] != text}
    assert len(changed) == 1


def texts(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*.py")}
