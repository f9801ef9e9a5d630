"""Whether a training output can be released: asked when it is registered and when a release is built, before anything is
written.

The model is what its contract says and takes any number of rows; no request can end its process by a division; its outputs are
finite for the rows of its reference; its on-demand transformation runs on them; the serving folder's `service.py` loads and has
its parts. A slot asks the same of the model (`serving.runtime.model_check`) once more, of the bytes that it serves.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import polars as pl

from tidegate.adapters.bento.hosting import configure_bentoml, service_parts
from tidegate.adapters.onnx.divisions import dangerous_division
from tidegate.adapters.onnx.session import open_onnx
from tidegate.domain.contract import FeatureContract
from tidegate.domain.digests import canonical_json
from tidegate.domain.errors import InvalidInput, TidegateError
from tidegate.domain.given_tensors import check_inputs, with_tensors
from tidegate.files.release_folder import CONTRACT, MODEL
from tidegate.files.source_code import Sources
from tidegate.files.training_output import TrainingOutput
from tidegate.gates.reference import column_of, reference_tensors
from tidegate.ports.tensor_model import inputs_of
from tidegate.serving.runtime.model_check import check_model
from tidegate.serving.runtime.vectors import feature_columns, load_on_demand, stored_names, text_names

ROWS = 4096  # of a reference, evenly spaced, that the model is run on
TIME = "event_timestamp"
SERVICE = "service.py"


def decide_tensors(folder: Path, what: str) -> None:
    """Write into the contract of the training output in `folder` which of the model's inputs are made of features, and which
    requests bring (`domain.given_tensors`), unless it says so already. Raises InvalidInput for a model that does not fit."""
    path = folder / CONTRACT
    if not path.is_file() or not (folder / MODEL).is_file():
        return  # whoever opens the output says what it lacks
    contract = FeatureContract.from_bytes(path.read_bytes(), what)
    inputs = inputs_of(open_onnx((folder / MODEL).read_bytes(), what))
    if contract.inputs:
        return check_inputs(contract, inputs, what)
    decided = with_tensors(contract, inputs, what)
    if decided != contract:
        path.write_bytes(canonical_json(decided.to_json()))


def check_output(output: TrainingOutput, what: str) -> None:
    """Raise InvalidInput, which begins with `what`, unless the model can be served as its contract says."""
    contract, reference = output.contract, output.reference
    content = (output.folder / MODEL).read_bytes()
    model = open_onnx(content, what)
    if division := dangerous_division(content):
        raise InvalidInput(
            f"{what}: the model's {division}, and the least number divided by -1 ends the process that computes it, so that a "
            "request could stop what is live; divide floats (Cast both), or bound the divisor (Max or Clip from a constant "
            "of at least 0)"
        )
    some = reference.gather_every(max(1, len(reference) // ROWS))
    check_model(what, contract, model, reference_tensors(some, contract, what))
    _check_on_demand(Sources.of(output.folder / "features"), contract, some, what)


def check_service(serving: Path | None, home: Path, what: str) -> None:
    """Raise InvalidInput unless the serving folder's `service.py`, if it has one, loads and defines a service and an endpoint.
    `home` is BentoML's."""
    if serving is None or not (serving / SERVICE).is_file():
        return
    configure_bentoml(home)
    try:
        module = Sources.of(serving).module(SERVICE)
    except TidegateError:
        raise
    except Exception as error:
        raise InvalidInput(f"{what}: {serving / SERVICE} cannot be loaded: {type(error).__name__}: {error}") from error
    service_parts(module, what)


def _check_on_demand(sources: Sources, contract: FeatureContract, reference: pl.DataFrame, what: str) -> None:
    if not contract.on_demand:
        return
    function = load_on_demand(sources, contract.on_demand)
    needed = [*stored_names(contract), *text_names(contract), *contract.request, TIME]
    if any(name not in reference.columns for name in needed):
        return  # the reference holds the vector; what else went into it, not always
    stored = [column_of(reference[name]) for name in stored_names(contract)]
    matrix = np.stack(stored, axis=1) if stored else np.empty((len(reference), 0))
    times = reference[TIME].cast(pl.Datetime("us", "UTC")).to_physical().to_numpy()
    request = {name: reference[name].to_numpy() for name in contract.request}
    texts: Mapping[str, np.ndarray] = {name: column_of(reference[name]) for name in text_names(contract)}
    try:
        columns = feature_columns(contract, matrix, times, request, function, texts)
    except TidegateError:
        raise
    except Exception as error:
        raise InvalidInput(
            f"{what}: on-demand transformation '{contract.on_demand}' fails on rows of the reference: "
            f"{type(error).__name__}: {error}"
        ) from error
    for name in contract.derived:
        if columns[name].shape != (len(reference),):
            raise InvalidInput(
                f"{what}: on-demand transformation '{contract.on_demand}' gives '{name}' as {list(columns[name].shape)}, "
                f"required [{len(reference)}], a value a row"
            )
