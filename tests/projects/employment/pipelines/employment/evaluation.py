"""How good the classifier is on people of a year that it has not seen, beside two baselines, and how fair by group.

base_rate   the share of employed people in training, for everybody
by_age      the share of employed people of the same age in training, drawn to the base rate
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

BASELINES = ("base_rate", "by_age")
PRIOR_PEOPLE = 20
SMALL = 1e-6
DISABILITY, SEX = {"1": "with", "2": "without"}, {"1": "male", "2": "female"}
RACE = {"1": "white", "2": "black", "6": "asian", "8": "other", "9": "two or more"}
AGES = {16: "0-16", 25: "17-25", 45: "26-45", 65: "46-65"}
SEGMENTS = ("sex", "race", "age", "disability")


def segments(people: pl.DataFrame) -> pl.DataFrame:
    """`segment_NAME` for each of SEGMENTS."""
    return people.select(
        pl.col("sex").replace_strict(SEX, default="other").alias("segment_sex"),
        pl.col("race").replace_strict(RACE, default="other").alias("segment_race"),
        pl.coalesce(pl.when(pl.col("age") <= end).then(pl.lit(name)) for end, name in AGES.items())
        .fill_null("over 65")
        .alias("segment_age"),
        pl.col("disability").replace_strict(DISABILITY, default="other").alias("segment_disability"),
    )


def baselines(people: pl.DataFrame, known: pl.DataFrame) -> dict[str, np.ndarray]:
    """Probabilities of being employed by each baseline, of what `known` says."""
    overall = float(known["employed"].mean())  # type: ignore[arg-type]
    ages = known.group_by("age").agg(n=pl.len(), employed=pl.col("employed").sum())
    ages = ages.select("age", p=(pl.col("employed") + PRIOR_PEOPLE * overall) / (pl.col("n") + PRIOR_PEOPLE))
    by_age = people.select("age").join(ages, on="age", how="left", maintain_order="left")["p"].fill_null(overall)
    return {"base_rate": np.full(len(people), overall), "by_age": by_age.to_numpy()}


def log_losses(employed: np.ndarray, p: np.ndarray) -> np.ndarray:
    p = np.clip(p.astype(np.float64), SMALL, 1 - SMALL)
    return -np.where(employed, np.log(p), np.log1p(-p))


def metrics(employed: np.ndarray, p: np.ndarray) -> dict[str, float]:
    """Log loss, Brier score, AUC (null where all are alike) and F1 of 'employed' at a half."""
    from sklearn.metrics import f1_score, roc_auc_score

    found = {
        "log_loss": float(log_losses(employed, p).mean()),
        "brier": float(((p - employed) ** 2).mean()),
        "f1": float(f1_score(employed, p > 0.5, zero_division=0.0)),
    }
    return found | ({"auc": float(roc_auc_score(employed, p))} if 0 < employed.mean() < 1 else {})


def fairness(employed: np.ndarray, p: np.ndarray, groups: pl.DataFrame) -> dict[str, Any]:
    """By way to group people and group: n, share employed, share predicted employed, true and false positive rate, mean
    probability less the share employed (calibration), and AUC; with the widest differences between groups of MIN people."""
    report = {}
    for column in groups.columns:
        values = groups[column].to_numpy()
        by_group = {str(value): _rates(employed[values == value], p[values == value]) for value in sorted(set(values))}
        judged = [rates for rates in by_group.values() if rates["n"] >= MIN_PEOPLE]
        report[column.removeprefix("segment_")] = {
            "groups": by_group,
            "widest": {name: _widest(judged, name) for name in ("selected", "true_positive", "false_positive", "calibration")},
        }
    return report


MIN_PEOPLE = 200  # of a group whose rates are compared with others'


def _rates(employed: np.ndarray, p: np.ndarray) -> dict[str, Any]:
    chosen = p > 0.5
    return {
        "n": len(p),
        "employed": float(employed.mean()),
        "selected": float(chosen.mean()),
        "true_positive": float(chosen[employed].mean()) if employed.any() else None,
        "false_positive": float(chosen[~employed].mean()) if not employed.all() else None,
        "calibration": float(p.mean() - employed.mean()),
        **{name: value for name, value in metrics(employed, p).items() if name in ("log_loss", "auc")},
    }


def _widest(groups: list[dict[str, Any]], name: str) -> float | None:
    values = [group[name] for group in groups if group[name] is not None]
    return max(values) - min(values) if len(values) > 1 else None


def told(report: Mapping[str, Any]) -> list[str]:
    """The report as lines of Markdown."""
    lines = []
    for name, part in report.items():
        lines += [
            f"### By {name}",
            "",
            "| | n | employed | predicted | true positive | false positive | calibration | AUC |",
            "|---|---|---|---|---|---|---|---|",
        ]
        for group, rates in part["groups"].items():
            cells = [_share(rates[key]) for key in ("employed", "selected", "true_positive", "false_positive", "calibration")]
            lines.append(f"| {group} | {rates['n']:,} | {' | '.join(cells)} | {_number(rates.get('auc'))} |")
        widest = ", ".join(f"{key.replace('_', ' ')} {_share(value)}" for key, value in part["widest"].items())
        lines += ["", f"Widest differences between groups of {MIN_PEOPLE} people or more: {widest}.", ""]
    return lines


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.1%}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
