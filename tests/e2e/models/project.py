"""A project of one or several models in a folder of its own, its command line, and its models taken live."""

from __future__ import annotations

import io
import json
import os
import subprocess
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest import mock

from demo import facts
from demo.models.case import RATE, Body, Case, copy_together, edit
from demo.traffic import Traffic
from story import ROOT, TIDEGATE, on_free_ports, plain_environment
from tidegate.adapters.files.project_file import load_project
from tidegate.apps.platform import Platform
from tidegate.cli.main import run as run_command

Requests = list[facts.JsonObject]
RETENTION = "\nretention: {releases: 1, outputs: 1, versions: 1, exports: 1}\n"
# run in the test's own process, which has imported MLflow and Feast before: each new one does so for seconds
HERE = ("ingest", "features", "promote", "release", "status", "registry", "prune", "ledger")
ASKED = "asked-by-hand"  # what requests beside the load are called


@dataclass
class Project:
    """`live` are the releases that went live first, by model."""

    folder: Path
    cases: tuple[Case, ...]
    gateway: str
    live: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, cases: tuple[Case, ...], folder: Path) -> Project:
        """A copy of the project of the cases: made light, judged after a shorter bake, and with little that is kept."""
        copy_together(cases, folder)
        for case in cases:
            monitor = folder / f"monitoring/{case.model}.yaml"
            if "min_seconds: 12" in monitor.read_text():
                edit(monitor, ("min_seconds: 12", "min_seconds: 4"), ("min_requests: 400", "min_requests: 150"))
        file = folder / "tidegate.yaml"
        file.write_text(file.read_text() + RETENTION)
        return cls(folder, cases, f"http://127.0.0.1:{on_free_ports(folder)['gatewayPort']}")

    @property
    def state(self) -> Path:
        return self.folder / "build/state"

    def platform(self) -> Platform:
        return Platform(load_project(self.folder / "tidegate.yaml"))

    def url(self, model: str) -> str:
        return f"{self.gateway}/models/{model}/predict"

    def run(self, *arguments: str, code: int = 0) -> Any:
        """The JSON that `tidegate ARGUMENTS --json` prints; its exit code must be `code`."""
        ran = self._in_process if arguments[0] in HERE or arguments[:2] == ("rollout", "status") else self._as_process
        returned, printed, said = ran(*arguments)
        assert returned == code, f"{arguments}: {returned}\n{printed[-3000:]}\n{said[-5000:]}"
        assert "Traceback" not in said, said
        return json.loads(printed) if printed else said

    def _as_process(self, *arguments: str) -> tuple[int, str, str]:
        environment = {**plain_environment(), "PYTHONPATH": str(ROOT / "platform"), "NO_COLOR": "1", "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            [TIDEGATE, *arguments, "--json"],
            cwd=self.folder,
            env=environment,
            text=True,
            capture_output=True,
            timeout=900,
            check=False,
        )
        return done.returncode, done.stdout, done.stderr

    def _in_process(self, *arguments: str) -> tuple[int, str, str]:
        printed, said = io.StringIO(), io.StringIO()
        with mock.patch.dict(os.environ, plain_environment(), clear=True), redirect_stdout(printed), redirect_stderr(said):
            returned = run_command(["-C", str(self.folder), *arguments, "--json"])
        return returned, printed.getvalue(), said.getvalue()

    def ask(self, model: str, body: Body) -> Mapping[str, Any]:
        headers = {"content-type": "application/json", "x-request-id": ASKED}
        request = urllib.request.Request(self.url(model), json.dumps(body).encode(), headers)  # noqa: S310 (our own gateway)
        with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310
            answer: Mapping[str, Any] = json.load(response)
        return answer

    # --- the steps of a model's way -----------------------------------------------------------------------------------

    def ingest(self, case: Case) -> None:
        report = self.run("ingest", case.model)
        for each in report if isinstance(report, list) else [report]:
            assert each["rows_in"] == sum(each["counts"].values()), each

    def materialize(self, case: Case, moment: str) -> None:
        """What was known at `moment` is in the store."""
        if case.stored:
            self.run("features", "materialize", case.model, "--until", moment)

    def release(self, model: str, until: str) -> str:
        """A version trained on what is known at `until`, promoted, as a release."""
        version = self.run("train", model, "--until", until)["version"]
        assert self.run("promote", model, version)["passed"]
        return str(self.run("release", "build", model, version)["id"])

    def faulty(self, case: Case, second: str) -> str:
        """A release of what is made now that the project has the case's fault."""
        if case.served:
            version = self.platform().release(second).version
            return str(self.run("release", "build", case.model, version)["id"])
        self.ingest(case)
        return self.release(case.model, case.times[1])

    def rollout(self, model: str, release: str, code: int = 0) -> Any:
        """The rollout of the release, ended."""
        self.run("rollout", model, "--release", release, code=code)
        return self.run("rollout", "status", model)["rollout"]

    def first(self, case: Case) -> str:
        """From raw data to a first release that is live, once."""
        if case.model not in self.live:
            self.ingest(case)
            if case.stored:
                self.run("features", "build", case.model)
                self.run("features", "apply", case.model)
            self.materialize(case, case.times[0])
            release = self.release(case.model, case.times[0])
            assert self.rollout(case.model, release)["status"] == "DONE"
            self.live[case.model] = release
        return self.live[case.model]

    def bodies(self, case: Case, moment: str) -> Sequence[Body]:
        return case.bodies(self.state / "data", moment)

    @contextmanager
    def load(self, model: str, bodies: Sequence[Body]) -> Iterator[Requests]:
        """The bodies are sent at a steady rate while the block runs; the list has every request once it has ended."""
        requests: Requests = []
        with TemporaryDirectory(dir=self.folder) as folder:
            traffic = Traffic(Path(folder), self.url(model), RATE)
            traffic.send(bodies)
            traffic.start()
            try:
                yield requests
                traffic.check()
            finally:
                traffic.stop()
            requests += facts.read_requests(traffic.log)


def accounted(requests: Requests, releases: set[str]) -> None:
    """Every request has an answer, whole, by one of the releases."""
    counted = facts.request_facts(requests)
    assert counted["sent"] > 100
    assert (counted["lost"], counted["mixed"]) == (0, 0), [r for r in requests if r["outcome"] == "lost" or r["mixed"]][:3]
    assert set(counted["by_status"]) == {"200"}, [r for r in requests if r["status"] != 200][:3]
    assert set(counted["by_release"]) == releases
    assert sum(counted["by_release"].values()) == counted["sent"]
