"""The rows of a model's datasets that the features of a served prediction rest on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from tidegate.domain.errors import NotFound
from tidegate.domain.keys import parts_of

if TYPE_CHECKING:
    import polars as pl

    from tidegate.apps.project_evidence import ProjectEvidence
    from tidegate.data.model_data import ModelData
    from tidegate.domain.contract import FeatureContract
    from tidegate.ports.inference_records import InferenceRecord

LATEST = 20


@dataclass(frozen=True)
class Source:
    """The rows of one entity before `known_at`; `latest` are the newest of them, each with its class as `class`."""

    entity: str
    known_at: str
    count: int
    latest: tuple[Mapping[str, Any], ...]


def rows_behind(platform: ProjectEvidence, model: str, contract: FeatureContract, record: InferenceRecord) -> Iterator[Source]:
    """Rows of each entity before the moment its features were known, of each class that has the columns of the key."""
    from tidegate.data.model_data import ModelData

    moments: dict[str, int] = {}
    for entity, moment in zip(record.entities, record.event_times.tolist(), strict=True):
        moments[entity] = max(moment, moments.get(entity, 0))
    names = [part.name for part in contract.key]
    try:
        data = platform.data(model) if moments and platform.project.model(model).datasets else ModelData({}, {})
    except NotFound:
        data = ModelData({}, {})  # it was trained on data that are elsewhere
    keyed = {name: frame for name, frame in data.classes.items() if name in data.timing and set(names) <= set(frame.columns)}
    for entity, moment in moments.items():
        at = datetime.fromtimestamp(moment / 1e6, UTC)
        before = ModelData(keyed, data.timing).known_before(at)
        key = dict(zip(names, parts_of(entity, contract.key), strict=True))
        own = {name: _of_key(before, name, key) for name in keyed}
        rows = [
            (row[data.timing[name].column], name, row) for name, frame in own.items() for row in frame.head(LATEST).to_dicts()
        ]
        latest = sorted(rows, key=lambda each: str(each[0]), reverse=True)[:LATEST]
        yield Source(entity, at.isoformat(), sum(map(len, own.values())), tuple(_plain(row, name) for _, name, row in latest))


def _of_key(data: ModelData, name: str, key: Mapping[str, Any]) -> pl.DataFrame:
    """The rows of one class with the values of `key`, newest first."""
    import polars as pl

    same = [pl.col(column).cast(pl.String) == pl.lit(value).cast(pl.String) for column, value in key.items()]
    return data.classes[name].filter(*same).sort(data.timing[name].column, "source_row", descending=True)


def _plain(row: Mapping[str, Any], name: str) -> dict[str, Any]:
    values = {column: f"{value:%Y-%m-%d %H:%M:%S}" if isinstance(value, datetime) else value for column, value in row.items()}
    return {**values, "class": name}
