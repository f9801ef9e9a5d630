"""Replaying a served prediction: the logged vector through the release's model again, to the bit, and the logged vector
against the one that the offline path recomputes, value by value.

Both are exact: outputs must have equal bytes, features equal values (a missing value equals a missing value).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tidegate.domain.errors import InvalidInput
from tidegate.files.release_folder import MODEL, read_contract, read_manifest, verified_bytes
from tidegate.ports.inference_records import InferenceRecord
from tidegate.ports.tensor_model import OpenModel
from tidegate.serving.runtime.tensors import FEATURES


@dataclass(frozen=True)
class Difference:
    """The first value that differs: `subject` is `feature units_lag_7` or `output quantiles[1]`."""

    subject: str
    row: int
    entity: str
    logged: float
    recomputed: float


@dataclass(frozen=True)
class ReplayResult:
    """`outputs_identical`: recomputed to the bit. `vectors_identical` is None when no offline vectors were given."""

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
    record: InferenceRecord, release_folder: Path, historical_vectors: np.ndarray | None = None, *, open_model: OpenModel
) -> ReplayResult:
    """Recompute a logged prediction with the release it came from.

    `historical_vectors` is float32 [n, F] in the contract's order, row by row as in the record. Raises InvalidInput when the
    record has no prediction, is of another release, or the vectors have another shape; IntegrityError for a damaged release.
    """
    manifest = read_manifest(release_folder)
    if record.release != manifest.digest:
        raise InvalidInput(f"request {record.id} was answered by release {record.release[:12]}, not by {manifest.id}")
    if record.status != 200 or not len(record.features):
        raise InvalidInput(f"request {record.id} was answered with status {record.status} and no prediction: nothing to replay")
    contract = read_contract(release_folder, manifest)
    model = open_model(verified_bytes(release_folder, manifest, MODEL), manifest.id)
    outputs = model.run({FEATURES: np.ascontiguousarray(record.features)})
    output_difference = _first_output_difference(record, outputs)
    feature_difference = None
    vectors_identical, values_compared = None, 0
    if historical_vectors is not None:
        feature_difference = _first_feature_difference(record, historical_vectors, contract.vector)
        vectors_identical, values_compared = feature_difference is None, historical_vectors.size
    return ReplayResult(
        request_id=record.id,
        release=manifest.id,
        rows=len(record.features),
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
        unequal = before.view(np.uint8) != after.view(np.uint8)
        if unequal.any():
            row, byte = np.argwhere(unequal)[0]
            column = int(byte) // now.dtype.itemsize
            return Difference(
                f"output {name}[{column}]",
                int(row),
                _entity(record, int(row)),
                float(before[row, column]),
                float(after[row, column]),
            )
    return None


def _first_feature_difference(record: InferenceRecord, offline: np.ndarray, vector: tuple[str, ...]) -> Difference | None:
    if offline.shape != record.features.shape:
        raise InvalidInput(f"request {record.id}: offline vectors of shape {offline.shape}, logged {record.features.shape}")
    logged, now = record.features, offline.astype(np.float32, copy=False)
    unequal = ~((logged == now) | (np.isnan(logged) & np.isnan(now)))
    if not unequal.any():
        return None
    row, column = (int(i) for i in np.argwhere(unequal)[0])
    return Difference(
        f"feature {vector[column]}", row, _entity(record, row), float(logged[row, column]), float(now[row, column])
    )
