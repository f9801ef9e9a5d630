"""Reading a release folder with its digests checked: nothing is used before it is verified."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

from tidegate.domain.contract import FeatureContract
from tidegate.domain.digests import digest_of
from tidegate.domain.errors import IntegrityError, NotFound
from tidegate.domain.release import SHORT, ReleaseManifest
from tidegate.files.digests import IGNORED_NAMES, file_digest
from tidegate.files.release_signature import SIGNATURE

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
    manifest = ReleaseManifest.from_bytes(path.read_bytes(), f"release {folder.name[:SHORT]}")
    if manifest.digest != folder.name:
        named = folder.name[:SHORT]
        raise IntegrityError(
            f"release {named}: the manifest's digest is {manifest.digest[:SHORT]}, required {named}; "
            "the manifest was changed after it was written, build the release again"
        )
    return manifest


def verified_bytes(folder: Path, manifest: ReleaseManifest, name: str) -> bytes:
    """The bytes of file `name` of the release; raises IntegrityError when they are not those the manifest lists.

    Whoever uses a file of a release uses these bytes, and never opens the file again.
    """
    content = _listed(folder, manifest, name).read_bytes()
    _compare(manifest, name, hashlib.sha256(content).hexdigest())
    return content


def _listed(folder: Path, manifest: ReleaseManifest, name: str) -> Path:
    path = folder / name
    if name not in manifest.files or not path.is_file():
        raise IntegrityError(f"release {manifest.id}: file '{name}' is missing; build the release again")
    if _leads_away(folder, name):
        raise IntegrityError(f"release {manifest.id}: '{name}' is reached by a symbolic link; build the release again")
    return path


def _compare(manifest: ReleaseManifest, name: str, observed: str) -> None:
    if observed != manifest.files[name]:
        raise IntegrityError(
            f"release {manifest.id}: file '{name}' has digest {observed[:SHORT]}, required {manifest.files[name][:SHORT]}; "
            "it was changed or is damaged, build the release again"
        )


def read_contract(folder: Path, manifest: ReleaseManifest) -> FeatureContract:
    """The release's feature contract. The manifest names it twice: the file's bytes, and the value of what is in it."""
    content, where = verified_bytes(folder, manifest, CONTRACT), f"release {manifest.id}"
    contract = FeatureContract.from_bytes(content, where)
    if manifest.feature_schema not in (digest_of(json.loads(content)), contract.schema_digest):
        raise IntegrityError(f"{where}: the feature contract is not the one the manifest names; build it again")
    return contract


def verify_release(folder: Path) -> ReleaseManifest:
    """Check every file of the release, and that nothing lies beside them but what is never used (`ignored_files`).

    Raises IntegrityError naming the first file that differs or that the manifest does not list.
    """
    manifest = read_manifest(folder)
    for name in manifest.files:  # by parts: a model may be larger than the memory of who only looks
        _compare(manifest, name, file_digest(_listed(folder, manifest, name)))
    if CONTRACT in manifest.files:
        read_contract(folder, manifest)
    planted = next((name for name in _unlisted(folder, manifest) if not _is_ignored(name)), None)
    if planted is not None:
        raise IntegrityError(
            f"release {manifest.id}: '{planted}' is in its folder but not in its manifest; nothing uses it, find out who put "
            "it there and remove it"
        )
    return manifest


def ignored_files(folder: Path, manifest: ReleaseManifest) -> list[str]:
    """Files in the release's folder that it does not list and nothing uses: byte code, and what desktops leave behind."""
    return [name for name in _unlisted(folder, manifest) if _is_ignored(name)]


def _unlisted(folder: Path, manifest: ReleaseManifest) -> Iterator[str]:
    """Whatever is no folder and not in the manifest, links to folders included, by name."""
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if (path.is_symlink() or not path.is_dir()) and name not in (MANIFEST, SIGNATURE, *manifest.files):
            yield name


def _is_ignored(name: str) -> bool:
    return not IGNORED_NAMES.isdisjoint(name.split("/"))


def _leads_away(folder: Path, name: str) -> bool:
    path = Path(name)
    return any((folder / part).is_symlink() for part in (path, *path.parents) if part.parts)
