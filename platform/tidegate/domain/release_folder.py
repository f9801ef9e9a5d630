"""Reading a release folder with its digests checked: nothing is used before it is verified."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from tidegate.domain.digests import file_digest
from tidegate.domain.errors import IntegrityError, NotFound
from tidegate.domain.release import FeatureContract, ReleaseManifest

MANIFEST = "manifest.json"
MODEL = "model/model.onnx"
CONTRACT = "features/features.json"
REFERENCE = "profile/reference.parquet"
THRESHOLDS = "profile/thresholds.json"
MONITOR = "monitor.json"
SERVING = "serving"


def read_manifest(folder: Path) -> ReleaseManifest:
    """The manifest of the release in `folder`; its digest must be the folder's name."""
    path = folder / MANIFEST
    if not path.is_file():
        raise NotFound(f"release folder {folder} has no {MANIFEST}; build the release again with 'tidegate release build'")
    try:
        manifest = ReleaseManifest.from_json(json.loads(path.read_bytes()))
    except (ValueError, KeyError, TypeError) as error:
        raise IntegrityError(f"release {folder.name}: {MANIFEST} cannot be read ({error}); build the release again") from error
    if manifest.digest != folder.name:
        raise IntegrityError(
            f"release {folder.name[:12]}: the manifest's digest is {manifest.digest[:12]}, required {folder.name[:12]}; "
            "the manifest was changed after it was written, build the release again"
        )
    return manifest


def verified_bytes(folder: Path, manifest: ReleaseManifest, name: str) -> bytes:
    """The bytes of file `name` of the release; raises IntegrityError when they are not those the manifest lists."""
    path = folder / name
    if name not in manifest.files or not path.is_file():
        raise IntegrityError(f"release {manifest.id}: file '{name}' is missing; build the release again")
    content = path.read_bytes()
    observed = hashlib.sha256(content).hexdigest()
    if observed != manifest.files[name]:
        raise IntegrityError(
            f"release {manifest.id}: file '{name}' has digest {observed[:12]}, required {manifest.files[name][:12]}; "
            "it was changed or is damaged, build the release again"
        )
    return content


def read_contract(folder: Path, manifest: ReleaseManifest) -> FeatureContract:
    contract = FeatureContract.from_json(json.loads(verified_bytes(folder, manifest, CONTRACT)))
    if contract.schema_digest != manifest.feature_schema:
        raise IntegrityError(f"release {manifest.id}: the feature contract is not the one the manifest names; build it again")
    return contract


def verify_release(folder: Path) -> ReleaseManifest:
    """Check every file of the release; raises IntegrityError naming the first that differs."""
    manifest = read_manifest(folder)
    for name, required in manifest.files.items():
        path = folder / name
        if not path.is_file() or file_digest(path) != required:
            verified_bytes(folder, manifest, name)
    return manifest
