"""Prints where the detector stands: `python -m pipelines.anomaly.figures`, from the project's folder.

Published figures are those of the benchmark's own results (github.com/numenta/NAB, results/final_results.json), each at the
threshold that was best for its profile on the whole corpus. `anomaly` stands twice: with the threshold that a training
chooses, without labels and on probations alone, and with the best one, as the others have it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl

from . import detector, judging, nab, steps
from .corpus import corpus
from .parameters import Parameters
from .pipeline import PARAMETERS

TELEMETRY = Path(__file__).parents[2] / "features/data/telemetry.parquet"
PUBLISHED = {  # standard, reward_low_FP_rate
    "ARTime": (74.9, 65.2),
    "Numenta HTM": (70.1, 63.1),
    "CAD OSE": (69.9, 67.0),
    "HTM Java": (65.5, 53.3),
    "earthgecko Skyline": (58.2, 46.2),
    "KNN CAD": (58.0, 43.4),
    "Relative Entropy": (54.6, 47.6),
    "Random Cut Forest": (51.7, 38.4),
    "Twitter ADVec": (47.1, 33.6),
    "Windowed Gaussian": (39.6, 20.9),
    "Etsy Skyline": (35.7, 27.1),
    "EXPoSE": (16.4, 3.2),
    "Random": (16.8, 5.8),
    "Null": (0.0, 0.0),
}


def table(made: dict[str, float]) -> Iterator[str]:
    standard, low = nab.STANDARD.name, nab.LOW_FP.name
    rows = {name: (*values, "") for name, values in PUBLISHED.items()}
    rows["anomaly, best threshold"] = (made[f"{standard}_best"], made[f"{low}_best"], "**")
    rows["anomaly, as trained"] = (made[standard], made[low], "**")
    yield "| detector | standard | reward low FP |"
    yield "|---|---|---|"
    for name, (first, second, bold) in sorted(rows.items(), key=lambda row: -row[1][0]):
        yield f"| {bold}{name}{bold} | {first:.1f} | {second:.1f} |"


def main() -> None:
    parameters, found = Parameters.of(PARAMETERS), corpus(pl.read_parquet(TELEMETRY))
    scores = [detector.series_scores(each.values, parameters.window, parameters.quiet) for each in found]
    threshold, weeks = steps._threshold(found, scores, parameters)
    made = judging.figures(found, scores, float(np.float32(threshold)))
    normal = "false_alarms_a_week_without_anomaly"
    lines = [
        *table(made),
        "",
        f"Threshold {threshold:.4f}, from {weeks:.1f} weeks of probation. False alarms a week and series: "
        f"{made[normal]:.2f} where nothing is wrong, {made['false_alarms_a_week']:.2f} over all series.",
    ]
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
