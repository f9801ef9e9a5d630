"""A model's features as they are: of a key now and at a past moment, and whether the online store holds what the offline path
recomputes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from tidegate.apps import wiring
from tidegate.apps.freshness import freshness, missing_views, span
from tidegate.domain.contract import FeatureContract
from tidegate.domain.key_texts import entity_from_text
from tidegate.domain.keys import BOOLEAN, LIMITS, columns_of, parts_of
from tidegate.domain.verdict import Evidence, Finding, GateResult, Verdict, evaluate_closed

if TYPE_CHECKING:
    import polars as pl

    from tidegate.adapters.feast.features import FeastFeatureStore
    from tidegate.apps.project_data import ProjectData

Shown = dict[str, dict[str, Any]]
SECOND = 1e6


def known_entities(platform: ProjectData, model: str, moment: datetime) -> list[str]:
    return platform.feature_store(model).known(platform.contract(model), moment)


def online_features(platform: ProjectData, model: str, keys: Sequence[str]) -> Shown:
    """By entity: its key, `found`, `event_timestamp` and the values of stored features, None where one is missing."""
    from tidegate.serving.runtime.vectors import stored_names

    contract = platform.contract(model)
    entities = [entity_from_text(key, contract.key) for key in keys]
    reader = wiring.online_reader(platform.feature_store(model).online_url, contract)
    try:
        rows = reader.read(entities)
    finally:
        reader.close()
    shown = {}
    for i, entity in enumerate(entities):
        numbers = dict(zip(stored_names(contract), rows.values[i].tolist(), strict=True))
        values = {name: _plain(value, contract.types.get(name, "")) for name, value in numbers.items()}
        values |= {name: column[i] for name, column in rows.texts.items()}
        found = bool(rows.found[i])
        at = _iso(int(rows.event_times[i])) if found else None
        shown[entity] = _shown(contract, entity, found, at, {name: values[name] for name in _stored(contract)} if found else {})
    return shown


def features_at(platform: ProjectData, model: str, keys: Sequence[str], moment: datetime) -> Shown:
    """The same as the offline path knew it at `moment`."""
    contract = platform.contract(model)
    entities = list(dict.fromkeys(entity_from_text(key, contract.key) for key in keys))
    rows = platform.feature_store(model).stored_at(contract, entities, moment).to_dicts()
    shown = {}
    for entity, row in zip(entities, rows, strict=True):
        values = {name: _plain(value, contract.types.get(name, "")) for name, value in row.items()}
        found = any(value is not None for value in values.values())
        shown[entity] = _shown(contract, entity, found, moment.astimezone(UTC).isoformat(), values if found else {})
    return shown


def online_freshness(platform: ProjectData, model: str) -> list[dict[str, Any]]:
    """`freshness` of what the online store holds of the model's service; none of a store of an earlier version."""
    contract = platform.contract(model)
    reader = wiring.online_reader(platform.feature_store(model).online_url, contract)
    try:
        reader.ping()
        mark = reader.watermark()
    finally:
        reader.close()
    return freshness(contract, mark, platform.clock()) if mark else []


def check_features(platform: ProjectData, model: str, entities: int) -> GateResult:
    return evaluate_closed("features", f"{model}/online", lambda: _check(platform, model, entities))


def _check(platform: ProjectData, model: str, entities: int) -> tuple[Verdict, Evidence]:
    store, contract = platform.feature_store(model), platform.contract(model)
    names = store.known(contract, datetime.now(UTC))
    chosen = names[:: max(1, len(names) // entities)][:entities]
    mark = store.verify_online(contract)
    reader = wiring.online_reader(store.online_url, contract)
    try:
        rows = reader.read(chosen)
    finally:
        reader.close()
    found = np.flatnonzero(rows.found)
    if not len(found):
        return Verdict.INCONCLUSIVE, Evidence(
            "the online store holds none of the entities; run 'tidegate features materialize'"
        )
    online = _online_values(contract, rows.values[found], {name: column[found] for name, column in rows.texts.items()})
    offline = _offline_values(store, contract, [chosen[i] for i in found], rows.event_times[found])
    wrong = {name: [i for i, value in enumerate(values) if value != offline[name][i]] for name, values in online.items()}
    findings = [Finding(name, float(len(rows)), "0 differing values", not rows) for name, rows in wrong.items()]
    count = sum(map(len, wrong.values()))
    summary = f"{count:,} of {len(found) * len(wrong):,} values of {len(found):,} entities differ between online and offline"
    views = freshness(contract, mark, platform.clock()) if mark else []
    findings += [_age(each) for each in views if each["ttl_seconds"] is not None and each["age_seconds"] is not None]
    summary = "; ".join([summary, *missing_views(views)])
    if mark and (changed := store.outdated(mark)):
        summary += (
            f"; the table of {', '.join(changed)} was built anew since the store was filled: 'tidegate features materialize'"
        )
    failed = count or any(each["missing"] for each in views)
    return (Verdict.FAIL if failed else Verdict.PASS), Evidence(summary, len(found), findings=tuple(findings))


def _age(view: Mapping[str, Any]) -> Finding:
    required = f"a row not older than {span(view['ttl_seconds'])}"
    return Finding(f"freshness of {view['view']}", view["age_seconds"], required, not view["missing"], "seconds")


def _online_values(contract: FeatureContract, values: np.ndarray, texts: Mapping[str, np.ndarray]) -> dict[str, list[Any]]:
    from tidegate.serving.runtime.vectors import stored_names

    online = {
        name: [_plain(value, contract.types.get(name, "")) for value in values[:, i].tolist()]
        for i, name in enumerate(stored_names(contract))
    }
    return online | {name: column.tolist() for name, column in texts.items()}


def _offline_values(
    store: FeastFeatureStore, contract: FeatureContract, entities: list[str], times: np.ndarray
) -> dict[str, list[Any]]:
    import polars as pl

    moments = pl.Series("event_timestamp", times).cast(pl.Datetime("us", "UTC"))
    frame: pl.DataFrame = store.stored(contract, pl.DataFrame(columns_of(entities, contract.key)).with_columns(moments))
    kinds = {name: contract.types.get(name, "") for name in frame.columns}
    return {name: [_plain(value, kinds[name]) for value in frame[name].to_list()] for name in frame.columns}


def _stored(contract: FeatureContract) -> list[str]:
    return [f"{view}__{name}" for view, names in contract.stored.items() for name in names]


def _shown(contract: FeatureContract, entity: str, found: bool, at: str | None, values: dict[str, Any]) -> dict[str, Any]:
    key = dict(zip(contract.key_names, parts_of(entity, contract.key), strict=True))
    return {"key": key, "found": found, "event_timestamp": at, "values": values}


def _plain(value: Any, datatype: str) -> Any:
    """A stored value as its datatype has it, None where it is missing."""
    if value is None or value != value:
        return None
    make: Callable[[Any], Any] | None = bool if datatype == BOOLEAN else int if datatype in LIMITS else None
    return make(value) if make else float(value) if not isinstance(value, str) else value


def _iso(microseconds: int) -> str:
    return datetime.fromtimestamp(microseconds / SECOND, UTC).isoformat()
