"""Gate: the vectors that were served, recomputed by the offline path and compared value by value, bit by bit.

Two NaNs are equal; nothing else is forgiven, not even a rounding, because both paths run the same code on the same stored
values. A model without stored features has nothing to compare, and passes with these words.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from tidegate.domain.assembly import assembled
from tidegate.domain.contract import FEATURES, FeatureContract
from tidegate.domain.datatypes import dtype_of
from tidegate.domain.errors import InvalidInput
from tidegate.domain.keys import columns_of, said
from tidegate.domain.rules import between
from tidegate.domain.verdict import Evidence, Finding, Verdict
from tidegate.files.release_folder import read_contract
from tidegate.gates.reference import column_of
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
    if not contract.stored:
        return Verdict.PASS, Evidence("not applicable: the model has no stored features, so there is nothing to compare")
    looked_up = Selection(case.candidate.digest, since=case.since, vectors="keyed")
    served = case.instruments.records.read(looked_up, newest_first=True)
    latest = _latest((record for record in served if record.status == 200), rules.max_vectors)
    count = sum(len(record.entities) for record in latest)
    limits = {"allowed_differing": rules.allowed_differing, "min_vectors": rules.min_vectors}
    if count < rules.min_vectors:
        summary = f"{count} vectors served since the stage began, required {rules.min_vectors}"
        return Verdict.INCONCLUSIVE, Evidence(summary, count, thresholds=limits)
    names, online = _served(latest, contract)
    rows = entity_rows(latest, contract)
    recomputed = offline_tensors(case.instruments.features, contract, rows)
    if any(len(tensor) != count for tensor in recomputed.values()):
        found = min(len(tensor) for tensor in recomputed.values())
        raise InvalidInput(f"parity: the offline store answered {found} rows, asked for {count}; no row may be lost")
    offline = [np.reshape(recomputed[tensor.name], (count, -1)) for tensor in contract.tensors if tensor.features]
    differs = np.concatenate([differing(a, b) for a, b in zip(online, offline, strict=True)], axis=1)
    bad = int(differs.any(axis=1).sum())
    entities = [said(entity, contract.key) for record in latest for entity in record.entities]
    findings = _findings(differs, _columns(online), _columns(offline), names, entities)
    numbers = {"compared": count, "values": int(differs.size), "differing": bad}
    if bad > rules.allowed_differing:
        summary = f"{bad:,} of {count:,} vectors differ (allowed {rules.allowed_differing}), first {findings[0].note}"
        return Verdict.FAIL, Evidence(summary, count, numbers, limits, findings)
    summary = f"{count:,} vectors of {len(names)} values, {bad} differ"
    return Verdict.PASS, Evidence(summary, count, numbers, limits, findings)


def offline_tensors(store: HistoricalFeatures, contract: FeatureContract, rows: pl.DataFrame) -> dict[str, np.ndarray]:
    """The model's inputs that are made of features, as the offline path makes them, a row for each of `rows`."""
    frame = store.historical(contract, rows)
    return assembled(contract, {name: column_of(frame[name]) for name in contract.vector})


def entity_rows(records: Sequence[InferenceRecord], contract: FeatureContract) -> pl.DataFrame:
    """What the offline path is asked: the key, the event timestamp of the served row (UTC), the request inputs."""
    times = np.concatenate([record.event_times for record in records]).astype(np.int64)
    columns: dict[str, Any] = {
        **columns_of([entity for record in records for entity in record.entities], contract.key),
        "event_timestamp": pl.Series(times).cast(pl.Datetime("us", "UTC")),
    }
    for name in contract.request:
        columns[name] = np.concatenate([np.asarray(record.request[name]) for record in records])
    return pl.DataFrame(columns)


def differing(online: np.ndarray, offline: np.ndarray) -> np.ndarray:
    """bool [n, F]: where two arrays of one type differ in any bit, NaN being equal to NaN."""
    if online.dtype.kind != "f":
        return np.asarray(online != offline)
    bits = np.dtype(f"u{online.dtype.itemsize}")
    same_bits = np.ascontiguousarray(online).view(bits) == np.ascontiguousarray(offline).view(bits)
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


def _served(records: Sequence[InferenceRecord], contract: FeatureContract) -> tuple[list[str], list[np.ndarray]]:
    """The names of all features that tensors are made of, and each such tensor of all records, [n, F]."""
    made = [tensor for tensor in contract.tensors if tensor.features]
    parts = []
    for tensor in made:
        arrays = [_tensor(record, tensor.name) for record in records]
        for record, array in zip(records, arrays, strict=True):
            shape = (len(record.entities), len(tensor.features))
            if array.size != shape[0] * shape[1]:
                raise InvalidInput(f"parity: request {record.id} has '{tensor.name}' of shape {array.shape}, required {shape}")
        rows = [array.reshape(-1, len(tensor.features)) for array in arrays]
        parts.append(np.concatenate(rows).astype(dtype_of(tensor.datatype), copy=False))
    return [name for tensor in made for name in tensor.features], parts


def _tensor(record: InferenceRecord, name: str) -> np.ndarray:
    return record.tensors.get(name, record.features) if name == FEATURES else record.tensors[name]


def _columns(parts: Sequence[np.ndarray]) -> list[np.ndarray]:
    return [column for part in parts for column in part.T]


def _findings(
    differs: np.ndarray,
    online: Sequence[np.ndarray],
    offline: Sequence[np.ndarray],
    names: Sequence[str],
    entities: Sequence[str],
) -> tuple[Finding, ...]:
    """One finding for each feature that differs, the most often differing first."""
    counts = differs.sum(axis=0)
    findings = []
    for i in np.argsort(-counts, kind="stable"):
        if counts[i]:
            row = int(np.flatnonzero(differs[:, i])[0])
            note = f"{entities[row]} {names[i]} offline={_shown(offline[i][row])} online={_shown(online[i][row])}"
            findings.append(Finding(names[i], float(counts[i]), "0 vectors differ", False, note))
    return tuple(findings)


def _shown(value: Any) -> str:
    return repr(value) if isinstance(value, str) else f"{float(value):.9g}"
