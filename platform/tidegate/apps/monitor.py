"""The monitor of a cluster, put together: `tidegate monitor`.

Again and again it compares what the live release of each model sees with what it was trained on. It shows the verdict to
Prometheus and reports it to the gate service, which records it, and asks for retraining where the world has moved. Its own
process: what it computes must not keep a rollout waiting.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tidegate.apps import wiring
from tidegate.domain.actor import Actor
from tidegate.domain.errors import TidegateError
from tidegate.domain.project import Project
from tidegate.domain.release import ReleaseManifest
from tidegate.domain.verdict import Verdict, to_json
from tidegate.files.layout import StateFolder
from tidegate.files.release_folder import read_manifest
from tidegate.ports.inference_records import InferenceRecords, Selection
from tidegate.ports.retraining import Report, Reports

if TYPE_CHECKING:
    from tidegate.adapters.http.monitor import Looks
    from tidegate.gates.watch import WatchResult

logger = logging.getLogger("tidegate.monitor")
ACTOR, WATCH = Actor("monitor"), "watch"
SAMPLES = {Verdict.PASS: 1, Verdict.FAIL: 0, Verdict.ERROR: -1}
MISSED = 3  # looks that a monitor may miss and still be ready
AGAIN_SECONDS = 10.0  # until the next look where something was away: when all is installed at once, Redis may come later


@dataclass(frozen=True)
class MonitorSettings:
    """`records` is the inference log, where reports go too; `store` the artifact store with the releases."""

    records: str
    store: str
    every_seconds: float = 300.0
    host: str = "127.0.0.1"
    port: int = 8080


def serve_monitor(project: Project, settings: MonitorSettings) -> None:
    """Watch until SIGTERM."""
    from tidegate.adapters.http.monitor import Looks, monitor_app
    from tidegate.adapters.http.server import serve
    from tidegate.apps.gates import admission

    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s", force=True)
    logging.getLogger("tidegate").setLevel(logging.INFO)
    store = wiring.artifacts(settings.store)

    def release(digest: str) -> tuple[ReleaseManifest, Path]:
        StateFolder(project.state).releases.mkdir(parents=True, exist_ok=True)
        folder = store.fetch_release(digest, StateFolder(project.state).releases)
        return read_manifest(folder), folder

    monitor = Monitor(
        {model: wiring.cluster_records(settings.records, model) for model in project.models},
        release,
        wiring.retraining_queue(settings.records),
        Looks(),
        settings.every_seconds,
        admit=admission(project),
    )
    logger.info("watching %s every %g s", ", ".join(project.models), settings.every_seconds)
    monitor.start()
    try:
        app = monitor_app(monitor.looks, monitor.problem)
        serve(app, settings.host, settings.port)
    finally:
        monitor.stop()


@dataclass
class Monitor:
    """`records` of each model; `releases` gives manifest and folder of a digest."""

    records: dict[str, InferenceRecords]
    releases: Callable[[str], tuple[ReleaseManifest, Path]]
    reports: Reports
    looks: Looks
    every_seconds: float
    _stop: threading.Event = field(default_factory=threading.Event)
    admit: Callable[[Path], None] | None = None
    _windows: dict[str, Any] = field(default_factory=dict)
    _said: dict[tuple[str, str], str] = field(default_factory=dict)
    _problems: dict[str, str] = field(default_factory=dict)

    def start(self) -> None:
        threading.Thread(target=self._run, name="monitor", daemon=True).start()

    def stop(self) -> None:
        self._stop.set()

    def problem(self) -> str:
        limit = time.time() - MISSED * self.every_seconds
        late = [model for model in self.records if self.looks.at(model) < limit]
        return "; ".join(self._problems.get(model) or f"model {model} was not looked at yet" for model in late)

    def look(self, model: str) -> None:
        """One look at the live release: the one that answered a client last. Raises what keeps it from seeing."""
        from tidegate.adapters.http.monitor import Look
        from tidegate.gates.watch import watch

        latest = next(self.records[model].read(Selection(shadow=False), newest_first=True), None)
        if latest is None:
            self.looks.saw(model, Look())
            return
        manifest, folder = self.releases(latest.release)
        results = watch(manifest, folder, self.records[model], wiring.drift_meter(), memory=self._windows, admit=self.admit)
        for found in results:
            self._report(manifest, found)
        newest = results[-1]
        drifted = newest.result.evidence.numbers.get("drifted") or 0
        self.looks.saw(model, Look(manifest.id, newest.window, SAMPLES.get(newest.result.verdict), int(drifted)))

    def _report(self, manifest: ReleaseManifest, found: WatchResult) -> None:
        """A verdict that is not the one said before of that release and window."""
        about, verdict = (manifest.id, found.window), str(found.result.verdict)
        if found.result.verdict not in SAMPLES or self._said.get(about) == verdict:
            return
        body = {**to_json(found.result), "window": found.window, "retrain": found.retrain, "message": found.result.describe()}
        self.reports.report(Report(WATCH, manifest.id, body, ACTOR))
        self._said[about] = verdict
        logger.info("%s: %s", found.result.describe(), found.advice)

    def attempt(self, model: str) -> float:
        """One look; what keeps it from seeing is said and kept. Returns in how many seconds to look again."""
        try:
            self.look(model)
        except TidegateError as error:
            if self._problems.get(model) != str(error):
                logger.warning("%s", error)
            self._problems[model] = str(error)
            return min(AGAIN_SECONDS, self.every_seconds)
        except Exception:
            logger.exception("watching model %s: a defect", model)
            self._problems[model] = f"watching model {model} failed, see the log"
        else:
            self._problems[model] = ""
        return self.every_seconds

    def _run(self) -> None:
        due = dict.fromkeys(self.records, 0.0)
        while True:
            for model, at in due.items():
                if at <= time.monotonic():
                    due[model] = self.attempt(model) + time.monotonic()
            pause = min((at - time.monotonic() for at in due.values()), default=self.every_seconds)
            if self._stop.wait(max(0.0, pause)):
                return
