"""Each model on the one engine: from its raw data to a second version live under load, and a faulty one that is stopped."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from demo import facts
from demo.models.anomaly import ANOMALY
from demo.models.case import RATE, Body, Case
from demo.models.lead_time import LEAD_TIME
from demo.models.returns import RETURNS
from demo.traffic import Traffic
from e2e.models.employment import EMPLOYMENT
from story import ROOT, TIDEGATE, on_free_ports

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
CASES = (LEAD_TIME, EMPLOYMENT, ANOMALY, RETURNS)
Requests = list[facts.JsonObject]


@dataclass
class Project:
    """A copy of a model's project, and its command line."""

    folder: Path
    gateway: str

    def run(self, *arguments: str, code: int = 0) -> Any:
        """The JSON that `tidegate ARGUMENTS --json` prints; its exit code must be `code`."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("TIDEGATE_", "MLFLOW_"))}
        environment = {**kept, "PYTHONPATH": str(ROOT / "platform"), "NO_COLOR": "1", "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            [TIDEGATE, *arguments, "--json"],
            cwd=self.folder,
            env=environment,
            text=True,
            capture_output=True,
            timeout=900,
            check=False,
        )
        assert done.returncode == code, f"{arguments}: {done.returncode}\n{done.stdout[-3000:]}\n{done.stderr[-5000:]}"
        assert "Traceback" not in done.stderr, done.stderr
        return json.loads(done.stdout) if done.stdout else done.stderr

    def release(self, model: str, until: str) -> str:
        """A version trained on what is known at `until`, promoted, as a release."""
        version = self.run("train", model, "--until", until)["version"]
        assert self.run("promote", model, version)["passed"]
        return str(self.run("release", "build", model, version)["id"])

    def rollout(self, model: str, release: str, code: int = 0) -> Any:
        """The rollout of the release, ended."""
        self.run("rollout", model, "--release", release, code=code)
        return self.run("rollout", "status", model)["rollout"]


@pytest.fixture(params=CASES, ids=[case.model for case in CASES])
def case(request: pytest.FixtureRequest) -> Case:
    found: Case = request.param
    return found


@pytest.fixture
def project(case: Case, tmp_path: Path) -> Iterator[Project]:
    case.copy(tmp_path)
    opened = Project(tmp_path, f"http://127.0.0.1:{on_free_ports(tmp_path)['gatewayPort']}")
    try:
        yield opened
    finally:
        opened.run("down")


def test_from_raw_data_to_a_second_version_and_past_a_faulty_one(case: Case, project: Project) -> None:
    model, (first_time, second_time) = case.model, case.times
    ingest(case, project)

    build(case, project, first_time)
    first = project.release(model, first_time)
    assert project.rollout(model, first)["status"] == "DONE"

    build(case, project, second_time)
    bodies = case.bodies(project.folder / "build/state/data", second_time)
    with load(project, model, bodies) as requests:
        second = project.release(model, second_time)
        done = project.rollout(model, second)
    assert done["status"] == "DONE", done
    accounted(requests, {first, second})
    for release, request in facts.last_answers(requests).items():
        replayed = project.run("replay", request)
        assert replayed["result"]["identical"], (release, replayed["result"])

    case.fault(project.folder)
    ingest(case, project)
    with load(project, model, bodies) as requests:
        stopped = project.rollout(model, project.release(model, second_time), code=5)
    assert stopped["status"] == "ROLLED_BACK", stopped
    assert any(gate in stopped["reason"] for gate in case.stopped_by), stopped["reason"]
    accounted(requests, {second})


@contextmanager
def load(project: Project, model: str, bodies: Sequence[Body]) -> Iterator[Requests]:
    """The bodies are sent at a steady rate while the block runs; the list has every request once it has ended."""
    requests: Requests = []
    with TemporaryDirectory(dir=project.folder) as folder:
        traffic = Traffic(Path(folder), f"{project.gateway}/models/{model}/predict", RATE)
        traffic.send(bodies)
        traffic.start()
        try:
            yield requests
            traffic.check()
        finally:
            traffic.stop()
        requests += facts.read_requests(traffic.log)


def ingest(case: Case, project: Project) -> None:
    report = project.run("ingest", case.model)
    reports = report if isinstance(report, list) else [report]
    for each in reports:
        assert each["rows_in"] == sum(each["counts"].values()), each


def build(case: Case, project: Project, moment: str) -> None:
    """What was known at `moment` is in the store."""
    if case.stored:
        project.run("features", "build", case.model)
        project.run("features", "apply", case.model)
        project.run("features", "materialize", case.model, "--until", moment)


def accounted(requests: Requests, releases: set[str]) -> None:
    counted = facts.request_facts(requests)
    assert counted["sent"] > 100
    assert (counted["lost"], counted["mixed"]) == (0, 0), [r for r in requests if r["outcome"] == "lost" or r["mixed"]][:3]
    assert set(counted["by_status"]) == {"200"}, [r for r in requests if r["status"] != 200][:3]
    assert set(counted["by_release"]) == releases
    assert sum(counted["by_release"].values()) == counted["sent"]
