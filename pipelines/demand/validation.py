"""Checks of a training's data before anything is learned: each yields a Finding, and one that is not ok stops the pipeline."""

from __future__ import annotations

from datetime import datetime, timedelta

import polars as pl

from tidegate.api.training import FeatureContract, Finding

from .frame import EVALUATION, REFERENCE, TRAINING
from .panel import Panel
from .parameters import TrainingParameters

SALES = {"sku": pl.String, "at": pl.Datetime("us", "UTC"), "units": pl.Int64, "unit_price": pl.Float64, "country": pl.String}


def check_sales(sales: pl.DataFrame, until: datetime, parameters: TrainingParameters) -> list[Finding]:
    """Schema, values and freshness of the ingested sales."""
    findings = []
    for name, dtype in SALES.items():
        observed = sales.schema.get(name)
        findings.append(Finding(f"sales.{name}", None, f"{dtype}", observed == dtype, f"is {observed}"))
    if not all(finding.ok for finding in findings):
        return findings
    known = sales.filter(pl.col("at") < until)
    wrong = known.filter((pl.col("units") <= 0) | (pl.col("unit_price") <= 0) | pl.col("unit_price").is_nan())
    findings.append(Finding("sales rows", float(len(known)), "more than 0", len(known) > 0))
    findings.append(Finding("sales without positive units and price", float(len(wrong)), "0", wrong.is_empty()))
    newest = known["at"].max()
    if isinstance(newest, datetime):
        age = (until - newest) / timedelta(days=1)
        fresh = age <= parameters.max_age_days
        note = f"newest sale {newest:%Y-%m-%d}, until {until:%Y-%m-%d}"
        findings.append(Finding("age of the newest sale, days", age, f"<= {parameters.max_age_days}", fresh, note))
    return findings


def check_rows(rows: pl.DataFrame, panel: Panel, contract: FeatureContract) -> list[Finding]:
    """The rows with their vectors: every use there, targets only of days that are over, features that say something."""
    findings = []
    for use in (TRAINING, EVALUATION, REFERENCE):
        count = rows.filter(pl.col("use") == use).height
        findings.append(Finding(f"{use} rows", float(count), "more than 0", count > 0))
    learned = rows.filter(pl.col("use") != REFERENCE)
    late = learned.filter((pl.col("target_day") >= panel.days) | pl.col("target").is_null())
    findings.append(Finding("targets of days that are not over", float(len(late)), "0", late.is_empty()))
    missing = [name for name in contract.vector if name not in rows.columns]
    findings.append(Finding("features missing", float(len(missing)), "0", not missing, ", ".join(missing)))
    for name in contract.vector:
        if name in rows.columns and rows[name].null_count() == len(rows):
            findings.append(Finding(f"feature {name}", float(len(rows)), "a value in some row", False, "null in all rows"))
    return findings
