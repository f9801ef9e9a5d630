"""Every test sees the same environment: none of the caller's settings, no vendor's telemetry, no colour."""

from __future__ import annotations

import os
from collections.abc import Generator
from typing import Any

import pytest
from hypothesis import settings

from release_signing import TRUSTED

SETTINGS = ("TIDEGATE_", "MLFLOW_", "FEAST_", "BENTOML_", "KFP_")
LONGEST = (  # files, the longest first: a process that runs tests begins with one of them
    "test_demo.py",
    "test_supply_chain.py",
    "test_own_project.py",
    "test_bring_your_own_model.py",
    "test_new_project.py",
    "test_rules.py",
    "test_hangs.py",
    "test_any_traffic.py",
)
KEPT = "TIDEGATE_CACHE"  # says where the programs and images of a test cluster lie, and nothing of what is tested
for name in [name for name in os.environ if name.startswith(SETTINGS) and name != KEPT]:
    del os.environ[name]
os.environ.update(
    BENTOML_DO_NOT_TRACK="True",
    DO_NOT_TRACK="1",
    FEAST_USAGE="False",
    MLFLOW_DISABLE_TELEMETRY="true",
    NO_COLOR="1",
    MPLBACKEND="Agg",
    TIDEGATE_TRUSTED_KEYS=TRUSTED,  # releases that tests build are signed by it
)

settings.register_profile("tidegate", deadline=None)  # no test is about time: a busy machine is slow
settings.load_profile("tidegate")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--no-skips", action="store_true", help="a test that is skipped has failed: it should have run")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, Any]:
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and item.config.getoption("--no-skips"):
        report.outcome = "failed"
        report.longrepr = f"it was skipped, and should have run: {report.longrepr[2] if report.longrepr else ''}"
    return report


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest comes first: the other files' tests run beside it."""
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.name, len(places)))
