"""Training outputs put together with the model that they are of: its contract has the tensors that the model really takes, and
where it says by what it is to be scored, the platform computes its losses.

`write_output` is for pipelines, `external_output` for a model that was trained elsewhere.
"""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from tidegate.adapters.onnx.session import open_onnx
from tidegate.apps.scoring import carried_losses, loss_function, name_of, scored_rows
from tidegate.domain.contract import FeatureContract
from tidegate.domain.errors import InvalidInput
from tidegate.domain.given_tensors import with_tensors
from tidegate.domain.release import Lineage
from tidegate.files.digests import file_digest, files_digest
from tidegate.files.evaluation import CHAMPION_FORECAST, LOSS, MODEL_FORECAST, TIME, of_version_1
from tidegate.files.training_output import TrainingOutput
from tidegate.ports.tensor_model import inputs_of
from tidegate.training.output import NO_FEATURES, read_contract, write_features, write_parts

WHAT = "model to register"
EXTERNAL = "external"


def write_output(
    folder: Path | str,
    *,
    onnx: bytes,
    lineage: Lineage,
    reference: pl.DataFrame,
    evaluation: pl.DataFrame,
    loss: str = "",
    losses: Mapping[str, Any] | str | None = None,
    features: Path | str | None = None,
    champion: str | None = None,
    identity: Sequence[str] = (),
    metrics: Mapping[str, Mapping[str, float]] | None = None,
    details: Mapping[str, Any] | None = None,
    card: str = "",
    files: Mapping[str, bytes] | None = None,
    what: str = "training output",
) -> TrainingOutput:
    """Write a whole training output to `folder`, and open it; raises InvalidInput naming what does not fit.

    `features` is the folder below which an earlier step wrote the contract (`RunFeatures.write`), None for a model without
    features. `evaluation` has the key's columns, and `segment_*`; `identity` names the columns that tell rows apart beside the
    key, by default `event_timestamp` where there is one. Its losses come in one of two ways:

    - `losses` says by what the platform scores this very model: {"kind": "log_loss", "output": NAME, ...}
      (tidegate.statistics.losses) or a function `FILE.py:FUNCTION` of (outputs, outcome). Then the rows hold the model's
      inputs, `outcome`, and `baseline_<name>`, a baseline's predictions; at promotion the champion is scored on the same rows.
    - Without it the pipeline computed them (of models at several origins, say): `loss_model`, `loss_<baseline>`, and
      `loss_champion` where there is a champion, which is version `champion`; `loss` says what the loss is.

    `metrics` are the pipeline's own, by forecast; `details` what else evaluation.json shall say; `files` what else the output
    holds for people, by path.
    """
    model = open_onnx(onnx, what)
    contract = read_contract(features) if features is not None else NO_FEATURES
    contract = with_tensors(contract, inputs_of(model), what)
    spec: dict[str, Any] = {}
    if losses is not None:
        spec = carried_losses(losses, Path(folder))
        evaluation = scored_rows(evaluation, contract, model, loss_function(spec, Path(folder)), what)
        if LOSS + CHAMPION_FORECAST in evaluation.columns:
            raise InvalidInput(f"{what}: the rows have '{LOSS}{CHAMPION_FORECAST}'; the platform scores the champion itself")
    return write_parts(
        Path(folder),
        onnx=onnx,
        contract=contract,
        features=None if features is None else Path(features),
        lineage=lineage,
        reference=reference,
        evaluation=evaluation,
        loss=loss or (name_of(spec) if spec else ""),
        losses=spec,
        champion=champion,
        identity=identity,
        metrics=metrics,
        details=details,
        card=card,
        files=files,
    )


def external_output(
    into: Path | str,
    *,
    onnx: Path | str,
    reference: Path | str,
    evaluation: Path | str,
    trained_until: str,
    contract: FeatureContract | None = None,
    on_demand: Path | None = None,
    losses: Mapping[str, Any] | str | None = None,
    loss: str = "",
    identity: Sequence[str] = (),
    metrics: Mapping[str, Mapping[str, float]] | None = None,
    score: object = None,
) -> TrainingOutput:
    """A model that was trained elsewhere, as a training output in `into` (which must not exist or be empty).

    `reference` is a parquet file with what the model was fitted to: the contract's columns, the key and `event_timestamp`, and
    inputs that requests bring; `evaluation` one of held-out rows, as `write_output` has them; `contract` is that of a feature
    service, None for a model without features; `on_demand` the module that the contract's on-demand transformation names.
    `score`, which earlier versions needed, only gives a warning.
    """
    if score is not None:
        warnings.warn(
            "external_output(score=...) has no effect any more: the platform scores the model itself, by what `losses` says; "
            "leave it out",
            FutureWarning,
            stacklevel=2,
        )
    out = Path(into)
    for path in map(Path, (onnx, reference, evaluation)):
        if not path.is_file():
            raise InvalidInput(f"{WHAT}: there is no file {path}")
    if out.exists() and any(out.iterdir()):
        raise InvalidInput(f"{WHAT}: {out} is not empty; name a new folder")
    known = contract or NO_FEATURES
    beside = [*known.vector, *known.key_names, *((TIME,) if known.vector else ())]
    rows = _frame(Path(evaluation), known.key_names)
    if losses is None and LOSS + MODEL_FORECAST not in rows.columns:
        rows, loss = of_version_1(rows), loss or "absolute error of the median"
    with tempfile.TemporaryDirectory() as parts:
        write_features(Path(parts), known, on_demand.parent if on_demand else None)
        return write_output(
            out,
            onnx=Path(onnx).read_bytes(),
            lineage=Lineage(
                data=files_digest([Path(reference), Path(evaluation)]),
                features=files_digest([Path(parts) / "features"]),
                code=file_digest(Path(onnx)),
                pipeline=EXTERNAL,
                run_id=EXTERNAL,
                trained_until=trained_until,
            ),
            reference=_frame(Path(reference), beside),
            evaluation=rows,
            loss=loss,
            losses=losses,
            features=parts,
            identity=identity,
            metrics=metrics,
            what=WHAT,
        )


def _frame(path: Path, required: Sequence[str]) -> pl.DataFrame:
    try:
        frame = pl.read_parquet(path)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise InvalidInput(f"{WHAT}: {path} is not a parquet file ({error})") from error
    missing = [name for name in required if name not in frame.columns]
    if missing or frame.is_empty():
        which = f"no column '{missing[0]}'" if missing else "no row"
        raise InvalidInput(f"{WHAT}: {path} has {which}, required columns: {', '.join(required)}")
    return frame
