"""Training outputs put together with the model that they are of: its contract has the tensors that the model really takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from tidegate.adapters.onnx.session import open_onnx
from tidegate.domain.given_tensors import with_tensors
from tidegate.domain.release import Lineage
from tidegate.files.training_output import TrainingOutput
from tidegate.ports.tensor_model import inputs_of
from tidegate.training.output import NO_FEATURES, read_contract, write_parts


def write_output(
    folder: Path | str,
    *,
    onnx: bytes,
    lineage: Lineage,
    reference: pl.DataFrame,
    evaluation: pl.DataFrame,
    loss: str,
    features: Path | str | None = None,
    champion: str | None = None,
    identity: Sequence[str] = (),
    metrics: Mapping[str, Mapping[str, float]] | None = None,
    details: Mapping[str, Any] | None = None,
    card: str = "",
    files: Mapping[str, bytes] | None = None,
) -> TrainingOutput:
    """Write a whole training output to `folder`, and open it; raises InvalidInput naming what does not fit.

    `features` is the folder below which an earlier step wrote the contract (`RunFeatures.write`), None for a model without
    features. `evaluation` has the key's columns, `loss_model`, `loss_<baseline>` for each baseline and `loss_champion` where
    there is a champion; `loss` says what the loss is. `champion` is the version that `loss_champion` is of. `identity` names
    the columns that tell rows apart beside the key, by default `event_timestamp` where there is one. `metrics` are the
    pipeline's own, by forecast; `details` what else evaluation.json shall say; `files` what else the output holds for people,
    by path.
    """
    what = "training output"
    contract = read_contract(features) if features is not None else NO_FEATURES
    return write_parts(
        Path(folder),
        onnx=onnx,
        contract=with_tensors(contract, inputs_of(open_onnx(onnx, what)), what),
        features=None if features is None else Path(features),
        lineage=lineage,
        reference=reference,
        evaluation=evaluation,
        loss=loss,
        champion=champion,
        identity=identity,
        metrics=metrics,
        details=details,
        card=card,
        files=files,
    )
