"""Feast's online store with one packed row a view and entity: a plug-in class, configured in feature_store.yaml by

    online_store:
      type: tidegate.adapters.feast.packed_store.PackedOnlineStore
      url: ../build/state/features/demand/online.db   # relative to the repo; or redis://HOST:PORT/DATABASE#MODEL

Feast's own commands write and read it batch by batch; `replace_views` writes several views in one transaction, which is
what `FeastFeatureStore.materialize` does. The serving process reads the same rows without Feast (packed_online.py). Limits:
join keys are Strings, whole numbers or Bools, features numbers, Bools or Strings, of a view that has others these are left out;
a null is stored as NaN or nil, and read as null.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import numpy as np
from feast import Entity, FeatureView
from feast.feature_view import DUMMY_ENTITY_ID
from feast.infra.online_stores.online_store import OnlineStore
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from feast.repo_config import FeastConfigBaseModel, RepoConfig

from tidegate.adapters.packed.columns import Columns, read_texts
from tidegate.adapters.packed.places import open_backend
from tidegate.adapters.packed.rows import PackedBackend, ViewRows, unpack
from tidegate.domain.errors import IntegrityError, InvalidInput
from tidegate.domain.keys import JoinKey, entity_of
from tidegate.files.feature_folder import for_model

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
NUMERIC = ("double_val", "float_val", "int64_val", "int32_val", "bool_val")
KEYS = {"string_val": "BYTES", "int64_val": "INT64", "int32_val": "INT32", "bool_val": "BOOL"}
TEXT = "String"
VALUE_FIELDS = {"Float64": "double_val", "Float32": "float_val", "Int64": "int64_val", "Int32": "int32_val", "Bool": "bool_val"}


class PackedOnlineStoreConfig(FeastConfigBaseModel):
    """`url` is a path of a SQLite file, taken relative to the repo, or a redis URL with the model as its fragment (by default
    the Feast project, which is right where it is of one model)."""

    type: Literal["tidegate.adapters.feast.packed_store.PackedOnlineStore"] = (
        "tidegate.adapters.feast.packed_store.PackedOnlineStore"
    )
    url: str


def microseconds(moment: datetime) -> int:
    """Since the epoch; a moment without a zone is UTC, as everywhere in Feast."""
    return ((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - EPOCH) // MICROSECOND


class PackedOnlineStore(OnlineStore):
    def __init__(self) -> None:
        self._backends: dict[str, PackedBackend] = {}

    def replace_views(self, config: RepoConfig, views: Mapping[str, ViewRows]) -> None:
        """Write all of `views` in one transaction; afterwards they hold nothing else. Raises Unavailable."""
        self._backend(config).write(views, replace=True)

    def online_write_batch(
        self,
        config: RepoConfig,
        table: FeatureView,
        data: list[tuple[EntityKey, dict[str, Value], datetime, datetime | None]],
        progress: Callable[[int], Any] | None,
    ) -> None:
        features = tuple(field.name for field in table.features if str(field.dtype) in VALUE_FIELDS)
        texts = tuple(field.name for field in table.features if str(field.dtype) == TEXT)
        newest: dict[str, tuple[int, dict[str, Value]]] = {}
        for key, values, moment, _ in data:
            entity, stamp = _entity(key), microseconds(moment)
            if entity not in newest or stamp >= newest[entity][0]:
                newest[entity] = (stamp, values)
        times = np.array([stamp for stamp, _ in newest.values()], dtype=np.int64)
        found = [values for _, values in newest.values()]
        rows = [[_number(table.name, name, values.get(name)) for name in features] for values in found]
        numbers = np.array(rows, dtype=np.float64).reshape(len(newest), len(features))
        words = {name: [_text(table.name, name, values.get(name)) for values in found] for name in texts}
        content = ViewRows(features, tuple(newest), times, numbers, texts=words)
        self._backend(config).write({table.name: content}, replace=False)
        if progress:
            progress(len(data))

    def online_read(
        self,
        config: RepoConfig,
        table: FeatureView,
        entity_keys: list[EntityKey],
        requested_features: list[str] | None = None,
    ) -> list[tuple[datetime | None, dict[str, Value] | None]]:
        backend = self._backend(config)
        columns = backend.stored().views.get(table.name, Columns(()))
        kinds = {field.name: str(field.dtype) for field in table.features if str(field.dtype) in (TEXT, *VALUE_FIELDS)}
        wanted = requested_features or list(kinds)
        entities = [_entity(key) for key in entity_keys]
        _, rows = backend.read([table.name], entities)
        answer: list[tuple[datetime | None, dict[str, Value] | None]] = []
        for entity in entities:
            data = rows.get((table.name, entity))
            if data is None:
                answer.append((None, None))
                continue
            schema, stamp, content = unpack(backend.where, (table.name, entity), data)
            if schema != columns.schema or not set(wanted) <= {*columns.numbers, *columns.texts}:
                raise IntegrityError(f"online store {backend.where}: view '{table.name}' has another schema; materialize again")
            width = 8 * len(columns.numbers)
            numbers = np.frombuffer(content[:width], dtype="<f8").tolist()
            texts = read_texts(content, width) if columns.texts else []
            row = dict(zip((*columns.numbers, *columns.texts), (*numbers, *texts), strict=True))
            answer.append((EPOCH + stamp * MICROSECOND, {name: _value(kinds.get(name, ""), row[name]) for name in wanted}))
        return answer

    def update(
        self,
        config: RepoConfig,
        tables_to_delete: Sequence[FeatureView],
        tables_to_keep: Sequence[FeatureView],
        entities_to_delete: Sequence[Entity],
        entities_to_keep: Sequence[Entity],
        partial: bool,
    ) -> None:
        """Drop the views that are gone; those that stay keep their rows until they are materialized again."""
        if tables_to_delete:
            self._backend(config).drop([table.name for table in tables_to_delete])

    def teardown(self, config: RepoConfig, tables: Sequence[FeatureView], entities: Sequence[Entity]) -> None:
        backend = self._backend(config)
        backend.drop([table.name for table in tables])
        backend.close()
        self._backends.clear()

    def _backend(self, config: RepoConfig) -> PackedBackend:
        url = config.online_store.url
        if "://" not in url:
            url = str(Path(config.repo_path or ".") / url)
        url = for_model(url, config.project)
        if url not in self._backends:
            self._backends[url] = open_backend(url, writable=True)
        return self._backends[url]


def _entity(key: EntityKey) -> str:
    """As `contracts.key_of` orders the parts: by the names of the join keys."""
    kinds = [KEYS.get(value.WhichOneof("val") or "", "") for value in key.entity_values]
    if not all(kinds):
        raise InvalidInput(
            f"packed online store: join keys {list(key.join_keys)}: each must be a String, a whole number or a Bool"
        )
    values = [getattr(value, value.WhichOneof("val") or "") for value in key.entity_values]
    parts = sorted(part for part in zip(key.join_keys, kinds, values, strict=True) if part[0] != DUMMY_ENTITY_ID)
    return entity_of([value for _, _, value in parts], tuple(JoinKey(name, kind) for name, kind, _ in parts))


def _text(view: str, name: str, value: Value | None) -> str | None:
    kind = value.WhichOneof("val") if value is not None else None
    if value is None or kind is None or kind == "null_val":
        return None
    if kind != "string_val":
        raise InvalidInput(f"packed online store: feature '{view}:{name}' is of kind {kind}, its definition says String")
    return value.string_val


def _number(view: str, name: str, value: Value | None) -> float:
    kind = value.WhichOneof("val") if value is not None else None
    if value is None or kind is None or kind == "null_val":
        return float("nan")
    if kind not in NUMERIC:
        raise InvalidInput(f"packed online store: feature '{view}:{name}' is of kind {kind}, allowed are numbers and booleans")
    return float(getattr(value, kind))


def _value(kind: str, stored: float | str | None) -> Value:
    if stored is None or stored != stored:
        return Value()
    if isinstance(stored, str):
        return Value(string_val=stored)
    field = VALUE_FIELDS.get(kind, "double_val")
    whole = {"int64_val": int, "int32_val": int, "bool_val": bool}.get(field, float)
    return Value(**{field: whole(stored)})
