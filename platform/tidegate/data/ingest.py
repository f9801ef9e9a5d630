"""Rows of a dataset's source, sorted into the classes of its definition and a quarantine with a reason for each row.

Not one row is lost or counted twice: `rows_in` is the sum over all classes and the quarantine, checked at each run. The output
depends on the rows of the source and on the definition alone, so the same input gives the same files, byte by byte, whether it
was pulled at once or in pieces. It is written beside the target folder and moved into place at the end: a run that fails
leaves the earlier output untouched.

    <class>.parquet           the definition's columns, source, source_row (from 1), one file a class
    quarantine.parquet        source source_row reason original (the row as JSON text)
    ingest.json               counts by class and reason, first and last time, digests
    taken.parquet, taken.json what was taken of the source so far (tidegate.data.taken)
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import polars as pl

from tidegate.data.classes import TIME_GAP, classify, said
from tidegate.data.dataset import QUARANTINE, Dataset
from tidegate.data.report import REPORT, IngestReport, load_report, written
from tidegate.data.taken import Taken, take
from tidegate.domain.digests import digest_of
from tidegate.domain.errors import InvalidInput
from tidegate.files.replaced_folder import replaced_folder
from tidegate.ports.dataset_source import DatasetSource


def ingest(dataset: Dataset, source: DatasetSource, out: Path, progress: Callable[[str], None] | None = None) -> IngestReport:
    """Sort what `source` has into the files of `out`, which is replaced as a whole; raises InvalidInput, Unavailable."""
    what = f"ingest '{dataset.name}'"
    say = progress or (lambda _: None)
    taken, pulled = take(dataset, source, out)
    for rows in pulled.rows:
        say(f"read {rows.part}, {len(rows.raw):,} new rows")
    if taken is None:
        say("nothing is new")
        return load_report(out)
    narrow = sorted({name for names in taken.narrow.values() for name in names})
    classes = classify(dataset, taken.rows, narrow)
    report = _report(dataset, taken, classes)
    _require_rows(what, report)
    if sum(report.counts.values()) != report.rows_in:
        raise AssertionError(f"{what} lost rows: {report.rows_in} in, {report.counts}")
    with replaced_folder(out, what) as folder:
        for name, frame in classes.items():
            frame.write_parquet(folder / f"{name}.parquet", compression="zstd")
        (folder / REPORT).write_text(json.dumps(written(report), indent=2) + "\n", encoding="utf-8")
        taken.write(dataset, folder)
    return report


def _require_rows(what: str, report: IngestReport) -> None:
    if any(report.counts[name] for name in report.classes):
        return
    parts, reasons = ", ".join(report.sources), ", ".join(f"{count:,} {reason}" for reason, count in report.reasons.items())
    found = (
        f"of {report.rows_in:,} rows of {parts} none can be used ({reasons})" if reasons else f"there are no rows in {parts}"
    )
    raise InvalidInput(f"{what}: {found}; check sources and definition")


def _report(dataset: Dataset, taken: Taken, classes: Mapping[str, pl.DataFrame]) -> IngestReport:
    reasons = dict(classes[QUARANTINE]["reason"].value_counts().sort("reason").iter_rows())
    why = {rule.reason: rule.why for rule in dataset.rules}
    why[TIME_GAP] = f"more than {said(dataset.max_gap)} from the times of most rows"
    times = [frame[dataset.time] for name, frame in classes.items() if dataset.time and name != QUARANTINE and len(frame)]
    return IngestReport(
        dataset=dataset.name,
        digest=digest_of({"definition": dataset.digest, "sources": dict(taken.parts)}),
        rows_in=len(taken.rows),
        counts={name: len(frame) for name, frame in classes.items()},
        reasons=reasons,
        sources=dict(taken.parts),
        first=_iso(min(each.min() for each in times)) if times else None,  # type: ignore[type-var]
        last=_iso(max(each.max() for each in times)) if times else None,  # type: ignore[type-var]
        time=dataset.time,
        grain=dataset.grain.total_seconds() if dataset.grain else None,
        max_gap=dataset.max_gap.total_seconds(),
        why={reason: why[reason] for reason in reasons if reason in why},
    )


def _iso(time: object) -> str:
    return time.isoformat()  # type: ignore[attr-defined,no-any-return]


__all__ = ["IngestReport", "ingest", "load_report"]
