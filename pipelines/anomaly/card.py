"""The model card (Mitchell et al., 2019)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict

from tidegate.api.training import Lineage, provenance

from .parameters import Parameters


def model_card(
    name: str, measured: Mapping[str, Mapping[str, float]], lineage: Lineage, parameters: Parameters, threshold: float
) -> str:
    """Markdown."""
    forecasts = list(measured)
    lines = [
        f"# Model card: {name}",
        "",
        f"How new the newest of {parameters.window:,} readings of a series is: by how much it leaves the range of those "
        "before it, in units of that range. An alarm is a score of at least "
        f"{threshold:.4f}, chosen without labels so that a series raises {parameters.alarms_a_week} alarms a week in the "
        "second half of its probation. Nothing is kept between calls.",
        "",
        "For one number that comes at regular times. Not for readings whose level grows without end, where each is new; not "
        "for a change of shape within the usual range (a quiet day, a flat line): it does not see it.",
        "",
        "## Scores of the Numenta Anomaly Benchmark",
        "",
        "`..._best` with the threshold that is best on these incidents, as those of published detectors were chosen.",
        "",
        f"| | {' | '.join(forecasts)} |",
        f"|---|{'---|' * len(forecasts)}",
        *(f"| {metric} | {' | '.join(f'{measured[f][metric]:.2f}' for f in forecasts)} |" for metric in measured["model"]),
        "",
        *provenance(lineage, asdict(parameters)),
    ]
    return "\n".join(lines) + "\n"
