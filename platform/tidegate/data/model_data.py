"""The ingested data that a model is made of: the classes of its datasets, cut at a moment.

A row is known before a moment when its time is before it; a row whose time is a day, when that day is over. Data without a time
is known always.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl

from tidegate.data.report import load_report
from tidegate.domain.errors import InvalidInput, NotFound
from tidegate.files.digests import files_digest

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
DAY, INSTANT = timedelta(days=1), timedelta(microseconds=1)


@dataclass(frozen=True)
class Timing:
    """The time column of a dataset, what `until` is rounded up to, and how far time may jump."""

    column: str
    grain: timedelta | None
    max_gap: timedelta


@dataclass(frozen=True)
class ModelData:
    """`classes` by name, of all datasets; `timing` of each that has a time."""

    classes: Mapping[str, pl.DataFrame]
    timing: Mapping[str, Timing]

    def __getitem__(self, name: str) -> pl.DataFrame:
        """The rows of a class; raises NotFound."""
        if name not in self.classes:
            raise NotFound(f"the data have no class '{name}'; their classes are {', '.join(self.classes)}")
        return self.classes[name]

    def __len__(self) -> int:
        return sum(map(len, self.classes.values()))

    def known_before(self, moment: datetime) -> ModelData:
        return self._filtered(
            lambda name, frame: known(frame, self.timing[name].column) < moment if name in self.timing else None
        )

    def of(self, column: str, values: Sequence[object]) -> ModelData:
        """The rows with one of `values`, of each class that has the column; the others are whole."""
        return self._filtered(lambda _, frame: pl.col(column).is_in(values) if column in frame.columns else None)

    def _filtered(self, condition: Callable[[str, pl.DataFrame], pl.Expr | None]) -> ModelData:
        kept = {
            name: frame if (when := condition(name, frame)) is None else frame.filter(when)
            for name, frame in self.classes.items()
        }
        return replace(self, classes=kept)

    def newest(self) -> datetime | None:
        """When the newest row was known."""
        times = [
            self.classes[name].select(known(self.classes[name], timing.column).max()).item()
            for name, timing in self.timing.items()
        ]
        return max((time for time in times if time is not None), default=None)

    def until(self) -> datetime:
        """The first moment at which all rows are known, rounded up to the grain. Raises InvalidInput without any time."""
        newest = self.newest()
        if newest is None:
            raise InvalidInput("the data have no time, so there is no newest moment; name one with --until")
        return rounded_up(newest + INSTANT, self.grain)

    @property
    def grain(self) -> timedelta:
        """The coarsest of the datasets' grains."""
        return max((timing.grain for timing in self.timing.values() if timing.grain), default=INSTANT)

    def checked_until(self, until: datetime | None) -> datetime:
        """`until`, or the default; raises InvalidInput for one so late that nothing of the data says how it was then."""
        if until is None:
            return self.until()
        until, newest = in_utc(until), self.newest()
        reach = max((timing.max_gap for timing in self.timing.values()), default=None)
        if newest is not None and reach is not None and until > rounded_up(newest + INSTANT, self.grain) + reach:
            raise InvalidInput(
                f"until {until.isoformat()} is more than {reach.days} days (max_gap) after the newest row, "
                f"{newest.isoformat()}; name an earlier time, or ingest what came since"
            )
        return until


def known(frame: pl.DataFrame, column: str) -> pl.Expr:
    """When each row is known: its time, or the end of its day."""
    if frame.schema[column] == pl.Date:
        return (pl.col(column).cast(pl.Datetime("us")) + DAY - INSTANT).dt.replace_time_zone("UTC")
    return pl.col(column)


def rounded_up(moment: datetime, grain: timedelta) -> datetime:
    return moment + (EPOCH - moment) % grain


def in_utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def read_data(folder: Path, datasets: Sequence[str]) -> ModelData:
    """The classes of `datasets`, which lie in one folder each below `folder`; raises NotFound, InvalidInput."""
    classes: dict[str, pl.DataFrame] = {}
    timing: dict[str, Timing] = {}
    for name, path in class_files(folder, datasets).items():
        classes[name] = pl.read_parquet(path)
        report = load_report(path.parent)
        if report.time and report.time in classes[name].columns:
            grain = timedelta(seconds=report.grain) if report.grain else None
            timing[name] = Timing(report.time, grain, timedelta(seconds=report.max_gap))
    return ModelData(classes, timing)


def class_files(folder: Path, datasets: Sequence[str]) -> dict[str, Path]:
    """The file of each class; raises NotFound for a dataset that was not ingested, InvalidInput for two classes of one name."""
    if not datasets:
        raise InvalidInput("the model has no dataset; name one under 'datasets' of the model in the project file")
    files: dict[str, Path] = {}
    for dataset in datasets:
        for name in load_report(folder / dataset).classes:
            path = folder / dataset / f"{name}.parquet"
            if not path.is_file():
                raise NotFound(f"no ingested {name} in {path.parent}; run 'tidegate ingest {dataset}' first")
            if name in files:
                raise InvalidInput(
                    f"datasets '{files[name].parent.name}' and '{dataset}' both have a class '{name}'; name the classes of one "
                    "otherwise in its split()"
                )
            files[name] = path
    return files


def data_digest(folder: Path, datasets: Sequence[str]) -> str:
    """One digest of the classes of `datasets`."""
    return files_digest(class_files(folder, datasets).values())
