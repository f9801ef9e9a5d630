"""The point-in-time check: features stamped at or before T must not change when everything at or after T is removed.

A feature that looks ahead (a negative shift, a centred window, a mean over the whole history, a row stamped before what it is
made of was known) has other values when the future is missing, and is named with a key, a timestamp and both values. The check
builds the tables once from all rows and once for each cutoff from the rows before it; with a key, of a sample of its values
alone, which takes a second or two.

It fails closed: nothing to compare (no key on both sides of a cutoff, no rows) is a finding that is not ok. What it cannot
see is a leak whose values do not change at the chosen cutoffs, and one that is in the rows themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import polars as pl

from tidegate.data.model_data import DAY, ModelData, in_utc, known
from tidegate.data.tables import TIME, checked_tables, feature_names, key_names
from tidegate.data.tables_definition import Build, Tables
from tidegate.domain.verdict import Finding

SHARES = (0.55, 0.78, 0.96)  # of the history: default cutoffs; the later ones have most of it before them
SAMPLE = 40
TOLERANCE = 1e-9  # relative: sums may be added up in another order
REQUIRED = "the same value without the rows at or after the cutoff"
CHECK = "point-in-time"


def check(
    build: Build, data: ModelData, key: Sequence[str] = (), cutoffs: Sequence[datetime] = (), sample: int = SAMPLE
) -> list[Finding]:
    """A finding for each feature that leaks (subject `view:feature`, `observed` the rows that differ); one ok finding, with
    the number of values compared, when none does. `cutoffs` are moments in UTC; without any, three are chosen. Of classes that
    have all columns of `key`, a sample of its values is looked at.

    Raises InvalidInput when `build` makes tables that break the rules of `tidegate.data.tables`.
    """
    moments = [in_utc(moment) for moment in cutoffs] or default_cutoffs(data)
    some, what = _sampled(data, key, moments, sample)
    if some is None:
        when = ", ".join(f"{moment:%Y-%m-%d %H:%M}" for moment in moments) or "none"
        return [Finding(CHECK, 0.0, "rows on both sides of each cutoff", False, f"there are none; cutoffs: {when}")]
    end, most = some.until(), getattr(build, "max_rows", None)
    whole = checked_tables(f"{CHECK} check", build(some.classes, end), end, len(some), most)
    findings: dict[str, Finding] = {}
    compared = 0
    for moment in moments:
        before = some.known_before(moment)
        past = checked_tables(f"{CHECK} check", build(before.classes, moment), moment, len(before), most)
        count, leaks = _compare(whole, past, moment)
        compared += count
        for leak in leaks:
            findings.setdefault(leak.subject, leak)
    if findings:
        return list(findings.values())
    return [Finding(CHECK, float(compared), "values compared, more than 0", compared > 0, what)]


def default_cutoffs(data: ModelData) -> list[datetime]:
    """Three moments within the history; where it is long enough none on the same weekday as another."""
    newest = data.newest()
    if newest is None:
        return []
    firsts = [data.classes[n].select(known(data.classes[n], t.column).min()).item() for n, t in data.timing.items()]
    first: datetime = min(time for time in firsts if time is not None)
    grain = max(data.grain, min(DAY, (newest - first) / 100))
    first -= (first - datetime(1970, 1, 1, tzinfo=first.tzinfo)) % grain if grain >= DAY else timedelta(0)
    end = data.until()
    moments: list[datetime] = []
    for share in SHARES:
        moment = first + ((end - first) * share // grain) * grain
        while grain == DAY and any(moment.weekday() == other.weekday() for other in moments):
            moment -= DAY
        moments.append(moment)
    return [moment for moment in dict.fromkeys(moments) if moment > first]


def _sampled(data: ModelData, key: Sequence[str], moments: Sequence[datetime], sample: int) -> tuple[ModelData | None, str]:
    """Keys spread evenly over those with a row before the first and after the last cutoff: only there a leak can show."""
    keyed = {n: frame for n, frame in data.classes.items() if n in data.timing and all(each in frame.columns for each in key)}
    if not moments or not keyed or sample < 1:
        return None, ""
    times = pl.concat(
        [frame.select(*key, known(frame, data.timing[n].column).alias("__time")) for n, frame in keyed.items()],
        how="vertical_relaxed",
    )
    spans = times.group_by(*key) if key else times.group_by(pl.lit(0).alias("__all"))
    span = spans.agg(first=pl.col("__time").min(), last=pl.col("__time").max())
    both = span.filter(pl.col("first") < min(moments), pl.col("last") >= max(moments))
    if both.is_empty():
        return None, ""
    if not key:
        return data, f"{len(data):,} rows"
    chosen = both.select(key).sort(key).gather_every(max(1, len(both) // sample)).head(sample)
    some = {
        n: frame.join(chosen, on=list(key), how="semi", maintain_order="left") if n in keyed else frame
        for n, frame in data.classes.items()
    }
    return ModelData(some, data.timing), f"{len(chosen)} keys"


def _compare(whole: Tables, past: Tables, moment: datetime) -> tuple[int, list[Finding]]:
    """Number of values compared, and a finding for each feature (or table) that differs up to `moment`."""
    compared = 0
    leaks: list[Finding] = []
    cutoff = f"cutoff {moment:%Y-%m-%d %H:%M}"
    for view in sorted(whole.keys() | past.keys()):
        if view not in whole or view not in past:
            note = f"the table exists only {_side(view in whole)} {moment:%Y-%m-%d %H:%M}"
            leaks.append(Finding(f"{view}:*", None, REQUIRED, False, note))
            continue
        rows = whole[view].filter(pl.col(TIME) <= moment)
        features = feature_names(rows)
        key = [*key_names(rows), TIME]
        odd = [(rows.join(past[view], on=key, how="anti"), True), (past[view].join(rows, on=key, how="anti"), False)]
        for only, in_whole in odd:
            if len(only):
                note = f"{cutoff}: row {_named(only, key)} exists only {_side(in_whole)} the cutoff"
                feature = features[0] if len(features) == 1 else "*"
                leaks.append(Finding(f"{view}:{feature}", float(len(only)), REQUIRED, False, note))
        both = rows.join(past[view], on=key, how="inner", suffix="__past")
        for name in features:
            if f"{name}__past" not in both.columns:
                leaks.append(Finding(f"{view}:{name}", None, REQUIRED, False, f"{cutoff}: missing without the future"))
                continue
            compared += len(both)
            wrong = both.filter(_differs(both.schema[name], pl.col(name), pl.col(f"{name}__past")))
            if len(wrong):
                values = f"{wrong[name][0]} with all rows, {wrong[f'{name}__past'][0]} with those before the cutoff"
                leaks.append(
                    Finding(f"{view}:{name}", float(len(wrong)), REQUIRED, False, f"{cutoff}: {_named(wrong, key)} is {values}")
                )
    return compared, leaks


def _differs(dtype: pl.DataType, a: pl.Expr, b: pl.Expr) -> pl.Expr:
    if dtype != pl.Float64:
        return a.ne_missing(b)
    a, b = a.fill_nan(None), b.fill_nan(None)
    apart = ((a - b).abs() > TOLERANCE * a.abs()) & ((a - b).abs() > TOLERANCE * b.abs())
    return (a.is_null() != b.is_null()) | apart.fill_null(False)


def _side(in_whole: bool) -> str:
    return "with the rows after" if in_whole else "without the rows after"


def _named(rows: pl.DataFrame, key: Sequence[str]) -> str:
    return " ".join(f"{name}={rows[name][0]}" for name in key)
