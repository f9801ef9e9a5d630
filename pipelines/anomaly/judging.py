"""How a detector does on a corpus: what each labelled incident and the false alarms of each series cost it, in NAB's units.

A row is an incident, or the false alarms of a series. The loss of an incident is what the standard profile takes off a perfect
detection (0 for one at the window's start, 1 for one at its end, 2 for none), and that of false alarms their weights. The sum
of all losses is therefore how far the detector's raw score is from a perfect one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

from . import nab
from .corpus import Telemetry

NORMAL = "artificialNoAnomaly"
FALSE_ALARMS = "false alarms"


def points(corpus: Sequence[Telemetry], scores: Sequence[np.ndarray]) -> nab.Points:
    return nab.points([nab.Series(s, t.incidents) for t, s in zip(corpus, scores, strict=True)])


def losses(corpus: Sequence[Telemetry], scores: Sequence[np.ndarray], threshold: float, name: str) -> pl.DataFrame:
    """series, event, event_timestamp, segment_kind, loss_<name>."""
    rows = []
    for telemetry, score in zip(corpus, scores, strict=True):
        found = nab.points([nab.Series(score, telemetry.incidents)])
        detected = found.scores >= threshold
        for number, (first, last) in enumerate(telemetry.incidents):
            if nab.probation(len(telemetry)) > last:
                continue
            worth = found.worth[detected & (found.window == number)]
            earned = worth.max() * nab.STANDARD.hit if len(worth) else -nab.STANDARD.missed
            rows.append((telemetry, f"incident {number}", first, nab.STANDARD.hit - earned))
        false = -found.worth[detected & (found.window == nab.OUTSIDE)].sum() * nab.STANDARD.false
        rows.append((telemetry, FALSE_ALARMS, len(telemetry) - 1, false))
    return pl.DataFrame(
        {
            "series": [telemetry.name for telemetry, *_ in rows],
            "event": [event for _, event, *_ in rows],
            "event_timestamp": pl.Series([int(t.at[row]) for t, _, row, _ in rows]).cast(pl.Datetime("us", "UTC")),
            "segment_kind": [telemetry.kind for telemetry, *_ in rows],
            f"loss_{name}": [max(float(loss), 0.0) for *_, loss in rows],
        }
    )


def figures(corpus: Sequence[Telemetry], scores: Sequence[np.ndarray], threshold: float) -> dict[str, float]:
    """NAB's scores at the threshold, and at the one that is best for each profile on these very incidents, which is how the
    published detectors' were chosen; false alarms a week on the series without an anomaly."""
    found, made = points(corpus, scores), {}
    for profile in nab.PROFILES:
        made[profile.name] = nab.score(found, threshold, profile)
        made[f"{profile.name}_best"] = nab.score(found, nab.best_threshold(found, profile), profile)
    return made | alarms(corpus, scores, threshold)


def alarms(corpus: Sequence[Telemetry], scores: Sequence[np.ndarray], threshold: float) -> dict[str, float]:
    """Alarms a week and series after the probation: where nothing is wrong, and outside incidents anywhere."""
    weeks, false = {True: 0.0, False: 0.0}, {True: 0, False: 0}
    for telemetry, score in zip(corpus, scores, strict=True):
        begun = nab.probation(len(telemetry))
        quiet = np.ones(len(telemetry), dtype=bool)
        for first, last in telemetry.incidents:
            quiet[first : last + 1] = False
        normal = telemetry.kind == NORMAL
        false[normal] += int((score[begun:] >= threshold)[quiet[begun:]].sum())
        weeks[normal] += telemetry.weeks(begun, len(telemetry) - 1)
    return {
        "false_alarms_a_week_without_anomaly": false[True] / weeks[True] if weeks[True] else 0.0,
        "false_alarms_a_week": sum(false.values()) / max(sum(weeks.values()), 1e-9),
    }


def told(made: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.1f}" for name, value in made.items())
