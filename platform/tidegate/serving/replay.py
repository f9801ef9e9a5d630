"""Replaying a served prediction: the logged tensors through the release's model again, to the bit, and the tensors that were
made of features against those that the offline path recomputes, value by value.

Both are exact: outputs must have equal bytes (texts be equal), features equal values (a missing value equals a missing value).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tidegate.domain.datatypes import FEATURES, TEXT
from tidegate.domain.errors import InvalidInput
from tidegate.files.release_folder import MODEL, read_contract, read_manifest, verified_bytes
from tidegate.ports.inference_records import InferenceRecord
from tidegate.ports.tensor_model import OpenModel


@dataclass(frozen=True)
class Difference:
    """The first value that differs: `subject` is `feature units_lag_7` or `output quantiles[1]`."""

    subject: str
    row: int
    entity: str
    logged: float | str
    recomputed: float | str


@dataclass(frozen=True)
class ReplayResult:
    """`outputs_identical`: recomputed to the bit. `vectors_identical` is None when no offline tensors were given."""

    request_id: str
    release: str
    rows: int
    outputs_compared: int
    outputs_identical: bool
    values_compared: int
    vectors_identical: bool | None
    first_difference: Difference | None

    @property
    def identical(self) -> bool:
        return self.outputs_identical and self.vectors_identical is not False

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "identical": self.identical}

    def describe(self) -> str:
        """One line for people."""
        what = f"request {self.request_id} on {self.release}: {self.rows} rows"
        if self.first_difference is None:
            offline = f", {self.values_compared} feature values equal the offline path's" if self.vectors_identical else ""
            return f"{what}, {self.outputs_compared} outputs identical to the bit{offline}"
        d = self.first_difference
        return f"{what}, DIFFERENT: first {d.subject} of row {d.row} ({d.entity}): logged {d.logged!r}, now {d.recomputed!r}"


def replay(
    record: InferenceRecord,
    release_folder: Path,
    offline: Mapping[str, np.ndarray] | None = None,
    *,
    open_model: OpenModel,
) -> ReplayResult:
    """Recompute a logged prediction with the release it came from.

    `offline` are the tensors that are made of features, as the offline path makes them, row by row as in the record. Raises
    InvalidInput when the record has no prediction, not all that it was made of, is of another release, or the tensors have
    another shape; IntegrityError for a damaged release.
    """
    manifest = read_manifest(release_folder)
    if record.release != manifest.digest:
        raise InvalidInput(f"request {record.id} was answered by release {record.release[:12]}, not by {manifest.id}")
    tensors = record.tensors or ({FEATURES: record.features} if record.features.size else {})
    if record.digests:
        name, digest = next(iter(record.digests.items()))
        raise InvalidInput(
            f"request {record.id}: its input '{name}' was too large for the inference log, which has its SHA-256 {digest[:12]} "
            "alone; it cannot be replayed"
        )
    if record.status != 200 or not tensors:
        raise InvalidInput(f"request {record.id} was answered with status {record.status} and no prediction: nothing to replay")
    contract = read_contract(release_folder, manifest)
    model = open_model(verified_bytes(release_folder, manifest, MODEL), manifest.id)
    outputs = model.run({name: np.ascontiguousarray(array) for name, array in tensors.items()})
    output_difference = _first_output_difference(record, outputs)
    feature_difference = None
    vectors_identical, values_compared = None, 0
    if offline is not None:
        names = {tensor.name: tensor.features for tensor in contract.tensors}
        found = (_first_feature_difference(record, tensors[name], offline[name], names[name]) for name in offline)
        feature_difference = next((difference for difference in found if difference), None)
        vectors_identical, values_compared = feature_difference is None, sum(array.size for array in offline.values())
    return ReplayResult(
        request_id=record.id,
        release=manifest.id,
        rows=len(next(iter(tensors.values()))),
        outputs_compared=sum(values.size for values in outputs.values()),
        outputs_identical=output_difference is None,
        values_compared=values_compared,
        vectors_identical=vectors_identical,
        first_difference=feature_difference or output_difference,  # the cause before the effect
    )


def _entity(record: InferenceRecord, row: int) -> str:
    return record.entities[row] if row < len(record.entities) else "raw tensor"


def _first_output_difference(record: InferenceRecord, outputs: dict[str, np.ndarray]) -> Difference | None:
    if set(outputs) != set(record.outputs):
        raise InvalidInput(f"request {record.id}: logged outputs {sorted(record.outputs)}, the model has {sorted(outputs)}")
    for name, now in outputs.items():
        logged = record.outputs[name]
        if logged.shape != now.shape or logged.dtype != now.dtype:
            raise InvalidInput(
                f"request {record.id}: output '{name}' was logged as {logged.dtype} {logged.shape}, the model answers "
                f"{now.dtype} {now.shape}"
            )
        before, after = (np.ascontiguousarray(a).reshape(len(now), -1) for a in (logged, now))
        text = now.dtype == TEXT
        unequal = before != after if text else before.view(np.uint8) != after.view(np.uint8)
        if unequal.any():
            row, place = np.argwhere(unequal)[0]
            column = int(place) // (1 if text else now.dtype.itemsize)
            subject, who = f"output {name}[{column}]", _entity(record, int(row))
            return Difference(subject, int(row), who, _plain(before[row, column]), _plain(after[row, column]))
    return None


def _plain(value: Any) -> float | str:
    return value if isinstance(value, str) else float(value)


def _first_feature_difference(
    record: InferenceRecord, logged: np.ndarray, now: np.ndarray, features: tuple[str, ...]
) -> Difference | None:
    if now.shape != logged.shape:
        raise InvalidInput(f"request {record.id}: offline vectors of shape {now.shape}, logged {logged.shape}")
    now = now.astype(logged.dtype, copy=False)
    missing = np.isnan(logged) & np.isnan(now) if logged.dtype.kind == "f" else np.zeros(logged.shape, dtype=bool)
    unequal = (~((logged == now) | missing)).reshape(len(logged), -1)
    if not unequal.any():
        return None
    row, column = (int(i) for i in np.argwhere(unequal)[0])
    before, after = (_plain(array.reshape(len(array), -1)[row, column]) for array in (logged, now))
    return Difference(f"feature {features[column]}", row, _entity(record, row), before, after)
