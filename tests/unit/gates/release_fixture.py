"""A small release on disk, records and fakes that the gates' tests share."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import yaml

from fakes.inference_records import FakeRecords as FakeRecords
from tidegate.domain.contract import FeatureContract
from tidegate.domain.digests import canonical_json
from tidegate.domain.release import Lineage, ReleaseManifest
from tidegate.domain.slots import Desired, Slot
from tidegate.domain.verdict import GateResult
from tidegate.files.release_folder import CONTRACT, MONITOR, REFERENCE, THRESHOLDS
from tidegate.gates.evaluator import GateEvaluator
from tidegate.ports.drift import DriftCheck, DriftScore
from tidegate.ports.gates import GateContext, Instruments
from tidegate.ports.inference_records import InferenceRecord
from tidegate.ports.traffic import SlotStatus, SlotTraffic
from tidegate.statistics.calibration import Thresholds, calibrate
from tidegate.statistics.distances import category_distance, distance

MONITOR_FILE = Path(__file__).parents[3] / "monitoring" / "demand.yaml"
VECTOR = ("demand__units", "demand__price", "horizon_days")
CONTRACT_VALUE = FeatureContract("demand", "sku", {"demand": ("units", "price")}, VECTOR, ("horizon",), None, ("horizon_days",))
WINDOW = 300
START = datetime(2011, 1, 1, tzinfo=UTC)


def rules() -> dict[str, Any]:
    value: dict[str, Any] = yaml.safe_load(MONITOR_FILE.read_text())
    rules_of(value, "drift").update({"window": WINDOW, "draws": 60, "excluded": {"horizon_days": "set by the client"}})
    return value


def rules_of(monitor: dict[str, Any], gate: str) -> dict[str, Any]:
    found: dict[str, Any] = next(each["rules"] for each in monitor["gates"] if each["name"] == gate)
    return found


def vectors(rows: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    units = np.floor(np.exp(rng.normal(1.0, 1.2, rows)))
    price = np.round(np.exp(rng.normal(0.8, 0.7, rows)), 2)
    return np.stack([units, price, rng.integers(1, 8, rows)], axis=1).astype(np.float32)


def reference(seed: int = 1) -> pl.DataFrame:
    days, a_day = 20, 150
    times = pl.Series("event_timestamp", [START + timedelta(days=i // a_day) for i in range(days * a_day)])
    return pl.DataFrame(vectors(days * a_day, seed), schema=list(VECTOR)).with_columns(times)


@cache
def thresholds_of_the_reference() -> Thresholds:
    drift = rules_of(rules(), "drift")
    return calibrate(reference(), VECTOR[:2], drift["window"], drift["block_days"], 0.05, 7, drift["draws"])


def write_release(root: Path, version: str = "1", contract: FeatureContract = CONTRACT_VALUE) -> tuple[ReleaseManifest, Path]:
    frame, monitor = reference(), rules()
    thresholds = thresholds_of_the_reference()
    buffer = root / "reference.parquet"
    frame.write_parquet(buffer)
    contents = {
        CONTRACT: canonical_json(contract.to_json()),
        REFERENCE: buffer.read_bytes(),
        THRESHOLDS: canonical_json(thresholds.to_json()),
        MONITOR: json.dumps({"schema": 2, **monitor}).encode(),
    }
    files = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    lineage = Lineage("d", "f", "c", "p", "r", "2011-01-21T00:00:00")
    manifest = ReleaseManifest("demand", version, "demand", contract.schema_digest, lineage, files)
    folder = root / manifest.digest
    for name, content in contents.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return manifest, folder


def ask(
    gate: str,
    context: GateContext,
    records: Any = None,
    *,
    features: Any = None,
    scorer: Any = None,
    meter: Any = None,
    traffic: Any = None,
    clock: Callable[[], float] = time.time,
) -> GateResult:
    """One evaluation of a gate of the candidate, by an evaluator that remembers nothing."""
    return evaluator(records, features=features, scorer=scorer, meter=meter, traffic=traffic, clock=clock)(gate, context)


def evaluator(
    records: Any = None,
    *,
    features: Any = None,
    scorer: Any = None,
    meter: Any = None,
    traffic: Any = None,
    clock: Callable[[], float] = time.time,
) -> GateEvaluator:
    return GateEvaluator(lambda: Instruments(records, features, scorer, meter, traffic, clock), lambda _: None)


@dataclass
class Stage:
    context: GateContext
    candidate: ReleaseManifest
    active: ReleaseManifest
    folder: Path


def stage(root: Path) -> Stage:
    candidate, folder = write_release(root, "2")
    active, active_folder = write_release(root, "1")
    context = GateContext("demand", candidate, folder, Slot.GREEN, active, active_folder, since=100.0, deadline=1e12)
    return Stage(context, candidate, active, folder)


def with_changed_file(stage_: Stage, name: str, content: bytes) -> GateContext:
    """The stage with one file of the candidate replaced, and a manifest that names it."""
    return with_changed_files(stage_, {name: content})


def with_changed_files(stage_: Stage, contents: Mapping[str, bytes]) -> GateContext:
    changed = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    manifest = replace(stage_.candidate, files={**stage_.candidate.files, **changed})
    for name, content in contents.items():
        (stage_.folder / name).write_bytes(content)
    return replace(stage_.context, candidate=manifest)


def model_outputs(features: np.ndarray, factor: float = 1.0) -> dict[str, np.ndarray]:
    return {"units_q50": (np.nan_to_num(features[:, 0]) * factor + 0.1 * features[:, 2]).astype(np.float32)}


def records(
    release: ReleaseManifest, features: np.ndarray, *, shadow: bool, a_request: int = 3, factor: float = 1.0, **changes: Any
) -> list[InferenceRecord]:
    """Requests of `a_request` rows over `features`, ten a second from 101 s on."""
    made = []
    for i, start in enumerate(range(0, len(features), a_request)):
        part = features[start : start + a_request]
        values: dict[str, Any] = {
            "id": f"r{i}",
            "at": 101.0 + i / 10,
            "release": release.digest,
            "slot": Slot.GREEN if shadow else Slot.BLUE,
            "shadow": shadow,
            "status": 200,
            "latency_ms": 5.0,
            "entities": tuple(f"sku{start + k}" for k in range(len(part))),
            "event_times": np.full(len(part), int(START.timestamp() * 1e6)),
            "request": {"horizon": part[:, 2].astype(np.int64)},
            "features": part,
            "outputs": model_outputs(part, factor),
        }
        made.append(InferenceRecord(**{**values, **changes}))
    return made


class FakeMeter:
    """The same formulas without Evidently (a contract test holds the two together)."""

    def measure(
        self, reference: Mapping[str, np.ndarray], current: Mapping[str, np.ndarray], checks: Sequence[DriftCheck]
    ) -> Mapping[str, DriftScore]:
        scores = {}
        for check in checks:
            both = reference[check.feature], current[check.feature]
            size = category_distance(*both) if check.category else distance(*both, check.method)
            scores[check.feature] = DriftScore(size, size >= check.threshold)
        return scores


class FakeScorer:
    def __init__(self, factors: Mapping[str, float]) -> None:
        self.factors = factors

    def score(self, folder: Path, manifest: ReleaseManifest, inputs: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        return model_outputs(inputs["features"], self.factors[manifest.version])


class FakeTarget:
    def __init__(self) -> None:
        self.now: SlotTraffic | None = None
        self.route: Slot | None = Slot.GREEN

    def desired(self, model: str) -> Desired:
        raise NotImplementedError

    def set_desired(self, desired: Desired, expected_generation: int) -> Desired:
        raise NotImplementedError

    def slots(self, model: str) -> Mapping[Slot, SlotStatus]:
        return {}

    def routed(self, model: str) -> tuple[Slot | None, bool]:
        return self.route, False

    def traffic(self, model: str) -> Mapping[Slot, SlotTraffic]:
        return {Slot.GREEN: self.now} if self.now else {}
