"""The four models of the supply chain, live in one project at once: each from its raw data to a second version under load and
past a faulty one, while nothing changes of the others."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from demo.models.anomaly import ANOMALY
from demo.models.case import Case
from demo.models.lead_time import LEAD_TIME
from demo.models.returns import RETURNS
from e2e.models.demand import DEMAND
from e2e.models.project import Project
from e2e.models.way import goes_live, goes_on

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(1500)]  # alone, one of them takes all models live
CASES = (DEMAND, LEAD_TIME, ANOMALY, RETURNS)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    opened = Project.of(CASES, tmp_path_factory.mktemp("project"))
    try:
        yield opened
    finally:
        opened.run("down")


@pytest.fixture(params=CASES, ids=[case.model for case in CASES])
def case(request: pytest.FixtureRequest) -> Case:
    found: Case = request.param
    return found


def test_from_raw_data_to_a_first_version_that_is_live(case: Case, project: Project) -> None:
    goes_live(project, case)


def test_a_second_version_goes_live_under_load_and_a_faulty_one_is_stopped_and_nothing_changes_of_the_others(
    case: Case, project: Project
) -> None:
    goes_on(project, case)
