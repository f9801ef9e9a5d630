"""A release: everything that must move together, addressed by the digest of its manifest.

On disk a release is a folder `releases/<digest>/`, never changed once written:

    manifest.json               the manifest, canonical JSON; its SHA-256 is the folder's name
    model/model.onnx            the model: input `features` float32 [n, F], outputs by name
    features/features.json      the FeatureContract
    features/*.py               on-demand transformations, plain functions that need no control-plane library
    serving/                    the model's serving folder as it was (service.py, ...)
    profile/reference.parquet   reference vectors: F feature columns, `event_timestamp`, the entity, the model's outputs
    profile/thresholds.json     drift thresholds calibrated on that reference, with window size and false-alarm budget
    monitor.json                the model's gates, SLOs and drift configuration

`files` lists every other file with its SHA-256, and loaders verify the digests of what they load.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

from tidegate.domain.digests import canonical_json, digest_of

SHORT = 12


@dataclass(frozen=True)
class FeatureContract:
    """What a model reads: stored features by view, on-demand features, and the order of the vector.

    `stored` maps a view's name to its features; `request` names the request inputs of the on-demand transformation
    (integers or floats); `on_demand` is `module.py:function`, or None, with `derived` its outputs. `vector` lists all
    features in the model's input order, each named `view__feature`, or plainly for derived ones.
    """

    service: str
    entity: str
    stored: Mapping[str, tuple[str, ...]]
    vector: tuple[str, ...]
    request: tuple[str, ...] = ()
    on_demand: str | None = None
    derived: tuple[str, ...] = ()

    @property
    def schema_digest(self) -> str:
        return digest_of(self.to_json())

    def to_json(self) -> dict[str, Any]:
        return {
            "service": self.service,
            "entity": self.entity,
            "stored": {view: list(names) for view, names in self.stored.items()},
            "vector": list(self.vector),
            "request": list(self.request),
            "on_demand": self.on_demand,
            "derived": list(self.derived),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> FeatureContract:
        return cls(
            service=value["service"],
            entity=value["entity"],
            stored={view: tuple(names) for view, names in value["stored"].items()},
            vector=tuple(value["vector"]),
            request=tuple(value["request"]),
            on_demand=value["on_demand"],
            derived=tuple(value["derived"]),
        )


@dataclass(frozen=True)
class Lineage:
    """Where a model came from: digests of data, feature code, training code and compiled pipeline, and the run."""

    data: str
    features: str
    code: str
    pipeline: str
    run_id: str
    trained_until: str  # ISO date and time: no data at or after it was seen


@dataclass(frozen=True)
class ReleaseManifest:
    """The manifest. Two releases with equal content have equal digests."""

    model: str
    version: str  # MLflow model version
    feature_service: str
    feature_schema: str  # FeatureContract.schema_digest
    lineage: Lineage
    files: Mapping[str, str] = field(default_factory=dict)
    schema: int = 1

    @cached_property
    def digest(self) -> str:
        return digest_of(self.to_json())

    @property
    def id(self) -> str:
        """`demand@3f2c91a07b5d`: how people, headers and logs name the release."""
        return f"{self.model}@{self.digest[:SHORT]}"

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def to_bytes(self) -> bytes:
        return canonical_json(self.to_json())

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> ReleaseManifest:
        fields = dict(value)
        fields["lineage"] = Lineage(**fields["lineage"])
        return cls(**fields)
