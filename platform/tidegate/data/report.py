"""What an ingestion counted, `ingest.json` beside the classes that it wrote."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tidegate.data.dataset import MAX_GAP, QUARANTINE
from tidegate.domain.errors import NotFound
from tidegate.domain.formats import SCHEMA, Format, Unknown, added, document

REPORT = "ingest.json"


@dataclass(frozen=True)
class IngestReport:
    """Counts of one ingestion; `digest` stands for the data: what was taken of the source, and the definition."""

    dataset: str
    digest: str
    rows_in: int
    counts: Mapping[str, int]  # by class, the quarantine last
    reasons: Mapping[str, int]  # of the quarantine
    sources: Mapping[str, str]  # part of the source -> SHA-256 of what was taken of it
    first: str | None  # ISO: times of the rows that are not refused
    last: str | None
    time: str | None  # the column
    grain: float | None  # seconds
    max_gap: float  # seconds
    why: Mapping[str, str] = added(default_factory=dict)

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(name for name in self.counts if name != QUARANTINE)

    def to_json(self) -> dict[str, Any]:
        return dict(document(self))


def _of_version_1(old: dict[str, Any]) -> dict[str, Any]:
    """Version 1 knew one kind of data: rows with a time `at`, whose features are daily."""
    times = {name.partition("_")[0]: value for name, value in old.items() if name.startswith(("first_", "last_"))}
    return {
        **old,
        "dataset": old.get("definition", ""),
        "first": times.get("first"),
        "last": times.get("last"),
        "time": "at",
        "grain": 86400.0,
        "max_gap": MAX_GAP.total_seconds(),
    }


FORMAT = Format("report of an ingestion", Unknown.IGNORED, newest=2, upgrades={1: _of_version_1})


def load_report(folder: Path) -> IngestReport:
    """The report of the ingestion in `folder`, whatever version wrote it; raises NotFound, IntegrityError."""
    path = folder / REPORT
    if not path.is_file():
        raise NotFound(f"no ingested data in {folder}; run 'tidegate ingest' first")
    return FORMAT.convert(FORMAT.parse(path.read_bytes(), str(path)), IngestReport, str(path))


def written(report: IngestReport) -> dict[str, Any]:
    return {SCHEMA: FORMAT.newest, **report.to_json()}
