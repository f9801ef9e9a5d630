"""From the raw data to the online store, as one thing: `tidegate features refresh`.

    ingest <dataset>   what is new of each of the model's datasets
    tables             the feature tables, computed beside those that are there
    definitions        what Feast reads of the repository, registered beside what was
    publish            the tables, where a cluster's gate service fetches them; only where a store is named
    online             the online store, brought to the moment
    check              a sample of its rows against the offline path, value by value

Each step is safe to repeat, so a refresh that was cut off is made good by the next one. Tables and definitions take the place
of the earlier ones together, and only as long as the online store can be brought along: where that fails, the earlier ones are
back. They are published before the online store is written, since what was served has to be found in them. Of two refreshes of
a model, and of two ingestions of a dataset, one waits for the other.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from tidegate.apps import wiring
from tidegate.apps.features import feature_store
from tidegate.domain.errors import Conflict, GateClosed, NotFound, TidegateError
from tidegate.files.durable_files import locked
from tidegate.files.feature_folder import FeatureFolder
from tidegate.files.replaced_folder import put_back, put_in_place

if TYPE_CHECKING:
    from tidegate.apps.project_data import ProjectData
    from tidegate.data.report import IngestReport

DONE, UNCHANGED, SKIPPED, FAILED, NOT_RUN = "done", "unchanged", "skipped", "failed", "not run"
LOCK = ".refresh.lock"


@dataclass(frozen=True)
class Step:
    name: str
    outcome: str  # DONE, UNCHANGED (there was nothing new), SKIPPED (the model has no such thing), FAILED or NOT_RUN
    said: str = ""


@dataclass
class Refreshed:
    """What became of a refresh, step by step. `until` (ISO) is the moment before which the tables look."""

    model: str
    until: str | None = None
    steps: list[Step] = field(default_factory=list)
    error: TidegateError | None = None

    def to_json(self) -> dict[str, object]:
        failed = next((step.name for step in self.steps if step.outcome == FAILED), None)
        return {"model": self.model, "until": self.until, "failed": failed, "steps": self.steps}


def planned(platform: ProjectData, model: str, publish: str | None) -> list[str]:
    """The steps of a refresh of the model, in order."""
    config = platform.project.model(model)
    datasets = config.datasets if _builds(platform, model) else ()
    stored = ["publish"] if publish else []
    return [*(f"ingest {name}" for name in datasets), "tables", "definitions", *stored, "online", "check"]


def refresh(
    platform: ProjectData, model: str, until: datetime | None = None, entities: int = 200, publish: str | None = None
) -> Refreshed:
    """Bring the model's online store to what its raw data say; `until` as `tidegate features build` and `materialize` take it.

    `publish` is the address of an artifact store. What failed is in the result; the steps after it were not run.
    """
    folder = platform.feature_folder(model)
    found = Refreshed(model)
    try:
        with _alone(folder, platform.progress):
            _run(_Steps(platform, folder, found), model, until, entities, publish)
    except TidegateError as error:
        found.error = error
    names = planned(platform, model, publish)
    found.steps += [Step(name, NOT_RUN) for name in names[len(found.steps) :]]
    return found


def _run(steps: _Steps, model: str, until: datetime | None, entities: int, publish: str | None) -> None:
    builds = _builds(steps.platform, model)
    for name in steps.platform.project.model(model).datasets if builds else ():
        steps.ingest(name)
    with ExitStack() as until_online:  # what is put in place stays there when the online store has followed
        if builds:
            fresh = until_online.enter_context(_beside(steps.folder))
            steps.tables(fresh, until)
            steps.definitions(fresh)
            names = [path.name for path in (fresh.tables, fresh.registry, fresh.registry_stored, fresh.earlier_registry)]
            until_online.enter_context(put_in_place(fresh.root, steps.folder.root, names, f"features of {model}"))
        else:
            steps.take("tables", lambda: (SKIPPED, "the repository brings its own"))
            steps.definitions(steps.folder)
        if publish:
            steps.publish(publish)
        steps.online(until)
    steps.check(entities)


def _builds(platform: ProjectData, model: str) -> bool:
    """Whether the model's tables are made of its datasets, and not brought by its repository."""
    config = platform.project.model(model)
    return bool(config.datasets) and config.its_features().tables_definition.is_file()


@contextmanager
def _alone(folder: FeatureFolder, say: Callable[[str], None]) -> Iterator[None]:
    path = folder.root / LOCK
    with ExitStack() as held:
        try:
            held.enter_context(locked(path, wait=False))
        except Conflict:
            say(f"another refresh of {folder.model} is under way; waiting for its end")
            held.enter_context(locked(path))
        put_back(folder.root)
        yield


@contextmanager
def _beside(folder: FeatureFolder) -> Iterator[FeatureFolder]:
    """An empty feature folder of the same model and state, for what is to take the place of the earlier one."""
    fresh = replace(folder, root=folder.root.with_name(f".{folder.model}.next"))
    shutil.rmtree(fresh.root, ignore_errors=True)
    try:
        yield fresh
    finally:
        shutil.rmtree(fresh.root, ignore_errors=True)


@dataclass(frozen=True)
class _Steps:
    """Each step, and what is said of it."""

    platform: ProjectData
    folder: FeatureFolder
    found: Refreshed

    def take(self, name: str, act: Callable[[], tuple[str, str]]) -> None:
        try:
            outcome, said = act()
        except TidegateError as error:
            self.found.steps.append(Step(name, FAILED, str(error)))
            raise
        self.found.steps.append(Step(name, outcome, said))

    def ingest(self, name: str) -> None:
        def act() -> tuple[str, str]:
            before = self._ingested(name)
            report = self.platform.ingest(name)
            counts = ", ".join(f"{count:,} {kind}" for kind, count in report.counts.items())
            if before is not None and before.digest == report.digest:
                return UNCHANGED, f"{report.rows_in:,} rows, none is new: {counts}"
            return DONE, f"{report.rows_in:,} rows, {report.rows_in - (before.rows_in if before else 0):,} more: {counts}"

        self.take(f"ingest {name}", act)

    def _ingested(self, name: str) -> IngestReport | None:
        try:
            return self.platform.ingest_report(name)
        except NotFound:
            return None

    def tables(self, fresh: FeatureFolder, until: datetime | None) -> None:
        from tidegate.data.tables import build_tables

        model, say = self.folder.model, self.platform.progress

        def act() -> tuple[str, str]:
            definition = self.platform.project.model(model).its_features().tables_definition
            report = build_tables(definition, self.platform.data(model), fresh.tables, until, say)
            self.found.until = report.until
            rows = ", ".join(f"{table} {rows:,} rows" for table, rows in report.rows.items())
            return DONE, f"{report.entities:,} entities before {report.until}: {rows}"

        self.take("tables", act)

    def definitions(self, folder: FeatureFolder) -> None:
        store = feature_store(self.platform.project, folder.model, folder)
        self.take("definitions", lambda: (DONE, f"feature services: {', '.join(store.apply())}"))

    def publish(self, store: str) -> None:
        def act() -> tuple[str, str]:
            digest = wiring.artifacts(store).push_tables(self.folder.model, self.folder.tables)
            return DONE, f"tables {digest[:12]} are the current ones of {store}"

        self.take("publish", act)

    def online(self, until: datetime | None) -> None:
        def act() -> tuple[str, str]:
            moment = until or datetime.now(UTC)
            return DONE, f"{self.platform.materialize(self.folder.model, moment):,} entities, at {moment.isoformat()}"

        self.take("online", act)

    def check(self, entities: int) -> None:
        def act() -> tuple[str, str]:
            result = self.platform.check_features(self.folder.model, entities)
            if not result.verdict.opens:
                raise GateClosed(f"{result.describe()}; the online store was brought along, and holds this")
            return DONE, result.evidence.summary

        self.take("check", act)
