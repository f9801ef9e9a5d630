"""A world of keys that differ, and any mixture of requests about it: typed, tensors, refused, odd ids, one popular key."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

import numpy as np
import polars as pl
from release_fixture import VECTOR, Stage, stage, with_changed_files

from tidegate.domain.release import ReleaseManifest
from tidegate.domain.slots import Slot
from tidegate.files.release_folder import REFERENCE, THRESHOLDS
from tidegate.ports.inference_records import InferenceRecord
from tidegate.statistics.calibration import calibrate

KEYS, DAYS, A_DAY, WINDOW = 300, 40, 120, 150
START = datetime(2011, 1, 1, tzinfo=UTC)
NOW = int((START + timedelta(days=DAYS)).timestamp() * 1e6)
NO_FEATURES, NO_TIMES = np.empty((0, 0), dtype=np.float32), np.empty(0, dtype=np.int64)


class World:
    """Keys by popularity: what is asked for most sells most. A day's vectors vary about each key's own level."""

    def __init__(self) -> None:
        rng = np.random.default_rng(11)
        self.level = np.sort(rng.normal(1.5, 1.0, KEYS))[::-1]
        self.price = np.exp(rng.normal(0.8, 0.7, KEYS) - 0.3 * self.level)

    def vectors(self, keys: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        day = rng.normal(0.0, 0.05)  # all keys of a day move a little together
        units = np.floor(np.exp(self.level[keys] + day + rng.normal(0.0, 0.5, len(keys))))
        price = np.round(self.price[keys] * np.exp(rng.normal(0.0, 0.05, len(keys))), 2)
        return np.stack([units, price, rng.integers(1, 8, len(keys))], axis=1).astype(np.float32)

    def reference(self) -> pl.DataFrame:
        rng = np.random.default_rng(12)
        chosen = [rng.choice(KEYS, A_DAY, replace=False) for _ in range(DAYS)]
        frame = pl.DataFrame(np.concatenate([self.vectors(keys, rng) for keys in chosen]), schema=list(VECTOR))
        times = [START + timedelta(days=day) for day in range(DAYS) for _ in range(A_DAY)]
        names = [f"sku{key}" for key in np.concatenate(chosen)]
        return frame.with_columns(pl.Series("event_timestamp", times), pl.Series("sku", names))


WORLD = World()


@cache
def _profile() -> tuple[bytes, bytes]:
    frame = WORLD.reference()
    thresholds = calibrate(frame, VECTOR[:2], WINDOW, 1.0, 0.05, 7, 200)
    buffer = io.BytesIO()
    frame.write_parquet(buffer)
    return buffer.getvalue(), json.dumps(thresholds.to_json()).encode()


def world_stage(root: Path) -> Stage:
    """A candidate and a live release whose reference is of this world."""
    here = stage(root)
    reference, thresholds = _profile()
    context = with_changed_files(here, {REFERENCE: reference, THRESHOLDS: thresholds})
    return replace(here, context=context, candidate=context.candidate)


@dataclass(frozen=True)
class Mixture:
    """What traffic is made of; drawn from a seed by `any_mixture`."""

    requests: int
    zipf: float  # how much popular keys are preferred
    popular: float  # share of requests for one key
    tensors: float  # share of requests with tensors that clients made up
    refused: float  # share that both releases refuse
    same_id: float  # share of requests with one and the same id
    odd_id: float
    failed: float  # share that the live release failed to answer for a moment
    rows: int


def any_mixture(seed: int) -> tuple[Mixture, np.random.Generator]:
    rng = np.random.default_rng([seed, 4])

    def share(top: float) -> float:
        return float(rng.choice([0.0, rng.uniform(0.0, top)]))

    mixture = Mixture(
        requests=int(rng.integers(480, 620)),
        zipf=float(rng.uniform(0.0, 1.2)),
        popular=share(0.8),
        tensors=share(0.5),
        refused=share(0.3),
        same_id=share(0.25),
        odd_id=share(0.25),
        failed=share(0.05),
        rows=int(rng.integers(4, 8)),
    )
    return mixture, rng


def requests(
    mixture: Mixture, rng: np.random.Generator, candidate: ReleaseManifest, live: ReleaseManifest
) -> tuple[list[InferenceRecord], list[InferenceRecord]]:
    """(mirrored, live) records of one run of traffic on two equal releases."""
    weights = 1.0 / np.arange(1, KEYS + 1) ** mixture.zipf
    n, today = mixture.requests, WORLD.vectors(np.arange(KEYS), rng)
    rows = rng.integers(1, mixture.rows + 1, n)
    keys = rng.choice(KEYS, (n, mixture.rows), p=weights / weights.sum())
    keys[rng.random(n) < mixture.popular] = 0
    horizons = rng.integers(1, 8, (n, mixture.rows))
    typed = rng.random(n) >= mixture.tensors
    statuses = np.full((n, 2), 200)
    statuses[rng.random(n) < mixture.failed, 1] = rng.choice([500, 503, 429])
    statuses[rng.random(n) < mixture.refused] = rng.choice([400, 404, 422])
    ids = [f"r{i}" for i in range(n)]
    for i in np.flatnonzero(rng.random(n) < mixture.odd_id):
        ids[i] = str(rng.choice(["", " ", f" blank {i}", "é" * 200 + str(i), f"\x00\n{i}", "NaN"]))
    for i in np.flatnonzero(rng.random(n) < mixture.same_id):
        ids[i] = "again"
    ours, theirs = [], []
    for i in range(n):
        if typed[i]:
            asked = keys[i, : rows[i]]
            features = today[asked]
            features[:, 2] = horizons[i, : rows[i]]
            made = (tuple(f"sku{key}" for key in asked), np.full(rows[i], NOW), {"horizon": horizons[i, : rows[i]]}, features)
        else:
            many = int(rng.choice([1, 3, 300]))
            features = (rng.normal(size=(many, 3)) * 10.0 ** rng.integers(-3, 30)).astype(np.float32)
            made = ((), NO_TIMES, {}, features)
        answer, route = (*made, {"units_q50": features[:, 0] * np.float32(0.9)}), "predict" if typed[i] else "infer"
        nothing = ((), NO_TIMES, {}, NO_FEATURES, {})
        sides = ((ours, candidate, Slot.GREEN, statuses[i, 0]), (theirs, live, Slot.BLUE, statuses[i, 1]))
        for side, release, slot, status in sides:
            said = answer if status == 200 else nothing
            head = (ids[i], 101.0 + i / 50, release.digest, slot, slot is Slot.GREEN, int(status), 5.0)
            side.append(InferenceRecord(*head, *said, route=route, error="" if status == 200 else "refused"))
    return ours, theirs


def drawn(seed: int, here: Stage) -> tuple[Sequence[InferenceRecord], Sequence[InferenceRecord]]:
    mixture, rng = any_mixture(seed)
    return requests(mixture, rng, here.candidate, here.active)


def refusing(mirrored: Sequence[InferenceRecord], share: float, seed: int) -> list[InferenceRecord]:
    """The candidate refuses `share` of what it was asked."""
    chosen = np.random.default_rng(seed).random(len(mirrored)) < share
    nothing = {"entities": (), "event_times": NO_TIMES, "request": {}, "features": NO_FEATURES, "outputs": {}}
    return [replace(r, status=422, **nothing) if bad else r for r, bad in zip(mirrored, chosen, strict=True)]
