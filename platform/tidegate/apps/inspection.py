"""Looking without changing: replay with lineage, recorded verdicts, what the online store holds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from tidegate.apps.rows_behind import Source, rows_behind
from tidegate.domain.contract import FeatureContract
from tidegate.domain.errors import NotFound
from tidegate.domain.release import Lineage
from tidegate.domain.verdict import Evidence, Finding, GateResult, Verdict, evaluate_closed
from tidegate.ports.gates import GateContext
from tidegate.ports.ledger import Ledger, Query

if TYPE_CHECKING:
    import polars as pl

    from tidegate.apps.platform import Platform
    from tidegate.ports.inference_records import InferenceRecord
    from tidegate.serving.replay import ReplayResult


@dataclass(frozen=True)
class Replayed:
    """A served prediction, recomputed, with where everything in it came from."""

    result: ReplayResult
    at: float
    slot: str
    shadow: bool
    version: str
    lineage: Lineage
    sources: tuple[Source, ...]


def gate_context(platform: Platform, model: str, seconds: float) -> GateContext:
    """What is on the slots now: the preview's release as candidate, or the live one when there is no other."""
    desired = platform.target.desired(model)
    if desired.active is None:
        raise NotFound(
            f"model '{model}' has no live release, so there is nothing to judge; start one with 'tidegate rollout {model}'"
        )
    slot = desired.active.other if desired.release_of(desired.active.other) else desired.active
    candidate, folder = platform.releases.open(desired.release_of(slot) or "")
    active, active_folder = platform.releases.open(desired.active_release or "")
    now = platform.clock()
    return GateContext(model, candidate, folder, slot, active, active_folder, now - seconds, now)


def recorded_verdicts(ledger: Ledger, model: str, gate: str | None) -> list[dict[str, Any]]:
    """Verdicts in the ledger whose subject is the model's, with the time of their entry where they carry none."""
    return [
        {**verdict, "at": verdict.get("at", at)}
        for at, verdict in _verdicts(ledger)
        if str(verdict["release"]).replace("@", "/").partition("/")[0] == model and gate in (None, verdict["gate"])
    ]


def _verdicts(ledger: Ledger) -> Iterator[tuple[float, Mapping[str, Any]]]:
    for entry in ledger.entries(Query(actions=("verdict", "promotion"))):
        if entry.action == "verdict":
            yield entry.at, entry.body
        elif entry.action == "promotion":
            yield from ((entry.at, verdict) for verdict in entry.body["gates"])


def known_entities(platform: Platform, model: str, moment: datetime) -> list[str]:
    import polars as pl

    from tidegate.data.tables import TIME

    contract = platform.contract(model)
    folder = platform.feature_folder(model).tables
    known: set[str] | None = None
    for view in contract.stored:
        table = pl.scan_parquet(folder / f"{view}.parquet").filter(pl.col(TIME) <= moment)
        here = set(table.select(pl.col(contract.entity).unique()).collect()[contract.entity].to_list())
        known = here if known is None else known & here
    return sorted(known or ())


def online_features(platform: Platform, model: str, entities: Sequence[str]) -> dict[str, dict[str, Any]]:
    from tidegate.adapters.packed.online import open_online_reader
    from tidegate.serving.runtime.vectors import stored_names

    contract = platform.contract(model)
    reader = open_online_reader(platform.feature_store(model).online_url, contract)
    try:
        rows = reader.read(entities)
    finally:
        reader.close()
    names = stored_names(contract)
    return {
        entity: {
            "found": bool(rows.found[i]),
            "event_timestamp": _iso(int(rows.event_times[i])) if rows.found[i] else None,
            "values": dict(zip(names, rows.values[i].tolist(), strict=True)) if rows.found[i] else {},
        }
        for i, entity in enumerate(entities)
    }


def check_features(platform: Platform, model: str, entities: int) -> GateResult:
    return evaluate_closed("features", f"{model}/online", lambda: _check_features(platform, model, entities))


def _check_features(platform: Platform, model: str, entities: int) -> tuple[Verdict, Evidence]:
    import polars as pl

    from tidegate.adapters.packed.online import open_online_reader
    from tidegate.files.source_code import Sources
    from tidegate.serving.runtime.vectors import assemble, load_on_demand

    store, contract = platform.feature_store(model), platform.contract(model)
    table = pl.scan_parquet(platform.feature_folder(model).tables / f"{next(iter(contract.stored))}.parquet")
    names = table.select(pl.col(contract.entity).unique().sort()).collect()[contract.entity].to_list()
    chosen = names[:: max(1, len(names) // entities)][:entities]
    mark = store.verify_online(contract)
    reader = open_online_reader(store.online_url, contract)
    try:
        rows = reader.read(chosen)
    finally:
        reader.close()
    found = np.flatnonzero(rows.found)
    if not len(found):
        return Verdict.INCONCLUSIVE, Evidence(
            "the online store holds none of the entities; run 'tidegate features materialize'"
        )
    request = {name: np.ones(len(found), dtype=np.int64) for name in contract.request}
    frame = pl.DataFrame(
        {
            contract.entity: [chosen[i] for i in found],
            "event_timestamp": pl.Series(rows.event_times[found]).cast(pl.Datetime("us", "UTC")),
            **request,
        }
    )
    offline = _vectors(store.historical(contract, frame), contract)
    repo = platform.project.model(model).its_features().repo
    function = load_on_demand(Sources.of(repo), contract.on_demand) if contract.on_demand else None
    online = assemble(contract, rows.values[found], rows.event_times[found], request, function)
    wrong = ~((online == offline) | (np.isnan(online) & np.isnan(offline)))
    findings = tuple(
        Finding(name, float(wrong[:, i].sum()), "0 differing values", not wrong[:, i].any())
        for i, name in enumerate(contract.vector)
    )
    summary = f"{int(wrong.sum()):,} of {wrong.size:,} values of {len(found):,} entities differ between online and offline"
    if mark and (changed := store.outdated(mark)):
        summary += (
            f"; the table of {', '.join(changed)} was built anew since the store was filled: 'tidegate features materialize'"
        )
    return (Verdict.FAIL if wrong.any() else Verdict.PASS), Evidence(summary, len(found), findings=findings)


def replay_request(platform: Platform, request_id: str) -> Replayed:
    from tidegate.adapters.onnx.session import open_onnx
    from tidegate.files.release_folder import read_contract
    from tidegate.gates.kinds.parity import entity_rows, offline_tensors
    from tidegate.serving.replay import replay

    record, model = _record(platform, request_id)
    manifest, folder = platform.releases.open(record.release)
    contract = read_contract(folder, manifest)
    offline = None
    if len(record.entities):
        offline = offline_tensors(platform.feature_store(model), contract, entity_rows([record], contract))
    result = replay(record, folder, offline, open_model=open_onnx)
    sources = tuple(rows_behind(platform, model, contract, record))
    return Replayed(result, record.at, str(record.slot), record.shadow, manifest.version, manifest.lineage, sources)


def _record(platform: Platform, request_id: str) -> tuple[InferenceRecord, str]:
    for model in platform.project.models:
        try:
            return platform.records(model).find(request_id), model
        except NotFound as error:
            missing = error
    raise missing


def _vectors(frame: pl.DataFrame, contract: FeatureContract) -> np.ndarray:
    import polars as pl

    columns = [frame[name].cast(pl.Float32).fill_null(float("nan")).to_numpy() for name in contract.vector]
    return np.stack(columns, axis=1)


def _iso(microseconds: int) -> str:
    return datetime.fromtimestamp(microseconds / 1e6, UTC).isoformat()
