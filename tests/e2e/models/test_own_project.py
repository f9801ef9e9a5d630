"""A model of a project of its own goes the way of the supply chain's."""

from __future__ import annotations

from pathlib import Path

import pytest

from e2e.models.employment import EMPLOYMENT
from e2e.models.project import Project
from e2e.models.way import goes_live, goes_on

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(1500)]  # five minutes, with room for a busy machine


def test_from_raw_data_to_a_second_version_under_load_and_past_a_faulty_one(tmp_path: Path) -> None:
    project = Project.of((EMPLOYMENT,), tmp_path)
    try:
        goes_live(project, EMPLOYMENT)
        goes_on(project, EMPLOYMENT)
    finally:
        project.run("down")
