"""Gate: the vectors that were served, recomputed by the offline path and compared value by value, bit by bit.

Two NaNs are equal; nothing else is forgiven, not even a rounding, because both paths run the same code on the same stored
values.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from tidegate.domain.contract import FeatureContract
from tidegate.domain.errors import InvalidInput
from tidegate.domain.rules import between
from tidegate.domain.verdict import Evidence, Finding, Verdict
from tidegate.files.release_folder import read_contract
from tidegate.ports.features import HistoricalFeatures
from tidegate.ports.gates import Case
from tidegate.ports.inference_records import InferenceRecord, Selection


@dataclass(frozen=True)
class Rules:
    min_vectors: int = between(1, default=300)
    max_vectors: int = between(1, default=5000)
    allowed_differing: int = between(0, default=0)

    def __post_init__(self) -> None:
        if self.min_vectors > self.max_vectors:
            raise ValueError(f"min_vectors is {self.min_vectors}, allowed: at most max_vectors ({self.max_vectors})")


def judge(case: Case, rules: Rules) -> tuple[Verdict, Evidence]:
    contract = read_contract(case.candidate_folder, case.candidate)
    looked_up = Selection(case.candidate.digest, since=case.since, vectors="keyed")
    served = case.instruments.records.read(looked_up, newest_first=True)
    latest = _latest((record for record in served if record.status == 200), rules.max_vectors)
    count = sum(len(record.entities) for record in latest)
    limits = {"allowed_differing": rules.allowed_differing, "min_vectors": rules.min_vectors}
    if count < rules.min_vectors:
        summary = f"{count} vectors served since the stage began, required {rules.min_vectors}"
        return Verdict.INCONCLUSIVE, Evidence(summary, count, thresholds=limits)
    online = _served(latest, contract)
    rows = entity_rows(latest, contract)
    offline = _offline(case.instruments.features, contract, rows)
    differs = differing(online, offline)
    bad = int(differs.any(axis=1).sum())
    findings = _findings(differs, online, offline, contract, rows)
    numbers = {"compared": count, "values": int(differs.size), "differing": bad}
    if bad > rules.allowed_differing:
        summary = f"{bad:,} of {count:,} vectors differ (allowed {rules.allowed_differing}), first {findings[0].note}"
        return Verdict.FAIL, Evidence(summary, count, numbers, limits, findings)
    summary = f"{count:,} vectors of {len(contract.vector)} values, {bad} differ"
    return Verdict.PASS, Evidence(summary, count, numbers, limits, findings)


def _offline(store: HistoricalFeatures, contract: FeatureContract, rows: pl.DataFrame) -> np.ndarray:
    frame = store.historical(contract, rows)
    if len(frame) != len(rows):
        raise InvalidInput(f"parity: the offline store answered {len(frame)} rows, asked for {len(rows)}; no row may be lost")
    columns = [frame[name].cast(pl.Float32).fill_null(float("nan")).to_numpy() for name in contract.vector]
    return np.stack(columns, axis=1)


def entity_rows(records: Sequence[InferenceRecord], contract: FeatureContract) -> pl.DataFrame:
    """What the offline path is asked: the entity, the event timestamp of the served row (UTC), the request inputs."""
    times = np.concatenate([record.event_times for record in records]).astype(np.int64)
    columns: dict[str, Any] = {
        contract.entity: [entity for record in records for entity in record.entities],
        "event_timestamp": pl.Series(times).cast(pl.Datetime("us", "UTC")),
    }
    for name in contract.request:
        columns[name] = np.concatenate([np.asarray(record.request[name]) for record in records])
    return pl.DataFrame(columns)


def differing(online: np.ndarray, offline: np.ndarray) -> np.ndarray:
    """bool [n, F]: where two float32 arrays differ in any bit, NaN being equal to NaN."""
    same_bits = np.ascontiguousarray(online).view(np.uint32) == np.ascontiguousarray(offline).view(np.uint32)
    return np.asarray(~(same_bits | (np.isnan(online) & np.isnan(offline))))


def _latest(records: Iterable[InferenceRecord], vectors: int) -> list[InferenceRecord]:
    """The first of `records` (newest first) of at most `vectors` rows, oldest first (one record at least)."""
    chosen: list[InferenceRecord] = []
    count = 0
    for record in records:
        if chosen and count + len(record.entities) > vectors:
            break
        chosen.append(record)
        count += len(record.entities)
    return chosen[::-1]


def _served(records: Sequence[InferenceRecord], contract: FeatureContract) -> np.ndarray:
    for record in records:
        shape = (len(record.entities), len(contract.vector))
        if record.features.shape != shape:
            raise InvalidInput(f"parity: request {record.id} has features of shape {record.features.shape}, required {shape}")
    return np.concatenate([record.features for record in records]).astype(np.float32, copy=False)


def _findings(
    differs: np.ndarray, online: np.ndarray, offline: np.ndarray, contract: FeatureContract, rows: pl.DataFrame
) -> tuple[Finding, ...]:
    """One finding for each feature that differs, the most often differing first."""
    counts = differs.sum(axis=0)
    findings = []
    for i in np.argsort(-counts, kind="stable"):
        if counts[i]:
            row = int(np.flatnonzero(differs[:, i])[0])
            entity = rows[contract.entity][row]
            note = f"{contract.entity}={entity} {contract.vector[i]} offline={offline[row, i]:.9g} online={online[row, i]:.9g}"
            findings.append(Finding(contract.vector[i], float(counts[i]), "0 vectors differ", False, note))
    return tuple(findings)
