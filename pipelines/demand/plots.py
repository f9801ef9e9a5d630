"""Plots of an evaluation, for the registry, the card and reports."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import polars as pl

from .evaluation import ELIGIBLE, measures
from .names import BASELINES, MODEL_FORECAST, QUANTILE_COLUMNS, QUANTILES

TOP_FEATURES = 15
COLOURS = {MODEL_FORECAST: "#0b6e99", "seasonal_naive": "#b8b8b8", "mean_28": "#8f8f8f", "croston_sba": "#666666"}


def draw(table: pl.DataFrame, importance: Mapping[str, float], folder: Path) -> list[Path]:
    """Write the plots of an evaluation table as PNG; returns their paths."""
    from matplotlib.figure import Figure  # not pyplot: it keeps a global of the figures

    folder.mkdir(parents=True, exist_ok=True)
    eligible = table.filter(pl.col(ELIGIBLE))
    plots: dict[str, Callable[[Any], None]] = {
        "forecasts": lambda axes: _forecasts(axes, eligible),
        "wape_by_origin": lambda axes: _wape_by_origin(axes, eligible),
        "calibration": lambda axes: _calibration(axes, eligible),
        "importance": lambda axes: _importance(axes, importance),
    }
    paths = []
    for name, plot in plots.items():
        figure = Figure(figsize=(8, 4), dpi=90, layout="constrained")
        axes = figure.subplots()
        plot(axes)
        axes.spines[["top", "right"]].set_visible(False)
        paths.append(folder / f"{name}.png")
        figure.savefig(paths[-1], metadata={"Software": None})
    return paths


def _forecasts(axes: Any, table: pl.DataFrame) -> None:
    daily = table.group_by("date").agg(pl.col("actual", "model_q50", "seasonal_naive_q50").sum()).sort("date")
    axes.plot(daily["date"], daily["actual"], color="black", label="actual")
    axes.plot(daily["date"], daily["model_q50"], color=COLOURS[MODEL_FORECAST], label="model (sum of medians)")
    axes.plot(daily["date"], daily["seasonal_naive_q50"], color=COLOURS["seasonal_naive"], label="seasonal naive")
    axes.set(title="Units a day, all SKUs evaluated", ylabel="units")
    axes.tick_params(axis="x", rotation=30)
    axes.legend(frameon=False)


def _wape_by_origin(axes: Any, table: pl.DataFrame) -> None:
    names = (MODEL_FORECAST, *BASELINES)
    by_origin = [(origin, measures(part)) for (origin,), part in sorted(table.group_by("origin"), key=lambda x: str(x[0]))]
    for i, name in enumerate(names):
        places = [x + (i - 1.5) * 0.2 for x in range(len(by_origin))]
        axes.bar(places, [m[name].get("wape", 0.0) for _, m in by_origin], 0.2, color=COLOURS[name], label=name)
    axes.set_xticks(range(len(by_origin)), [f"{origin:%Y-%m-%d}" for origin, _ in by_origin])
    axes.set(title="WAPE by origin (lower is better)", ylabel="WAPE")
    axes.legend(frameon=False, ncols=4)


def _calibration(axes: Any, table: pl.DataFrame) -> None:
    shares = [(table["actual"] <= table[f"model_{column}"]).mean() for column in QUANTILE_COLUMNS]
    shares_below = [(table["actual"] < table[f"model_{column}"]).mean() for column in QUANTILE_COLUMNS]
    axes.plot([0, 1], [0, 1], color="#b8b8b8", linewidth=1)
    axes.vlines(QUANTILES, shares_below, shares, color=COLOURS[MODEL_FORECAST], linewidth=6)
    axes.set(
        title="Share of actuals below (and at or below) each quantile; zeros make the difference",
        xlabel="quantile",
        ylabel="share of actuals",
    )


def _importance(axes: Any, importance: Mapping[str, float]) -> None:
    top = sorted(importance.items(), key=lambda item: item[1])[-TOP_FEATURES:]
    axes.barh([name for name, _ in top], [value for _, value in top], color=COLOURS[MODEL_FORECAST])
    axes.set(title="Share of the gain of all splits")
    axes.tick_params(axis="y", labelsize=7)
