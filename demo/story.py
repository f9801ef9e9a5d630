"""The story: ten chapters on real data under real load, each done through the platform as an engineer would do it.

The clock of the story is the data's own: at each moment only what was invoiced before it is used to train, and the online
store holds what was known then. Everything goes below one folder, which a new run replaces after stopping what runs there.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from demo.christmas import Comparison, compare
from demo.collect import Cast, collect
from demo.faults.pence import export_in_pence
from demo.narration import Narrator
from demo.stage import fresh_folder, make_release, roll_out
from demo.traffic import Traffic
from tidegate.apps.deliveries import open_delivery
from tidegate.apps.platform import Platform
from tidegate.domain.project import Project
from tidegate.domain.release import ReleaseManifest

MODEL = "demand"
DATASET = "online_retail"
# Mondays: forecasts are asked for as a planner's week begins
JUNE = datetime(2011, 6, 6, tzinfo=UTC)  # v1 is trained and served
SEPTEMBER = datetime(2011, 9, 5, tzinfo=UTC)  # v2
CHRISTMAS = datetime(2011, 11, 14, tzinfo=UTC)  # the weeks in which the demand leaves what v2 knows
RATE = 50.0  # requests a second


class Story:
    """One run; `folder` takes the report, the raw logs and the platform's state."""

    def __init__(self, project: Project, folder: Path, narrator: Narrator) -> None:
        self.folder = folder
        self.narrator = narrator
        self.project = replace(project, state=folder / "state")
        self.platform = Platform(self.project, progress=narrator.doing)
        self.delivery = open_delivery(self.platform, "local")
        self.traffic = Traffic(folder, f"http://127.0.0.1:{project.local.gateway_port}/predict", RATE)
        self.cast = Cast(MODEL)
        self.comparison: Comparison | None = None

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        self.traffic.phase(name)
        yield
        self.traffic.check()

    def run(self) -> None:
        for title, chapter in (
            ("Two years of invoice lines come in", self.ingest),
            ("One definition of features, for training and for serving", self.features),
            ("A first model passes the offline gates", self.first_model),
            ("Its release goes live as blue", self.first_release),
            ("A newer model is rolled out under load", self.second_release),
            ("Prices in pence instead of pounds", self.pence),
            ("A fault that only live traffic shows", self.live_fault),
            ("Christmas: the data drift", self.christmas),
            ("Retrained, and live", self.retrained),
        ):
            with self.narrator.chapter(title) as outcome:
                chapter(outcome)

    def ingest(self, outcome: list[str]) -> None:
        report = self.platform.ingest(DATASET)
        counts = ", ".join(f"{count:,} {kind}" for kind, count in report.counts.items())
        outcome.append(f"{report.rows_in:,} rows in, every one accounted for: {counts}.")

    def features(self, outcome: list[str]) -> None:
        self.platform.build_features(MODEL)
        self.platform.apply_features(MODEL)
        contract = self.platform.contract(MODEL)
        entities = self.platform.materialize(MODEL, JUNE)
        outcome.append(f"{len(contract.vector)} features of {entities} SKUs, online as of {JUNE:%d %B %Y}.")

    def first_model(self, outcome: list[str]) -> None:
        self.cast.v1 = self._release(JUNE, outcome)

    def first_release(self, outcome: list[str]) -> None:
        self._rollout(self.cast.v1, "v1, the first", "DONE", outcome)
        self._ask_at(JUNE)
        self.traffic.start()

    def second_release(self, outcome: list[str]) -> None:
        with self.phase("v2"):
            self._ask_at(SEPTEMBER)
            self.cast.v2 = self._release(SEPTEMBER, outcome)
            self._rollout(self.cast.v2, "v2, trained on three months more", "DONE", outcome)

    def pence(self, outcome: list[str]) -> None:
        with self.phase("pence"):
            sources = export_in_pence(self.project.datasets[DATASET].sources, self.folder / "exports")
            self.narrator.doing("the export with prices in pence is ingested and trained on")
            self.cast.pence = self._release(SEPTEMBER, outcome, sources)
            self._rollout(self.cast.pence, "prices in pence", "ROLLED_BACK", outcome)
            shutil.rmtree(self.folder / "exports")

    def live_fault(self, outcome: list[str]) -> None:
        with self.phase("live fault"):
            serving = self.folder / "serving-with-fault"
            shutil.copytree(self.project.models[MODEL].its_serving(), serving, ignore=shutil.ignore_patterns("__pycache__"))
            shutil.copyfile(Path(__file__).with_name("faults") / "leaking_audit.py", serving / "middleware.py")
            self.cast.fault = self.platform.build_release(MODEL, self.cast.v2.version, serving=serving).id
            self._rollout(self.cast.fault, "an audit trail that leaks", "ROLLED_BACK", outcome)

    def christmas(self, outcome: list[str]) -> None:
        with self.phase("christmas"):
            self._ask_at(CHRISTMAS)
            repaired = self.folder / "serving-repaired"
            shutil.copytree(self.project.models[MODEL].its_serving(), repaired, ignore=shutil.ignore_patterns("__pycache__"))
            (repaired / "README.md").write_text("The audit trail was taken out again.\n")
            self.cast.repaired = self.platform.build_release(MODEL, self.cast.v2.version, serving=repaired).id
            self._rollout(self.cast.repaired, "v2 with the audit trail repaired", "FROZEN", outcome)

    def retrained(self, outcome: list[str]) -> None:
        with self.phase("retrained"):
            self.cast.retrained = self._release(CHRISTMAS, outcome)
            self._rollout(self.cast.retrained, "retrained on the weeks before Christmas", "DONE", outcome)
        end = self.platform.data(MODEL).until()
        origins = [CHRISTMAS + timedelta(days=days) for days in range(0, 14, 3)]
        self.narrator.doing("both models on the same weeks")
        comparison = compare(self.platform, MODEL, self.cast.v2.id, self.cast.retrained.id, origins, end)
        before, after = (comparison.errors(name)["wape"] for name in ("before", "after"))
        change = comparison.change()
        told = "less" if change["high"] < 1 else "more" if change["low"] > 1 else "no difference these weeks can tell"
        outcome.append(
            f"On the weeks from {origins[0]:%d %B} on, WAPE before retraining {before:.3f}, after {after:.3f}: {told} "
            f"(ratio {change['ratio']:.3f}, 95 % of draws of SKUs from {change['low']:.3f} to {change['high']:.3f})."
        )
        self.comparison = comparison

    def _ask_at(self, moment: datetime) -> None:
        """The story's clock moves to `moment`: what was known then is online, and the load asks for every SKU of it."""
        self.platform.materialize(MODEL, moment)
        self.traffic.ask_for(self.platform.known_entities(MODEL, moment))

    def _release(self, until: datetime, outcome: list[str], sources: list[Path] | None = None) -> ReleaseManifest:
        manifest, told = make_release(self.platform, MODEL, until, {DATASET: sources} if sources else None)
        outcome.append(told)
        return manifest

    def _rollout(self, release: ReleaseManifest | str, label: str, ending: str, outcome: list[str]) -> None:
        reference = release if isinstance(release, str) else release.id
        self.cast.labels[reference] = label
        outcome.append(roll_out(self.delivery, MODEL, reference, label, ending, self.narrator.doing)[1])


def tell(project: Project, folder: Path, narrator: Narrator | None = None, keep: bool = False) -> dict[str, Any]:
    """Run the story and leave `report.html` and `demo.json` in `folder`; returns the facts.

    With `keep` the platform is left running. Whatever happens, the load ends and (without `keep`) so does every process.
    """
    narrator = narrator or Narrator()
    folder = folder.resolve()
    fresh_folder(folder, lambda: replace(project, state=folder / "state"))
    story = Story(project, folder, narrator)
    begun = time.monotonic()
    try:
        story.platform.up()  # first, so that a taken port is said now and not when the first release is ready
        story.run()
        with narrator.chapter("The report, counted from the logs") as outcome:
            story.traffic.stop()
            assert story.comparison is not None  # noqa: S101 - run() made it
            facts = collect(story.platform, folder, story.cast, story.comparison, narrator.chapters)
            counted = facts["requests"]
            outcome.append(
                f"{counted['sent']:,} requests sent, {counted['lost']} lost, {counted['mixed']} mixed; ledger of "
                f"{facts['ledger']['entries']} entries {'verified' if facts['ledger']['verified'] else 'NOT verified'}."
            )
    finally:
        story.traffic.stop()
        if not keep:
            story.platform.down()
    narrator.say(f"\ndone in {time.monotonic() - begun:.0f} s; look at {folder / 'report.html'}")
    return facts
