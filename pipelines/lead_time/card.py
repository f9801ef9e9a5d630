"""The model card: what the model is for, what it learned from, how good it is and where not (Mitchell et al., 2019)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tidegate.api.training import provenance

COLUMNS = ("pinball", "pinball_median", "coverage", "below", "above")


def model_card(
    name: str,
    measured: Mapping[str, Any],
    lineage: Any,
    settings: Mapping[str, Any],
    shifts: Mapping[str, Sequence[float]],
    vector: Sequence[str],
) -> str:
    """Markdown."""
    segments = measured["segments"]
    lines = [
        f"# Model card: {name}",
        "",
        "Days from an order to its delivery, or from the scheduled day where there is no order (negative: early), as the "
        "quantiles 0.1, 0.5 and 0.9. Quantile forests with conformal shifts, one set a question, in one ONNX graph.",
        "",
        f"Trained on deliveries that were recorded before {lineage.trained_until}. Not for vendors and countries without a "
        "delivery, not for sums over shipments, and not for what is ordered on other terms than the programme's.",
        "",
        f"## Losses on {len(measured['origins'])} half-years that follow a training",
        "",
        f"{measured['n']:,} questions about shipments of {measured['lanes']} lanes; at each origin a model saw only "
        "what was known before it.",
        "",
        *_table({forecast: values for forecast, values in measured["forecasts"].items()}, COLUMNS),
        "",
        "`pinball` is the mean over the three quantiles, in days; `coverage` the share of deliveries within the 10-90 % band, "
        "`below` and `above` what lies outside. `vendor_median` has one value for all three quantiles, so its band is empty.",
        "",
        "## The model and its strongest baselines by segment",
        "",
        "| | n | model | vendor | global | coverage |",
        "|---|---|---|---|---|---|",
        *(_segment(each, values) for each, values in segments.items()),
        "",
        "## Shifts of the ends of the band, in days",
        "",
        *(f"- {basis}: {low:+.1f} below, {high:+.1f} above" for basis, (low, high) in shifts.items()),
        "",
        "## Features",
        "",
        f"{len(vector)} numbers of the past of lane, vendor and country, their names, and what the request says: question, "
        "terms, product class, dosage form, first line, quantity, pack price and month. The scheduled day is no input where "
        "there is an order: the source has the last schedule, not the one at the time.",
        "",
        *provenance(lineage, settings),
    ]
    return "\n".join(lines) + "\n"


def _table(rows: Mapping[str, Mapping[str, float]], columns: Sequence[str]) -> list[str]:
    head = [f"| | {' | '.join(columns)} |", f"|---|{'---|' * len(columns)}"]
    return head + [f"| {name} | {' | '.join(f'{values[c]:.3f}' for c in columns)} |" for name, values in rows.items()]


def _segment(name: str, values: Mapping[str, Any]) -> str:
    by = values["forecasts"]
    numbers = " | ".join(f"{by[each]['pinball']:.2f}" for each in ("model", "vendor", "global"))
    return f"| {name} | {values['n']:,} | {numbers} | {by['model']['coverage']:.1%} |"
