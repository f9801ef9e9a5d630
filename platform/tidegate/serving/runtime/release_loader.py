"""Loading a release into a serving process: every byte is verified against the manifest before it is used.

Code (`serving/*.py` and `features/*.py`) is compiled from the bytes that were verified, never from a file read again or from
byte code, and runs under module names that hold the release's digest, so two releases in one process share nothing
(`domain.source_code`). Files that the manifest does not list are never looked at.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np

from tidegate.domain.contract import FeatureContract
from tidegate.domain.errors import InvalidInput, TidegateError
from tidegate.domain.release import ReleaseManifest
from tidegate.files.release_folder import MODEL, SERVING, read_contract, read_manifest, verified_bytes
from tidegate.files.source_code import Sources
from tidegate.ports.tensor_model import OpenModel, TensorModel
from tidegate.serving.runtime.tensors import FEATURES
from tidegate.serving.runtime.vectors import OnDemand, load_on_demand

FEATURES_FOLDER = "features"


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
    when the model's input is not the contract's vector.
    """
    folder = folder.resolve()
    manifest = read_manifest(folder)
    contract = read_contract(folder, manifest)
    model = open_model(verified_bytes(folder, manifest, MODEL), manifest.id)
    _check_input(manifest, contract, model)
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


def release_sources(folder: Path, manifest: ReleaseManifest, part: str) -> Sources:
    """The Python files of `part` of the release (`features` or `serving`), each verified."""
    begin = f"{part}/"
    names = [name for name in manifest.files if name.startswith(begin) and name.endswith(".py")]
    files = {name.removeprefix(begin): verified_bytes(folder, manifest, name) for name in names}
    return Sources(f"tidegate_release_{manifest.digest}_{part}", files, folder / part)


def _check_input(manifest: ReleaseManifest, contract: FeatureContract, model: TensorModel) -> None:
    expected = len(contract.vector)
    spec = model.inputs[0] if len(model.inputs) == 1 else None
    if spec is None or spec.name != FEATURES or spec.datatype != "FP32" or not spec.accepts((1, expected)):
        found = ", ".join(f"{s.name} {s.datatype} {list(s.shape)}" for s in model.inputs)
        raise InvalidInput(
            f"release {manifest.id}: the model's input is [{found}], required one input '{FEATURES}' FP32 [-1, {expected}] "
            "as the feature contract says; export the model again"
        )
    check_batches(f"release {manifest.id}", model, expected)


def check_batches(what: str, model: TensorModel, features: int) -> None:
    """Refuse a model that was exported for batches of one size: its clients would be told that their requests are wrong."""
    for rows in (1, 3):
        try:
            outputs = model.run({FEATURES: np.zeros((rows, features), dtype=np.float32)})
            short = [name for name, values in outputs.items() if values.shape[:1] != (rows,)]
            problem = f"its output '{short[0]}' has shape {list(outputs[short[0]].shape)}" if short else ""
        except InvalidInput as error:
            problem = str(error)
        if problem:
            raise InvalidInput(
                f"{what}: the model cannot take {rows} rows at once ({problem}); export it again with a dynamic "
                f"first axis (torch.onnx: dynamic_axes={{'{FEATURES}': {{0: 'rows'}}}}; skl2onnx: shape [None, {features}])"
            )
