"""The point-in-time check: features stamped at or before T must not change when everything at or after T is removed.

A feature that looks ahead (a negative shift, a centred window, a mean over the whole history, a row stamped before its day
has ended) has other values when the future is missing, and is named with an SKU, a timestamp and both values. The check
builds the tables of a sample of SKUs once from all lines and once for each cutoff from the lines before it: one or two
seconds.

It fails closed: nothing to compare (no SKU sold on both sides of a cutoff, no rows) is a finding that is not ok. What it
cannot see is a leak whose values do not change at the chosen cutoffs, and one that is in the lines themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import polars as pl

from tidegate.data.tables import ENTITY, TIME, Build, Tables, checked_tables, day_after_last, feature_names
from tidegate.domain.verdict import Finding

SHARES = (0.55, 0.78, 0.96)  # of the history: default cutoffs; the later ones have a year before them
SAMPLE = 40
TOLERANCE = 1e-9  # relative: sums may be added up in another order
REQUIRED = "the same value without the lines at or after the cutoff"


def check(
    build: Build,
    sales: pl.DataFrame,
    returns: pl.DataFrame,
    cutoffs: Sequence[datetime] = (),
    sample: int = SAMPLE,
) -> list[Finding]:
    """A finding for each feature that leaks (subject `view:feature`, `observed` the rows that differ); one ok finding, with
    the number of values compared, when none does. `cutoffs` are midnights (UTC); without any, three are chosen.

    Raises InvalidInput when `build` makes tables that break the rules of `tidegate.data.tables`.
    """
    moments = list(cutoffs) or default_cutoffs(sales)
    skus = _sampled(sales, moments, sample)
    if not skus:
        when = ", ".join(f"{moment:%Y-%m-%d}" for moment in moments) or "none"
        return [Finding("point-in-time", 0.0, "SKUs sold on both sides of each cutoff", False, f"no such SKU; cutoffs: {when}")]
    some_sales, some_returns = (lines.filter(pl.col(ENTITY).is_in(skus)) for lines in (sales, returns))
    end = day_after_last(some_sales)
    whole = checked_tables("point-in-time check", build(some_sales, some_returns, end), end)
    findings: dict[str, Finding] = {}
    compared = 0
    for moment in moments:
        before = [lines.filter(pl.col("at") < moment) for lines in (some_sales, some_returns)]
        past = checked_tables("point-in-time check", build(before[0], before[1], moment), moment)
        count, leaks = _compare(whole, past, moment)
        compared += count
        for leak in leaks:
            findings.setdefault(leak.subject, leak)
    if findings:
        return list(findings.values())
    return [Finding("point-in-time", float(compared), "values compared, more than 0", compared > 0, f"{len(skus)} SKUs")]


def default_cutoffs(sales: pl.DataFrame) -> list[datetime]:
    """Three midnights within the history, none on the same weekday as another."""
    if sales.is_empty():
        return []
    first: datetime = sales.select(pl.col("at").dt.truncate("1d").min()).item()
    days = (day_after_last(sales) - first).days
    moments: list[datetime] = []
    for share in SHARES:
        moment = first + timedelta(days=int(days * share))
        while any(moment.weekday() == other.weekday() for other in moments):
            moment -= timedelta(days=1)
        moments.append(moment)
    return [moment for moment in dict.fromkeys(moments) if moment > first]


def _sampled(sales: pl.DataFrame, moments: Sequence[datetime], sample: int) -> list[str]:
    """SKUs spread evenly over those with a sale before the first and after the last cutoff: only there a leak can show."""
    if not moments:
        return []
    span = sales.group_by(ENTITY).agg(first=pl.col("at").min(), last=pl.col("at").max())
    both = span.filter(pl.col("first") < min(moments), pl.col("last") >= max(moments))[ENTITY].sort()
    return both.gather_every(max(1, len(both) // max(1, sample))).head(sample).to_list()


def _compare(whole: Tables, past: Tables, moment: datetime) -> tuple[int, list[Finding]]:
    """Number of values compared, and a finding for each feature (or table) that differs up to `moment`."""
    compared = 0
    leaks: list[Finding] = []
    for view in sorted(whole.keys() | past.keys()):
        if view not in whole or view not in past:
            leaks.append(
                Finding(f"{view}:*", None, REQUIRED, False, f"the table exists only {_side(view in whole)} {moment:%F}")
            )
            continue
        known = whole[view].filter(pl.col(TIME) <= moment)
        features = feature_names(known)
        key = [ENTITY, TIME]
        odd = [(known.join(past[view], on=key, how="anti"), True), (past[view].join(known, on=key, how="anti"), False)]
        for rows, in_whole in odd:
            if len(rows):
                note = f"cutoff {moment:%F}: row {_named(rows)} exists only {_side(in_whole)} the cutoff"
                leaks.append(
                    Finding(f"{view}:{features[0] if len(features) == 1 else '*'}", float(len(rows)), REQUIRED, False, note)
                )
        both = known.join(past[view], on=key, how="inner", suffix="__past")
        for name in features:
            if f"{name}__past" not in both.columns:
                leaks.append(
                    Finding(f"{view}:{name}", None, REQUIRED, False, f"cutoff {moment:%F}: missing without the future")
                )
                continue
            compared += len(both)
            wrong = both.filter(_differs(pl.col(name), pl.col(f"{name}__past")))
            if len(wrong):
                values = f"{wrong[name][0]} with all lines, {wrong[f'{name}__past'][0]} with those before the cutoff"
                note = f"cutoff {moment:%F}: {_named(wrong)} is {values}"
                leaks.append(Finding(f"{view}:{name}", float(len(wrong)), REQUIRED, False, note))
    return compared, leaks


def _differs(a: pl.Expr, b: pl.Expr) -> pl.Expr:
    a, b = a.fill_nan(None), b.fill_nan(None)
    apart = (a - b).abs() > TOLERANCE * pl.max_horizontal(a.abs(), b.abs())
    return (a.is_null() != b.is_null()) | apart.fill_null(False)


def _side(in_whole: bool) -> str:
    return "with the lines after" if in_whole else "without the lines after"


def _named(rows: pl.DataFrame) -> str:
    return f"{ENTITY}={rows[ENTITY][0]} {TIME}={rows[TIME][0]:%F}"
