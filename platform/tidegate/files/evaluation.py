"""How a version did on rows that it had not seen: `evaluation.parquet`, a loss a row and forecast, and `evaluation.json`.

evaluation.parquet
    key columns             one a join key of the model (none for a model without features)
    loss_<forecast>         float, finite, one a row: `loss_model`, `loss_<baseline>` for each baseline, and `loss_champion`
                            where there is a champion (null on rows that it had seen)
    segment_<name>          a way to cut the rows
    event_timestamp, ...    what else tells rows apart (`identity`), and whatever the pipeline keeps beside
evaluation.json
    {"schema": 2, "n": rows, "loss": what the loss is, for people, "scored": "pipeline" or "platform" (who computed it),
     "baselines": [...], "champion": version or null, "identity": [columns], "forecasts": {forecast: {metric: value}},
     "losses": what the platform scores by, absent where a pipeline computed the losses}
    Metrics are the pipeline's own, shown and kept; `loss`, the mean over the forecast's rows, is always among them.

Rows that the platform scores hold the model's inputs (the contract's vector, and what else it asks for, by name), `outcome` (or
several, `outcome_<name>`) and for each baseline its prediction, `baseline_<name>`, in the form of the model's output.

Version 1 had `actual` and quantiles of each forecast; its loss is the absolute error of the median.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from tidegate.domain.errors import InvalidInput
from tidegate.domain.formats import Format, Unknown, added, document

LOSS, SEGMENT, BASELINE, METRIC = "loss_", "segment_", "baseline_", "loss"
MODEL_FORECAST, CHAMPION_FORECAST = "model", "champion"
TIME = "event_timestamp"
PIPELINE, PLATFORM = "pipeline", "platform"
OUTCOME, MEDIAN = "actual", f"_q{50}"  # of version 1, which named columns by the quantile in percent
FORMAT = Format("evaluation", Unknown.IGNORED, newest=2, upgrades={1: lambda value: {**value, METRIC: "", "scored": PIPELINE}})


@dataclass(frozen=True)
class Summary:
    """evaluation.json."""

    n: int
    loss: str
    scored: str
    forecasts: Mapping[str, Mapping[str, float]]
    baselines: tuple[str, ...] = ()
    champion: str | None = None
    identity: tuple[str, ...] = ()
    losses: Mapping[str, Any] = added(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return {"schema": FORMAT.newest, **document(self)}


@dataclass(frozen=True)
class Evaluation:
    """The rows with a loss a forecast, whatever version wrote them, and what was said of them."""

    rows: pl.DataFrame
    summary: Summary
    key: tuple[str, ...]
    where: str = "the evaluation"
    remark: str = ""  # what has to be known of the champion's losses, or why there are none
    _sound: dict[str, pl.Series] = field(default_factory=dict, repr=False, compare=False)

    @property
    def forecasts(self) -> tuple[str, ...]:
        return tuple(name.removeprefix(LOSS) for name in self.rows.columns if name.startswith(LOSS))

    @property
    def baselines(self) -> tuple[str, ...]:
        """All forecasts that are neither the model's nor the champion's: the rows say which there are."""
        return tuple(name for name in self.forecasts if name not in (MODEL_FORECAST, CHAMPION_FORECAST))

    @property
    def segments(self) -> tuple[str, ...]:
        return tuple(name for name in self.rows.columns if name.startswith(SEGMENT))

    @property
    def identity(self) -> tuple[str, ...]:
        """The columns that make two rows the same; () where nothing tells rows apart."""
        said = self.summary.identity or (_moments(self.rows) if not self.summary.loss else (TIME,))
        beside = [name for name in said if name in self.rows.columns]
        return (*self.key, *(name for name in beside if name not in self.key)) if beside else ()

    @property
    def time(self) -> str | None:
        """The column that says when a row is of."""
        names = (TIME, *self.identity)
        return next((name for name in names if name in self.rows.columns and self.rows.schema[name].is_temporal()), None)

    def compared_with(self, other: str) -> Evaluation:
        """The rows on which both the model and `other` have a loss; a champion has none on rows that it had seen."""
        if other != CHAMPION_FORECAST:
            return self
        column = LOSS + CHAMPION_FORECAST
        kept = self.rows.drop_nulls(column) if column in self.rows.columns else self.rows.clear()
        return Evaluation(kept, self.summary, self.key, self.where, self.remark)

    def losses(self, forecast: str) -> pl.Series:
        """The loss of each row; raises InvalidInput unless all are finite numbers."""
        if forecast not in self._sound:
            if LOSS + forecast not in self.rows.columns:
                raise InvalidInput(
                    f"{self.where} has no column '{LOSS}{forecast}'; it has {', '.join(self.forecasts) or 'none'}"
                )
            found = self.rows[LOSS + forecast]
            values = found.cast(pl.Float64, strict=False) if found.dtype.is_numeric() else found.clear().cast(pl.Float64)
            if len(values) != len(found) or values.null_count() or not bool(values.is_finite().all()):
                raise InvalidInput(f"{self.where} has rows without a finite loss of '{forecast}'")
            if bool((values < 0).any()):
                raise InvalidInput(f"{self.where} has rows with a loss of '{forecast}' below 0; a loss is 0 at best")
            self._sound[forecast] = values
        return self._sound[forecast]

    def check(self) -> None:
        """Raises InvalidInput for rows that cannot be judged: of nobody, twice the same, a baseline named but not there."""
        for name in self.key:
            if name not in self.rows.columns:
                raise InvalidInput(f"{self.where} has no column '{name}', required: every join key of the model")
            if self.rows[name].null_count():
                raise InvalidInput(f"{self.where} has rows without '{name}'")
        if self.identity and (twice := int(self.rows.select(self.identity).is_duplicated().sum())):
            raise InvalidInput(
                f"{self.where} has {twice} rows of the same {', '.join(self.identity)}: each forecast counts once"
            )
        if missing := set(self.summary.baselines) - set(self.baselines):
            raise InvalidInput(f"{self.where}: baseline '{min(missing)}' has no loss in the rows")

    @property
    def champion_rows(self) -> int:
        """How many rows the champion has a loss on."""
        return len(self.compared_with(CHAMPION_FORECAST).rows)

    def mean_loss(self, forecast: str) -> float:
        values = self.compared_with(forecast).losses(forecast)
        return float(values.mean()) if len(values) else math.nan  # type: ignore[arg-type]

    def contradictions(self) -> Iterator[str]:
        """What the rows say otherwise than the summary beside them."""
        if not self.summary.loss:
            yield from self._contradictions_of_version_1()
            return
        if len(self.rows) != self.summary.n:
            yield f"evaluation.parquet has {len(self.rows):,} rows, evaluation.json says {self.summary.n:,}"
        for name in self.forecasts:
            observed, said = self.mean_loss(name), self.summary.forecasts.get(name, {}).get(METRIC, math.nan)
            if not (math.isclose(observed, said, rel_tol=1e-6) or math.isnan(observed)):
                where = f"the rows of evaluation.parquet have a mean loss of '{name}' of"
                yield f"{where} {observed:.6g}, evaluation.json says {said:.6g}"

    def _contradictions_of_version_1(self) -> Iterator[str]:
        """Its summary had the errors of the median over the sum of what was observed, of rows that were eligible."""
        rows = self.rows.filter("eligible") if "eligible" in self.rows.columns else self.rows
        total = float(rows[OUTCOME].abs().sum())
        observed = float(rows[LOSS + MODEL_FORECAST].sum()) / total if total else math.nan
        said = self.summary.forecasts[MODEL_FORECAST]
        if not any(math.isclose(observed, value, rel_tol=1e-6) for value in said.values()):
            yield f"the rows of evaluation.parquet have a relative error of {observed:.6g}, evaluation.json says {dict(said)}"


def read(rows: pl.DataFrame, said: Mapping[str, Any], key: Sequence[str], where: str) -> Evaluation:
    """An evaluation of any version; raises InvalidInput, IntegrityError that names `where`."""
    summary = FORMAT.read(said, Summary, where)
    return Evaluation(
        rows if said.get("schema", 1) > 1 else of_version_1(rows), summary, tuple(key), f"{where}: the evaluation"
    )


def of_version_1(rows: pl.DataFrame) -> pl.DataFrame:
    """What version 1 wrote, with the absolute error of each forecast's median as its loss."""
    names = [name.removesuffix(MEDIAN) for name in rows.columns if name.endswith(MEDIAN)]
    if OUTCOME not in rows.columns or not rows.schema[OUTCOME].is_numeric():
        return rows.with_columns(pl.lit(None, pl.Float64).alias(LOSS + name) for name in names)
    forecasts = {name: rows[name + MEDIAN] for name in names}
    outcome = rows[OUTCOME].cast(pl.Float64)
    missing = pl.Series([None] * len(rows), dtype=pl.Float64)
    losses = {n: (f.cast(pl.Float64) - outcome).abs() if f.dtype.is_numeric() else missing for n, f in forecasts.items()}
    return rows.with_columns(loss.alias(LOSS + name) for name, loss in losses.items())


def _moments(rows: pl.DataFrame) -> tuple[str, ...]:
    """What told rows of version 1 apart: the times and whole numbers beside them, where there is any time."""
    apart = [n for n, kind in rows.schema.items() if (kind.is_temporal() or kind.is_integer()) and not n.startswith(SEGMENT)]
    apart = [name for name in apart if name != OUTCOME and not name.startswith(LOSS) and not name.endswith(MEDIAN)]
    return tuple(apart) if any(rows.schema[name].is_temporal() for name in apart) else ()
