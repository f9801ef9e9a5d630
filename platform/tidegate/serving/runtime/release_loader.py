"""Loading a release into a serving process: every byte is verified against the manifest before it is used.

Code (`serving/*.py` and `features/*.py`) is compiled from the bytes that were verified, never from a file read again or from
byte code, and runs under module names that hold the release's digest, so two releases in one process share nothing
(`domain.source_code`). Files that the manifest does not list are never looked at.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from tidegate.domain.contract import FeatureContract
from tidegate.domain.errors import InvalidInput, TidegateError
from tidegate.domain.release import ReleaseManifest
from tidegate.files.release_folder import MODEL, MONITOR, SERVING, read_contract, read_manifest, verified_bytes
from tidegate.files.source_code import Sources
from tidegate.ports.tensor_model import OpenModel, TensorModel
from tidegate.serving.runtime.model_check import check_model
from tidegate.serving.runtime.vectors import OnDemand, load_on_demand

FEATURES_FOLDER = "features"
Profile = Callable[[Mapping[str, Any]], Mapping[str, Any]]


@dataclass(frozen=True)
class LoadedRelease:
    """A release ready to serve. `on_demand` is None when the contract has no on-demand transformation."""

    folder: Path
    manifest: ReleaseManifest
    contract: FeatureContract
    model: TensorModel
    on_demand: OnDemand | None

    @property
    def id(self) -> str:
        return self.manifest.id


def load_release(folder: Path, open_model: OpenModel) -> LoadedRelease:
    """Verify and load the release in `folder`.

    Raises NotFound without a manifest, IntegrityError when a digest differs or the model cannot be opened, InvalidInput
    when the model's inputs are not the contract's tensors.
    """
    folder = folder.resolve()
    manifest = read_manifest(folder)
    contract = read_contract(folder, manifest)
    model = open_model(verified_bytes(folder, manifest, MODEL), manifest.id)
    check_model(f"release {manifest.id}", contract, model)
    features = release_sources(folder, manifest, FEATURES_FOLDER)
    on_demand = load_on_demand(features, contract.on_demand) if contract.on_demand else None
    return LoadedRelease(folder, manifest, contract, model, on_demand)


def serving_module(folder: Path, manifest: ReleaseManifest, name: str) -> ModuleType | None:
    """The module `serving/<name>.py` of the release, or None when the manifest does not list it."""
    file = f"{SERVING}/{name}.py"
    if file not in manifest.files:
        return None
    try:
        return release_sources(folder, manifest, SERVING).module(f"{name}.py")
    except TidegateError:
        raise
    except Exception as error:
        raise InvalidInput(f"release {manifest.id}: {file} cannot be loaded: {type(error).__name__}: {error}") from error


def profile_function(release: LoadedRelease) -> Profile | None:
    """The function `profile` of the release's monitor file, of verified bytes; None where it names none."""
    manifest = release.manifest
    if MONITOR not in manifest.files:
        return None
    named = json.loads(verified_bytes(release.folder, manifest, MONITOR)).get("profile", "")
    file, _, name = str(named).partition(":")
    if not file:
        return None
    content, label = verified_bytes(release.folder, manifest, file), f"tidegate_release_{manifest.digest}_profile"
    try:
        function = getattr(Sources(label, {file: content}, release.folder).module(file), name, None)
    except Exception as error:
        raise InvalidInput(f"release {release.id}: {file} cannot be loaded: {type(error).__name__}: {error}") from error
    if not callable(function):
        raise InvalidInput(f"release {release.id}: {file} defines no function '{name}'")
    return function  # type: ignore[no-any-return]


def release_sources(folder: Path, manifest: ReleaseManifest, part: str) -> Sources:
    """The Python files of `part` of the release (`features` or `serving`), each verified."""
    begin = f"{part}/"
    names = [name for name in manifest.files if name.startswith(begin) and name.endswith(".py")]
    files = {name.removeprefix(begin): verified_bytes(folder, manifest, name) for name in names}
    return Sources(f"tidegate_release_{manifest.digest}_{part}", files, folder / part)
