"""Scores that the platform computes itself: a model is run on evaluated rows, and a loss compares what it says with what came.

Promotion of a version that can be scored rests on these and on no number of its trainer's: the candidate's losses are computed
anew from its bytes, and the champion, whatever it was evaluated on when it was registered, is scored on the candidate's rows.

A loss is built in (`statistics.losses`) or a function of a Python file that the training output carries and its digest covers,
`FUNCTION(outputs, outcome) -> [n]`: outputs by name, and the outcome as an array, or arrays by name where there are several.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from tidegate.adapters.onnx.session import open_onnx
from tidegate.domain.contract import FeatureContract
from tidegate.domain.errors import InvalidInput, TidegateError
from tidegate.files.evaluation import BASELINE, CHAMPION_FORECAST, LOSS, MODEL_FORECAST, TIME, Evaluation
from tidegate.files.release_folder import MODEL, REFERENCE
from tidegate.files.source_code import Sources
from tidegate.files.training_folder import EVALUATION, LOSSES
from tidegate.files.training_output import TrainingOutput
from tidegate.gates.reference import reference_tensors
from tidegate.ports.tensor_model import TensorModel
from tidegate.statistics.losses import loss_of

OUTCOME, FUNCTION = "outcome", "function"
TIME_TYPE = pl.Datetime("us", "UTC")
BATCH = 4096
Outputs = Mapping[str, np.ndarray]
LossFunction = Callable[[Outputs, Any], np.ndarray]


def carried_losses(losses: Mapping[str, Any] | str, into: Path) -> dict[str, Any]:
    """`losses` as evaluation.json says them; a file `FILE.py:FUNCTION` is copied to `losses/` of the training output."""
    if isinstance(losses, Mapping):
        loss_of(losses)
        return dict(losses)
    file, _, function = losses.partition(":")
    if not Path(file).is_file() or not function:
        raise InvalidInput(f"losses: '{losses}' is no function of a file, required FILE.py:FUNCTION, or a mapping with 'kind'")
    (into / LOSSES).mkdir(parents=True, exist_ok=True)
    shutil.copyfile(file, into / LOSSES / Path(file).name)
    return {FUNCTION: f"{Path(file).name}:{function}"}


def name_of(losses: Mapping[str, Any]) -> str:
    """What the loss is, for people."""
    return str(losses[FUNCTION]) if FUNCTION in losses else loss_of(losses).name


def loss_function(losses: Mapping[str, Any], folder: Path) -> LossFunction:
    """The loss that evaluation.json names, of the training output in `folder`; raises InvalidInput."""
    if FUNCTION in losses:
        return _own(str(losses[FUNCTION]), folder / LOSSES)
    loss = loss_of(losses)

    def of(outputs: Outputs, outcome: Any) -> np.ndarray:
        name = loss.output or (next(iter(outputs)) if len(outputs) == 1 else "")
        if name not in outputs:
            said = f"'{name}' is no output" if name else "the model has several outputs"
            raise InvalidInput(f"losses: {said}, name one as 'output', of {', '.join(sorted(outputs))}")
        if not isinstance(outcome, np.ndarray):
            raise InvalidInput(f"losses: '{loss.kind}' scores one outcome, the rows have {', '.join(sorted(outcome))}")
        return loss.of(outputs[name], outcome)

    return of


def _own(name: str, folder: Path) -> LossFunction:
    file, _, function = name.partition(":")
    try:
        found = getattr(Sources.of(folder).module(file), function)
    except Exception as error:
        raise InvalidInput(f"losses: '{name}' cannot be loaded: {type(error).__name__}: {error}") from error

    def of(outputs: Outputs, outcome: Any) -> np.ndarray:
        try:
            return np.asarray(found(dict(outputs), outcome), dtype=np.float64)
        except TidegateError:
            raise
        except Exception as error:
            raise InvalidInput(f"losses: '{name}' fails: {type(error).__name__}: {error}") from error

    return of


def scored_rows(
    rows: pl.DataFrame, contract: FeatureContract, model: TensorModel, loss: LossFunction, what: str
) -> pl.DataFrame:
    """`rows` with `loss_model`, and `loss_<baseline>` of each column `baseline_<baseline>`."""
    outcome = outcome_of(rows, what)
    outputs = outputs_on(rows, contract, model, what)
    found = {LOSS + MODEL_FORECAST: _checked(loss(outputs, outcome), len(rows), "the model", what)}
    for column in (name for name in rows.columns if name.startswith(BASELINE)):
        name = column.removeprefix(BASELINE)
        said = _checked(loss(_predicted(rows[column], outputs), outcome), len(rows), f"baseline '{name}'", what)
        found[LOSS + name] = said
    return rows.with_columns(pl.Series(name, values) for name, values in found.items())


def said_of_reference(output: TrainingOutput, what: str) -> dict[str, np.ndarray]:
    """The model's outputs for rows of its reference, or of its evaluation where that alone holds its inputs; {} for neither."""
    wanted, model = required_columns(output.contract), open_onnx((output.folder / MODEL).read_bytes(), what)
    for frame, of in ((output.reference, REFERENCE), (output.evaluation.rows, EVALUATION)):
        if len(frame) and set(wanted) <= set(frame.columns):
            some = frame.gather_every(max(1, len(frame) // BATCH))
            return outputs_on(some, output.contract, model, what, of)
    return {}


def outputs_on(
    rows: pl.DataFrame, contract: FeatureContract, model: TensorModel, what: str, of: str = EVALUATION
) -> dict[str, np.ndarray]:
    """The model's outputs for `rows`; raises InvalidInput naming an input that they lack."""
    missing = [name for name in required_columns(contract) if name not in rows.columns]
    if missing:
        raise InvalidInput(f"{what}: the evaluated rows have no column '{missing[0]}', an input of the model")
    parts: list[dict[str, np.ndarray]] = []
    for start in range(0, len(rows), BATCH):
        tensors = reference_tensors(rows.slice(start, BATCH), contract, what, of)
        parts.append(model.run(tensors))
    if not parts:
        raise InvalidInput(f"{what}: there is no evaluated row")
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def required_columns(contract: FeatureContract) -> list[str]:
    return [*contract.vector, *(tensor.name for tensor in contract.asked)]


def outcome_of(rows: pl.DataFrame, what: str) -> Any:
    """The column `outcome`, or the columns `outcome_<name>` by name; raises InvalidInput for none, or one that is missing."""
    named = [OUTCOME] if OUTCOME in rows.columns else [name for name in rows.columns if name.startswith(f"{OUTCOME}_")]
    if not named:
        raise InvalidInput(f"{what}: the evaluated rows have no column '{OUTCOME}', or several '{OUTCOME}_NAME'")
    for name in named:
        series = rows[name]
        if series.null_count() or (series.dtype.is_float() and not bool(series.is_finite().all())):
            raise InvalidInput(f"{what}: the evaluated rows have rows without '{name}'")
    if named == [OUTCOME]:
        return _array(rows[OUTCOME])
    return {name.removeprefix(f"{OUTCOME}_"): _array(rows[name]) for name in named}


def _predicted(series: pl.Series, outputs: Outputs) -> dict[str, np.ndarray]:
    """A baseline's predictions as outputs of the model: a struct has several by name, any other column is the one output, and
    stands for each where the model has several."""
    if isinstance(series.dtype, pl.Struct):
        return {field.name: _array(series.struct.field(field.name)) for field in series.dtype.fields}
    return dict.fromkeys(outputs, _array(series))


def _array(series: pl.Series) -> np.ndarray:
    if series.dtype == pl.String or series.dtype == pl.Categorical:
        return np.array(series.cast(pl.String).to_list(), dtype=object)
    return np.array(series.to_list()) if isinstance(series.dtype, pl.List) else np.asarray(series.to_numpy())


def _checked(losses: np.ndarray, rows: int, of: str, what: str) -> np.ndarray:
    if losses.shape != (rows,) or not np.isfinite(losses).all() or (losses < 0).any():
        raise InvalidInput(
            f"{what}: the loss of {of} is {list(losses.shape)}, required {rows} finite numbers that are not below 0"
        )
    return losses


def scores(output: TrainingOutput, champion: tuple[str, TrainingOutput] | None, min_rows: int, what: str) -> Evaluation:
    """The evaluation of `output` with losses computed here, the champion's among them where its inputs are in the rows.

    A champion is scored on rows that are later than what it was trained on, where `min_rows` of them are; else on all, which
    flatters it, and the remark says so.
    """
    registered = output.evaluation
    loss = loss_function(registered.summary.losses, output.folder)
    model = open_onnx((output.folder / MODEL).read_bytes(), what)
    own = [name for name in registered.rows.columns if name != LOSS + CHAMPION_FORECAST]
    rows = scored_rows(registered.rows.select(own), output.contract, model, loss, what)
    computed = replace(registered, rows=rows, summary=replace(registered.summary, champion=None), _sound={})
    return computed if champion is None else _with_champion(computed, champion[0], champion[1], loss, min_rows)


def _with_champion(
    computed: Evaluation, version: str, champion: TrainingOutput, loss: LossFunction, min_rows: int
) -> Evaluation:
    rows, what = computed.rows, f"scoring champion version {version}"
    if missing := [name for name in required_columns(champion.contract) if name not in rows.columns]:
        why = f"it reads '{missing[0]}', which these rows lack: evaluate with the inputs of both"
        return replace(computed, remark=why, _sound={})
    try:
        losses = _of_champion(rows, computed.summary.losses, champion, loss, what)
    except InvalidInput as error:
        return replace(computed, remark=f"it cannot be scored on these rows: {error}", _sound={})
    seen, remark = _seen(rows, champion.lineage.trained_until), ""
    if len(rows) - seen.sum() < min_rows and seen.any():
        remark = f"the champion may have seen {seen.sum():,} of the rows when it was trained: its loss is flattered"
        seen = np.zeros(len(rows), dtype=bool)
    column = pl.Series(LOSS + CHAMPION_FORECAST, np.where(seen, np.nan, losses)).fill_nan(None)
    summary = replace(computed.summary, champion=version)
    return replace(computed, rows=rows.with_columns(column), summary=summary, remark=remark, _sound={})


def _of_champion(
    rows: pl.DataFrame, losses: Mapping[str, Any], champion: TrainingOutput, loss: LossFunction, what: str
) -> np.ndarray:
    """The losses of a model whose only output may have another name than the loss says."""
    outputs = outputs_on(rows, champion.contract, open_onnx((champion.folder / MODEL).read_bytes(), what), what)
    named = str(losses.get("output", ""))
    if named and named not in outputs and len(outputs) == 1:
        outputs = {named: next(iter(outputs.values()))}
    return _checked(loss(outputs, outcome_of(rows, what)), len(rows), "the champion", what)


def _seen(rows: pl.DataFrame, trained_until: str) -> np.ndarray:
    """Rows of moments before the end of what a model was trained on; none where rows have no time."""
    if TIME not in rows.columns or not rows.schema[TIME].is_temporal():
        return np.zeros(len(rows), dtype=bool)
    try:
        until = datetime.fromisoformat(trained_until)
    except ValueError:
        return np.zeros(len(rows), dtype=bool)
    until = until.astimezone(UTC) if until.tzinfo else until.replace(tzinfo=UTC)
    return (rows[TIME].cast(TIME_TYPE) < until).fill_null(True).to_numpy()
