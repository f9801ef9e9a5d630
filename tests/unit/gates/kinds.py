"""Models of each output kind, with any mixture of requests to two equal releases of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from any_model import EMPLOYMENT, IMAGES, NO_TIMES, people, write

from tidegate.domain.contract import FeatureContract, InputTensor
from tidegate.domain.release import ReleaseManifest
from tidegate.domain.slots import Slot
from tidegate.ports.inference_records import InferenceRecord

FLOATS = FeatureContract("", "", {}, (), inputs=(InputTensor("x", "FP32", (-1, 6)),))
WEIGHTS = np.random.default_rng(3).normal(size=(6, 3))
Tensors = Mapping[str, np.ndarray]
Released = tuple[ReleaseManifest, Path]


def numbers(rows: int, seed: int) -> Tensors:
    return {"x": np.random.default_rng(seed).normal(size=(rows, 6)).astype(np.float32)}


def images(rows: int, seed: int) -> Tensors:
    rng = np.random.default_rng(seed)
    light = rng.normal(100, 30, (rows, 1, 1)) + rng.normal(0, 10, (rows, 4, 4))
    return {"image": np.clip(light, 0, 255).astype(np.uint8)}


def likely(seen: Tensors) -> np.ndarray:
    """The odds, by logarithm."""
    made: np.ndarray = (seen["age"][:, 0] - 60) / 8 - (seen["schooling"][:, 0] == "doctor")
    return made


def shares(seen: Tensors) -> np.ndarray:
    powers = np.exp(seen["x"] @ WEIGHTS)
    return (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)


@dataclass(frozen=True)
class Kind:
    contract: FeatureContract
    draw: Callable[[int, int], Tensors]
    answer: Callable[[Tensors], Tensors]
    said: Mapping[str, Any] = field(default_factory=dict)  # of the outputs, in the monitor file

    def releases(self, root: Path) -> tuple[Released, Released]:
        """The candidate and the live one, which answer alike."""
        seen = self.draw(1500, 1)
        made = self.answer(seen)
        columns = {name: _column(values) for name, values in {**seen, **made}.items()}
        two = [write(root, version, self.contract, pl.DataFrame(columns), list(made), self.said) for version in ("2", "1")]
        return two[0], two[1]

    def score(self, folder: Path, manifest: ReleaseManifest, inputs: Tensors) -> Tensors:
        return self.answer(inputs)


def _column(values: np.ndarray) -> list[Any]:
    flat: list[Any] = (values[:, 0] if values.ndim == 2 and values.shape[1] == 1 else values).tolist()
    return flat


NAMES = np.array(["no", "yes"], dtype=object)
KINDS = {
    "labels": Kind(EMPLOYMENT, people, lambda seen: {"label": (likely(seen) > 0).astype(np.int64)}),
    "labels in texts": Kind(EMPLOYMENT, people, lambda seen: {"label": NAMES[(likely(seen) > 0).astype(int)]}),
    "flags": Kind(EMPLOYMENT, people, lambda seen: {"flag": likely(seen) > 0}),
    "distributions": Kind(FLOATS, numbers, lambda seen: {"p": shares(seen)}, {"outputs": {"p": "distribution"}}),
    "scores": Kind(FLOATS, numbers, lambda seen: {"s": seen["x"] @ WEIGHTS[:, 0]}, {"outputs": {"s": "score"}}),
    "embeddings": Kind(FLOATS, numbers, lambda seen: {"e": seen["x"] @ WEIGHTS}, {"outputs": {"e": "embedding"}}),
    "quantities": Kind(FLOATS, numbers, lambda seen: {"q": np.exp(seen["x"] @ WEIGHTS[:, :1])}),
    "a constant": Kind(FLOATS, numbers, lambda seen: {"q": np.zeros((len(seen["x"]), 1), dtype=np.float32)}),
    "labels of images": Kind(IMAGES, images, lambda seen: {"label": (seen["image"].mean((1, 2)) > 128).astype(np.int64)}),
}


def mixture(kind: Kind, seed: int, candidate: Released, live: Released) -> tuple[list[InferenceRecord], list[InferenceRecord]]:
    """(mirrored, live): rows asked for again and again, refusals, odd and repeated ids, large requests, moments of failure."""
    rng = np.random.default_rng([seed, 9])

    def share(top: float) -> float:
        return float(rng.choice([0.0, rng.uniform(0.0, top)]))

    n, rows, popular = int(rng.integers(480, 620)), int(rng.integers(1, 7)), share(0.8)
    ids = [f"r{i}" for i in range(n)]
    for i in np.flatnonzero(rng.random(n) < share(0.25)):
        ids[i] = str(rng.choice(["", " ", f" blank {i}", "é" * 200 + str(i), f"\x00\n{i}", "NaN"]))
    for i in np.flatnonzero(rng.random(n) < share(0.25)):
        ids[i] = "again"
    statuses = np.full((n, 2), 200)
    statuses[rng.random(n) < share(0.05), 1] = rng.choice([500, 503, 429])
    statuses[rng.random(n) < share(0.3)] = rng.choice([400, 404, 422])
    one, pool = kind.draw(1, seed), kind.draw(4000, seed + 1)
    ours, theirs = [], []
    for i in range(n):
        many = 300 if rng.random() < 0.02 else int(rng.integers(1, rows + 1))
        at = int(rng.integers(0, 4000 - many))
        seen = one if rng.random() < popular else {name: values[at : at + many] for name, values in pool.items()}
        outputs = kind.answer(seen)
        for side, release, slot, status in ((ours, candidate, Slot.GREEN, 0), (theirs, live, Slot.BLUE, 1)):
            answered = statuses[i, status] == 200
            shadow = slot is Slot.GREEN
            head = (ids[i], 101.0 + i / 50, release[0].digest, slot, shadow, int(statuses[i, status]), 5.0, (), NO_TIMES, {})
            features = np.empty((len(next(iter(seen.values()))) if answered else 0, 0), dtype=np.float32)
            said = {"tensors": seen if answered else {}, "route": "infer", "error": "" if answered else "refused"}
            side.append(InferenceRecord(*head, features, outputs if answered else {}, **said))  # type: ignore[arg-type]
    return ours, theirs


def refusing(mirrored: Sequence[InferenceRecord], share: float, seed: int) -> list[InferenceRecord]:
    """The candidate refuses `share` of what it was asked."""
    chosen = np.random.default_rng(seed).random(len(mirrored)) < share
    nothing: dict[str, Any] = {"features": np.empty((0, 0), dtype=np.float32), "outputs": {}, "tensors": {}}
    return [replace(r, status=422, **nothing) if bad else r for r, bad in zip(mirrored, chosen, strict=True)]
