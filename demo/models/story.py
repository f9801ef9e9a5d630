"""The story of one model: raw data in, a first version live, a second one rolled out under load, a faulty one stopped.

It works on a copy of the project's definitions, since the fault edits one, with a state folder of its own. The clock is the
data's: a version is trained on what was known at its time, and the online store stands there.
"""

from __future__ import annotations

import json
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from demo import facts
from demo.models.case import RATE, Body
from demo.models.guard import nothing_left
from demo.models.tale import Tale
from demo.narration import Narrator
from demo.stage import UnexpectedEnding, fresh_folder, make_release, roll_out
from demo.traffic import Traffic
from tidegate.adapters.files.project_file import load_project
from tidegate.apps.deliveries import open_delivery
from tidegate.apps.platform import Platform
from tidegate.domain.project import Project
from tidegate.ports.delivery import DONE, ROLLED_BACK, RolloutView

FACTS = "demo.json"
ANSWERS = 100  # requests whose answers are looked into


def copied(folder: Path) -> Project:
    """The copy of the project that a story in `folder` is about."""
    return replace(load_project(folder / "project"), state=folder / "state")


class Story:
    """One run in `folder`, which takes the copy, the raw logs, the facts and the platform's state."""

    def __init__(self, tale: Tale, folder: Path, narrator: Narrator) -> None:
        self.tale, self.case, self.folder, self.narrator = tale, tale.case, folder, narrator
        self.model = self.case.model
        self.project = copied(folder)
        self.platform = Platform(self.project, progress=narrator.doing)
        self.url = f"http://127.0.0.1:{self.project.local.gateway_port}/models/{self.model}/predict"
        self.traffic = Traffic(folder, self.url, RATE)
        self.bodies: list[Body] = []
        self.first = self.second = ""
        self.facts: dict[str, Any] = {"model": self.model, "rollouts": []}

    def run(self) -> None:
        chapters: list[tuple[str, Callable[[list[str]], None]]] = [
            (f"{self.tale.raw}, and every row accounted for", self.ingest),
            *([("One definition of features, for training and for serving", self.features)] if self.case.stored else []),
            ("A first version beside its baselines, and live", self.first_version),
            ("A second version is rolled out under load", self.second_version),
            (self.tale.asked, self.answers),
            (f"A faulty candidate: {self.tale.fault}", self.faulty),
            ("A prediction again, to the bit", self.replay),
        ]
        for title, chapter in chapters:
            with self.narrator.chapter(title) as outcome:
                chapter(outcome)

    def ingest(self, outcome: list[str]) -> None:
        self.facts["ingest"] = []
        for report in self.platform.ingest_all(self.model):
            counts = dict(report.counts)
            _require(report.rows_in == sum(counts.values()), f"{report.rows_in} rows of {report.dataset} in, {counts} out")
            self.facts["ingest"].append({"dataset": report.dataset, "rows_in": report.rows_in, "counts": counts})
            told = ", ".join(f"{count:,} {kind}" for kind, count in counts.items())
            outcome.append(f"{report.rows_in:,} rows in: {told}.")

    def features(self, outcome: list[str]) -> None:
        self.platform.build_features(self.model)
        self.platform.apply_features(self.model)
        moment = _moment(self.case.times[0])
        entities, contract = self.platform.materialize(self.model, moment), self.platform.contract(self.model)
        numbers, texts = len(contract.stored_numbers), len(contract.stored_texts)
        self.facts["features"] = {"numbers": numbers, "texts": texts, "views": len(contract.stored), "entities": entities}
        outcome.append(
            f"{numbers} numbers and {texts} texts in {len(contract.stored)} views of {entities:,} keys "
            f"({', '.join(contract.key_names)}), online as of {moment:%d %B %Y}."
        )

    def first_version(self, outcome: list[str]) -> None:
        self.first = self._release(self.case.times[0], outcome, told=True)
        self._rollout(self.first, "the first", DONE, outcome)

    def second_version(self, outcome: list[str]) -> None:
        moment = self.case.times[1]
        if self.case.stored:
            self.platform.materialize(self.model, _moment(moment))
        self.bodies = list(self.case.bodies(self.folder / "state/data", moment))
        self.traffic.send(self.bodies)
        self.second = self._release(moment, outcome)
        self._load("second")
        ended = self._rollout(self.second, "the second", DONE, outcome)
        verdicts = {gate["gate"]: gate["verdict"] for gate in ended.gates}
        _require(set(verdicts.values()) == {"PASS"}, f"the gates of {self.second} say {verdicts}")
        self._under_load("second", {self.first, self.second}, outcome)

    def answers(self, outcome: list[str]) -> None:
        told, self.facts["answers"] = self.tale.answers([self._ask(body) for body in self.bodies[:ANSWERS]])
        outcome.append(told)

    def faulty(self, outcome: list[str]) -> None:
        self.traffic.stop()  # no part of the story while a version is trained
        self.case.fault(self.folder / "project")
        self.platform = Platform(copied(self.folder), progress=self.narrator.doing)
        if self.case.served:
            candidate = self.platform.build_release(self.model, self.platform.release(self.second).version).id
            outcome.append(f"The second version in another release, {candidate}.")
        else:
            self.platform.ingest_all(self.model)
            candidate = self._release(self.case.times[1], outcome)
        self._load("fault")
        ended = self._rollout(candidate, self.tale.fault, ROLLED_BACK, outcome)
        failed = [gate["gate"] for gate in ended.gates if gate["verdict"] == "FAIL"]
        _require(
            bool(set(failed) & set(self.case.stopped_by)),
            f"the gates that failed {candidate} are {failed}, awaited was one of {', '.join(self.case.stopped_by)}",
        )
        self._under_load("fault", {self.second}, outcome)

    def replay(self, outcome: list[str]) -> None:
        self.traffic.stop()
        requests = [each for each in facts.read_requests(self.traffic.log) if each["phase"] == "second"]
        self.facts["replays"] = []
        for release, request in facts.last_answers(requests).items():
            result = self.platform.replay(request).result
            _require(result.identical, result.describe())
            self.facts["replays"].append({"release": release, "request": request, "identical": result.identical})
        outcome.append(f"{result.describe()}.")

    def count(self) -> dict[str, Any]:
        """The facts, counted from the raw logs and written to demo.json."""
        requests = facts.read_requests(self.traffic.log)
        verification = self.platform.ledger.verify()
        _require(verification.ok, f"the ledger: {verification.problem}")
        self.facts |= {
            "chapters": self.narrator.chapters,
            "requests": facts.request_facts(requests),
            "latency": facts.latency_facts(requests),
            "ledger": {"entries": verification.entries, "verified": verification.ok, "head": verification.head},
        }
        (self.folder / FACTS).write_text(json.dumps(self.facts, indent=2, allow_nan=False))
        return self.facts

    def _release(self, until: str, outcome: list[str], told: bool = False) -> str:
        manifest, sentence = make_release(self.platform, self.model, _moment(until))
        summary = self.platform.training_output(self.model, manifest.version).summary
        outcome.append(sentence)
        if told:
            outcome.append(self.tale.figures(summary))
            self.facts["figures"] = {"forecasts": summary["forecasts"], "baselines": list(summary["baselines"])}
        return manifest.id

    def _rollout(self, release: str, label: str, ending: str, outcome: list[str]) -> RolloutView:
        delivery = open_delivery(self.platform, "local")
        ended, told = roll_out(delivery, self.model, release, label, ending, self.narrator.doing)
        gates = {gate["gate"]: gate["verdict"] for gate in ended.gates}
        self.facts["rollouts"].append(
            {"release": release, "label": label, "status": ended.status, "reason": ended.reason, "gates": gates}
        )
        outcome.append(told)
        return ended

    def _load(self, phase: str) -> None:
        """From now on."""
        self.traffic.phase(phase)
        self.traffic.start()

    def _under_load(self, phase: str, releases: set[str], outcome: list[str]) -> None:
        """Every request of the phase so far has an answer, of one of the releases, and whole."""
        self.traffic.check()
        mine = [each for each in facts.read_requests(self.traffic.log) if each["phase"] == phase]
        counted = facts.request_facts(mine)
        _require(counted["sent"] > 100, f"only {counted['sent']} requests were answered")
        _require(not counted["lost"] and not counted["mixed"], f"{counted['lost']} requests lost, {counted['mixed']} mixed")
        _require(set(counted["by_status"]) == {"200"}, f"statuses {counted['by_status']}")
        _require(set(counted["by_release"]) == releases, f"answered by {counted['by_release']}, awaited {releases}")
        by_release = ", ".join(f"{count:,} by {release}" for release, count in counted["by_release"].items())
        outcome.append(f"{counted['sent']:,} requests meanwhile, 0 lost, 0 mixed: {by_release}.")

    def _ask(self, body: Body) -> Mapping[str, Any]:
        request = urllib.request.Request(self.url, json.dumps(body).encode(), {"content-type": "application/json"})  # noqa: S310
        try:
            with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310 (the gateway on this machine)
                answer: Mapping[str, Any] = json.load(response)
        except OSError as error:
            raise UnexpectedEnding(f"a request to {self.url}: {error}") from error
        return answer


def tell(tale: Tale, folder: Path, narrator: Narrator | None = None, keep: bool = False) -> dict[str, Any]:
    """Run the story and leave demo.json in `folder`; returns the facts, raises UnexpectedEnding where it ends otherwise.

    With `keep` the platform is left running. Whatever happens, the load ends and (without `keep`) so does every process.
    """
    narrator = narrator or Narrator()
    folder = folder.resolve()
    fresh_folder(folder, lambda: copied(folder))
    tale.case.copy(folder / "project")
    begun = time.monotonic()
    narrator.say(tale.about)
    with nothing_left(folder, keep):
        story = Story(tale, folder, narrator)
        try:
            story.platform.up()  # first, so that a taken port is said now and not when the first release is ready
            story.run()
            told = story.count()
        finally:
            story.traffic.stop()
    narrator.say(f"\n{_summary(told)}\n\ndone in {time.monotonic() - begun:.0f} s; facts are in {folder / FACTS}")
    if keep:
        narrator.say(f"it is left running; TIDEGATE_STATE={folder / 'state'} tidegate -C {folder / 'project'} down ends it")
    return told


def _summary(told: Mapping[str, Any]) -> str:
    requests, rollouts = told["requests"], Counter(each["status"] for each in told["rollouts"])
    gates = Counter(verdict for each in told["rollouts"] for verdict in each["gates"].values())
    rows = (
        ("rows in", f"{sum(each['rows_in'] for each in told['ingest']):,}, every one accounted for"),
        ("rollouts", ", ".join(f"{count} {status.replace('_', ' ').lower()}" for status, count in rollouts.items())),
        ("verdicts", ", ".join(f"{count} {verdict}" for verdict, count in gates.items())),
        ("requests", f"{requests['sent']:,} sent, {requests['lost']} lost, {requests['mixed']} mixed"),
        ("replays", f"{len(told['replays'])}, each identical to the bit"),
        ("ledger", f"{told['ledger']['entries']} entries, verified"),
    )
    return "\n".join(f"{name:>10}  {value}" for name, value in rows)


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise UnexpectedEnding(otherwise)
