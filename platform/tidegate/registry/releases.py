"""The store of releases: folders named by the digest of their manifest, written once and never changed.

A release is written into a folder beside its final place, synced, and renamed, so a folder with a digest for a name is
always whole. Building the same release again finds it there, and puts it there anew where somebody changed it. Nothing that
could be a pickle is taken in.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tidegate.domain.digests import canonical_json
from tidegate.domain.errors import IntegrityError, InvalidInput, NotFound
from tidegate.domain.release import ReleaseManifest
from tidegate.files.digests import IGNORED_NAMES, folder_files
from tidegate.files.durable_files import sync_folder
from tidegate.files.release_folder import MANIFEST, MONITOR, SERVING, THRESHOLDS, read_manifest, verify_release
from tidegate.files.training_output import TrainingOutput
from tidegate.ports.registry import ModelVersion

PICKLE_SUFFIXES = frozenset({".pkl", ".pickle", ".joblib", ".dill", ".cloudpickle", ".pt", ".pth"})
DIGEST = re.compile(r"[0-9a-f]{64}")


class ReleaseStore:
    """Releases below `root`, one folder a digest."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def build(
        self,
        output: TrainingOutput,
        version: ModelVersion,
        serving: Path | None,
        monitor: Mapping[str, Any],
        thresholds: Mapping[str, Any],
        gates: Mapping[str, bytes] | None = None,
    ) -> ReleaseManifest:
        """Put a release together and return its manifest.

        `serving` is the model's serving folder (it may be empty or absent: then the endpoint is made of its contract);
        `monitor` the values of its monitor file; `thresholds` what drift calibration made of the output's reference;
        `gates` the files of gates of the project's own, by their paths from the monitor file.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=".draft-", dir=self.root))
        try:
            for part in ("model", "features", "profile"):
                shutil.copytree(output.folder / part, draft / part, ignore=shutil.ignore_patterns(*IGNORED_NAMES))
            if serving is not None and serving.is_dir():
                shutil.copytree(serving, draft / SERVING, ignore=shutil.ignore_patterns(*IGNORED_NAMES))
            for name, content in (gates or {}).items():
                (draft / name).parent.mkdir(parents=True, exist_ok=True)
                (draft / name).write_bytes(content)
            (draft / MONITOR).write_bytes(canonical_json(monitor))
            (draft / THRESHOLDS).write_bytes(canonical_json(thresholds))
            refuse_pickles(draft)
            manifest = ReleaseManifest(
                model=version.model,
                version=version.version,
                feature_service=output.contract.service,
                feature_schema=output.contract.schema_digest,
                lineage=output.lineage,
                files=folder_files(draft),
            )
            (draft / MANIFEST).write_bytes(manifest.to_bytes())
            final = self.root / manifest.digest
            self._put_aside_if_damaged(final)
            if not final.exists():
                _sync(draft)
                draft.rename(final)
                sync_folder(self.root)
        finally:
            if draft.exists():
                shutil.rmtree(draft)
        verify_release(self.root / manifest.digest)
        return manifest

    def _put_aside_if_damaged(self, folder: Path) -> None:
        """Make place for a release that is built again because somebody changed it; what lay there is kept to be looked at."""
        if not folder.exists():
            return
        try:
            verify_release(folder)
        except (IntegrityError, NotFound):
            aside = self.root / f".damaged-{folder.name}"
            shutil.rmtree(aside, ignore_errors=True)
            folder.rename(aside)

    def folder(self, digest: str) -> Path:
        return self.root / digest

    def open(self, reference: str) -> tuple[ReleaseManifest, Path]:
        """The release named by a digest, a prefix of one, or `MODEL@PREFIX`, with its manifest checked.

        Raises NotFound for none or several, IntegrityError for a changed manifest.
        """
        model, _, prefix = reference.rpartition("@")
        found = [folder for folder in self._folders() if prefix and folder.name.startswith(prefix)]
        manifests = [(read_manifest(folder), folder) for folder in found]
        if model:
            manifests = [(manifest, folder) for manifest, folder in manifests if manifest.model == model]
        if len(manifests) != 1:
            raise NotFound(
                f"release '{reference}': {len(manifests) or 'no'} release(s) match, required one; see 'tidegate release list'"
            )
        return manifests[0]

    def list(self, model: str | None = None) -> list[ReleaseManifest]:
        """Manifests of all releases (of one model), the oldest folder first."""
        folders = sorted(self._folders(), key=lambda folder: folder.stat().st_mtime_ns)
        manifests = [read_manifest(folder) for folder in folders]
        return [manifest for manifest in manifests if model in (None, manifest.model)]

    def verify(self, reference: str) -> ReleaseManifest:
        """Check every file of a release; raises IntegrityError naming the first that differs."""
        return verify_release(self.open(reference)[1])

    def _folders(self) -> Iterator[Path]:
        if self.root.is_dir():
            yield from (entry for entry in self.root.iterdir() if DIGEST.fullmatch(entry.name) and entry.is_dir())


def refuse_pickles(folder: Path) -> None:
    """Raise InvalidInput when a file below `folder` has a pickle's name or a pickle's first bytes (protocol 2 or later)."""
    for path in sorted(folder.rglob("*")):
        if not path.is_file():
            continue
        with path.open("rb") as handle:
            head = handle.read(2)
        pickled = len(head) == 2 and head[0] == 0x80 and 2 <= head[1] <= 5
        if path.suffix.lower() in PICKLE_SUFFIXES or pickled:
            raise InvalidInput(
                f"release: '{path.relative_to(folder)}' looks like a pickle, which may run code when it is loaded; "
                "export the model to ONNX, or keep it as text"
            )


def _sync(folder: Path) -> None:
    for path in [*folder.rglob("*"), folder]:
        sync_folder(path)
