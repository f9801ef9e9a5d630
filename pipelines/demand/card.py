"""The model card: what the model is for, what it learned from, how good it is and where not (Mitchell et al., 2019)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from tidegate.api.training import FeatureContract, Lineage, provenance

from .parameters import TrainingParameters

SHOWN = ("wape", "pinball")


def model_card(
    name: str,
    evaluation: Mapping[str, Any],
    lineage: Lineage,
    parameters: TrainingParameters,
    importance: Mapping[str, float],
    contract: FeatureContract,
) -> str:
    """Markdown."""
    top = sorted(importance.items(), key=lambda item: -item[1])[:8]
    lines = [
        f"# Model card: {name}",
        "",
        f"Units of each {contract.entity} that will be ordered on each of the next {parameters.horizons} days, as the "
        "quantiles 0.1, 0.5 and 0.9. Gradient-boosted trees (LightGBM) on the square root of units, served as ONNX.",
        "",
        f"Trained on days before {lineage.trained_until}. Not for {contract.entity}s without a sale before the forecast, and "
        "not for totals: medians do not add up to the median of a sum.",
        "",
        f"## Errors on {len(evaluation['origins'])} rolling origins",
        "",
        f"{evaluation['eligible']:,} forecasts of {evaluation['entities']} {contract.entity}s with "
        f"{parameters.min_selling_days} or more selling days; at each origin a model saw only days before it.",
        "",
        *_table({forecast: values for forecast, values in evaluation["forecasts"].items()}),
        "",
        "`wape` is of the median (for baselines of their empirical median), `pinball` the mean over quantiles, in units.",
        "",
        "## Errors of the model by segment, all SKUs",
        "",
        *_table(
            {segment: values["forecasts"]["model"] | {"n": values["n"]} for segment, values in evaluation["segments"].items()}
        ),
        "",
        "## Share of actuals at or below each quantile",
        "",
        ", ".join(f"{column} {share:.1%}" for column, share in evaluation["coverage"].items())
        + ". Many days have no sale, so low quantiles of 0 cover more than their share.",
        "",
        "## Features",
        "",
        f"{len(contract.vector)} features of service `{contract.service}`; the most used: "
        + ", ".join(f"`{feature}` ({share:.0%})" for feature, share in top),
        "",
        *provenance(lineage, dataclasses.asdict(parameters)),
    ]
    return "\n".join(lines) + "\n"


def _table(rows: Mapping[str, Mapping[str, float]]) -> list[str]:
    columns = list(dict.fromkeys(column for values in rows.values() for column in values))
    head = [f"| | {' | '.join(columns)} |", f"|---|{'---|' * len(columns)}"]
    return head + [f"| {name} | {' | '.join(_number(values.get(c)) for c in columns)} |" for name, values in rows.items()]


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:,}" if isinstance(value, int) else f"{value:.3f}"
