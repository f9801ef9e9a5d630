"""Releases of models of any kind, and records of them, for the gates' tests."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from release_fixture import rules, rules_of

from tidegate.domain.contract import FeatureContract, InputTensor
from tidegate.domain.digests import canonical_json
from tidegate.domain.release import Lineage, ReleaseManifest
from tidegate.domain.slots import Slot
from tidegate.files.release_folder import CONTRACT, MONITOR, REFERENCE, THRESHOLDS
from tidegate.gates.columns import Columns
from tidegate.gates.drift_check import watched
from tidegate.gates.judged import Judged, load_profile
from tidegate.gates.monitor_file import MonitorConfig
from tidegate.ports.gates import GateContext
from tidegate.ports.inference_records import InferenceRecord
from tidegate.statistics.calibration import calibrate

WINDOW, DRAWS = 200, 60
NO_FEATURES, NO_TIMES = np.empty((0, 0), dtype=np.float32), np.empty(0, dtype=np.int64)
EMPLOYMENT = FeatureContract(
    "", "", {}, (), inputs=(InputTensor("age", "FP32", (-1, 1)), InputTensor("schooling", "BYTES", (-1, 1)))
)
IMAGES = FeatureContract("", "", {}, (), inputs=(InputTensor("image", "UINT8", (-1, 4, 4)),))
PROFILE = b"def profile(tensors):\n    return {'brightness': tensors['image'].mean(axis=(1, 2))}\n"


def write(
    root: Path,
    version: str,
    contract: FeatureContract,
    reference: pl.DataFrame,
    outputs: Sequence[str],
    said: Mapping[str, Any] | None = None,
    files: Mapping[str, bytes] | None = None,
    **drift: Any,
) -> tuple[ReleaseManifest, Path]:
    """A release whose monitor file also says `said`, with `drift` among its rules of drift."""
    monitor = {**rules(), **(said or {})}
    rules_of(monitor, "drift").update({"window": WINDOW, "draws": DRAWS, "excluded": {}, **drift})
    config = MonitorConfig.from_json(monitor)
    judged = config.judged
    profile = load_profile(judged.profile, (files or {})[judged.profile_file], root, "test") if judged.profile else None
    columns = Columns(contract, judged.outputs, profile)
    frame = columns.of_reference(reference, outputs, "test")
    names = watched(columns.names(reference, frame, outputs), config.rules_of("drift"))
    thresholds = calibrate(frame, names, WINDOW, 1.0, 0.05, 7, DRAWS, config.rules_of("drift").categorical)
    buffer = io.BytesIO()
    reference.write_parquet(buffer)
    contents = {
        CONTRACT: canonical_json(contract.to_json()),
        REFERENCE: buffer.getvalue(),
        THRESHOLDS: canonical_json(thresholds.to_json()),
        MONITOR: json.dumps(config.release_copy()).encode(),
        **(files or {}),
    }
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    manifest = ReleaseManifest("any", version, contract.service, contract.schema_digest, Lineage(*"dfcpr", "2020"), digests)
    for name, content in contents.items():
        (root / manifest.digest / name).parent.mkdir(parents=True, exist_ok=True)
        (root / manifest.digest / name).write_bytes(content)
    return manifest, root / manifest.digest


def context(candidate: tuple[ReleaseManifest, Path], active: tuple[ReleaseManifest, Path] | None = None) -> GateContext:
    live = active or (None, None)
    return GateContext("any", *candidate, Slot.GREEN, *live, since=100.0, deadline=1e12)


def records(
    manifest: ReleaseManifest,
    tensors: Mapping[str, np.ndarray],
    outputs: Mapping[str, np.ndarray],
    *,
    shadow: bool = False,
    first: float = 101.0,
    apart: float = 0.1,
) -> list[InferenceRecord]:
    """A request a row, without keys and event times."""
    made = []
    for i in range(len(next(iter(tensors.values())))):
        part = {name: values[i : i + 1] for name, values in tensors.items()}
        said = {name: values[i : i + 1] for name, values in outputs.items()}
        head = (f"r{i}", first + apart * i, manifest.digest, Slot.GREEN if shadow else Slot.BLUE, shadow, 200, 5.0)
        features = np.empty((1, 0), dtype=np.float32)
        made.append(InferenceRecord(*head, (), NO_TIMES, {}, features, said, tensors=part, route="infer"))
    return made


def people(rows: int, seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    schooling = np.array(["none", "school", "college", "doctor"], dtype=object)[rng.choice(4, rows, p=[0.1, 0.5, 0.3, 0.1])]
    return {"age": np.floor(rng.gamma(4, 10, (rows, 1))).astype(np.float32), "schooling": schooling[:, None]}


def answer(tensors: Mapping[str, np.ndarray], seed: int, flips: float = 0.05) -> dict[str, np.ndarray]:
    """Labels, mostly zero, and the probability of one; a model of its own for each seed."""
    rng = np.random.default_rng(seed)
    likely = 1 / (1 + np.exp(-(tensors["age"][:, 0] - 60) / 8 - (tensors["schooling"][:, 0] == "doctor")))
    label = (likely > 0.5).astype(np.int64)
    label = np.where(rng.random(len(label)) < flips, 1 - label, label)
    noise = rng.normal(0, 0.03, len(likely))
    return {"label": label, "probability": np.clip(likely + noise, 0, 1).astype(np.float32)}


def people_reference(rows: int = 2000) -> pl.DataFrame:
    seen = people(rows, 1)
    made = answer(seen, 2)
    return pl.DataFrame(
        {
            "age": seen["age"][:, 0],
            "schooling": seen["schooling"][:, 0].tolist(),
            "label": made["label"],
            "probability": made["probability"],
        }
    )


def judged(**said: Any) -> Judged:
    return Judged.read(said, "test")
