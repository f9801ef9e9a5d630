"""A release: everything that must move together, addressed by the digest of its manifest.

On disk a release is a folder `releases/<digest>/`, never changed once written:

    manifest.json               the manifest, canonical JSON; its SHA-256 is the folder's name
    model/model.onnx            the model: input `features` float32 [n, F], outputs by name
    features/features.json      the FeatureContract (domain.contract)
    features/*.py               on-demand transformations, plain functions that need no control-plane library
    serving/                    the model's serving folder as it was (service.py, ...)
    profile/reference.parquet   reference vectors: F feature columns, `event_timestamp`, the entity, the model's outputs
    profile/thresholds.json     drift thresholds calibrated on that reference, with window size and false-alarm budget
    monitor.json                the model's gates and SLOs
    gates/*.py                  kinds of gates of the project's own

`files` lists every other file with its SHA-256, and loaders verify the digests of what they load. A digest covers bytes as they
lie on disk, so documents of older versions keep theirs (`domain.formats`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from tidegate.domain.digests import canonical_json
from tidegate.domain.errors import IntegrityError
from tidegate.domain.formats import Format, Unknown, document

SHORT = 12
# What informs may be ignored in a manifest: whatever a loader takes is in `files`.
MANIFEST_FORMAT = Format("release manifest", Unknown.IGNORED)
LINEAGE_FORMAT = Format("lineage", Unknown.IGNORED)


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
        return hashlib.sha256(self.to_bytes()).hexdigest()

    @property
    def id(self) -> str:
        """`demand@3f2c91a07b5d`: how people, headers and logs name the release."""
        return f"{self.model}@{self.digest[:SHORT]}"

    def to_json(self) -> dict[str, Any]:
        value: dict[str, Any] = document(self)
        return value

    def to_bytes(self) -> bytes:
        """The bytes it was read from; canonical JSON of one that was made here."""
        written: bytes | None = self.__dict__.get(_WRITTEN)
        return canonical_json(self.to_json()) if written is None else written

    @classmethod
    def from_bytes(cls, content: bytes, where: str) -> ReleaseManifest:
        """The manifest in `content`, whose digest is that of `content`; raises IntegrityError that names `where`."""
        manifest = MANIFEST_FORMAT.convert(MANIFEST_FORMAT.parse(content, where), cls, where)
        for name in manifest.files:
            if not _is_inside(name):
                raise IntegrityError(
                    f"{where}: the release manifest lists '{name}', required: a relative path within the folder; build it again"
                )
        manifest.__dict__[_WRITTEN] = content
        return manifest


_WRITTEN = "_written"  # no field: `dataclasses.replace` makes a manifest of its own, which has not been written


def _is_inside(name: str) -> bool:
    """Whether `name` is the one way to write a path below the release folder."""
    parts = name.split("/")
    return "\\" not in name and "\0" not in name and not any(part in ("", ".", "..") for part in parts)
