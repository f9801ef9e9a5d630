"""The stored features of lead times: `build(data, until)` makes one table a feature view.

A row of a view says what was known of a lane (vendor, country, mode), a vendor or a country at a midnight: quantiles, and a
mean that forgets, of the days that its last deliveries took, of those with an order and of those with a schedule alone. A
delivery counts from the midnight after the day on which it was recorded (`known` of the dataset), so nothing is known
early. A view has a row for each day on which something became known, and its values hold until the next one or until the
view's TTL.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta

import polars as pl

WINDOW = 40  # deliveries that the quantiles look back on
HALF_LIFE = 5  # deliveries, of the mean that forgets
BASES = ("order", "schedule")
QUANTILES = {"q10": 0.1, "q50": 0.5, "q90": 0.9}
STATISTICS = (*QUANTILES, "recent")
VIEWS = {  # view -> (its join keys, what its features are named after, the strings it repeats)
    "lane_history": (("vendor", "country", "mode"), "lane", {"mode_name": "mode"}),
    "vendor_history": (("vendor",), "vendor", {"vendor_name": "vendor"}),
    "country_history": (("country",), "country", {"country_name": "country"}),
}


def numbers(view: str) -> list[str]:
    """The view's numeric features, in order."""
    return [f"{VIEWS[view][1]}_{basis}_{name}" for basis in BASES for name in STATISTICS]


def texts(view: str) -> list[str]:
    return list(VIEWS[view][2])


def build(data: Mapping[str, pl.DataFrame], until: datetime) -> dict[str, pl.DataFrame]:
    """A table for each of VIEWS: its join keys, event_timestamp, Float64 and String features."""
    known = data["shipments"].filter(pl.col("known") < until).sort("known", "line")
    return {view: _history(known, view, until) for view in VIEWS}


def _history(known: pl.DataFrame, view: str, until: datetime) -> pl.DataFrame:
    keys, prefix, copies = VIEWS[view]
    rows = known.with_columns(day_known().alias("event_timestamp")).filter(pl.col("event_timestamp") <= until)
    states = []
    for basis in BASES:
        part = rows.filter(pl.col("counted_from") == basis)
        days = pl.col("days")
        statistics = {
            name: days.rolling_quantile(share, interpolation="linear", window_size=WINDOW, min_samples=1)
            for name, share in QUANTILES.items()
        } | {"recent": days.ewm_mean(half_life=HALF_LIFE, adjust=False)}
        part = part.with_columns(expression.over(keys).alias(f"{prefix}_{basis}_{n}") for n, expression in statistics.items())
        states.append(part)
    both = pl.concat(states, how="diagonal").sort("event_timestamp", "known", "line")
    by_day = both.group_by(*keys, "event_timestamp", maintain_order=True).agg(
        pl.col(name).drop_nulls().last() for name in numbers(view)
    )
    held = by_day.sort(*keys, "event_timestamp").with_columns(pl.col(numbers(view)).forward_fill().over(keys))
    return held.with_columns(pl.col(source).alias(name) for name, source in copies.items()).select(
        *keys, "event_timestamp", *numbers(view), *copies
    )


def day_known() -> pl.Expr:
    """The midnight after the day on which a delivery was recorded."""
    return pl.col("known").dt.truncate("1d") + timedelta(days=1)
