"""The stored features of daily demand: `build(data, until)` makes one table a feature view.

A row belongs to a SKU and a day *d*, from the SKU's first sale to the last whole day before `until`, days without a sale
included. It is stamped with the midnight that ends *d* (`event_timestamp = d + 1 day, 00:00 UTC`) and computed from lines
before that midnight alone: rolling windows look back, shifts are positive, expanding means end at *d*. What is not known yet
is null. `tidegate.data.point_in_time` holds us to it. Windows count calendar days; a younger SKU's windows begin with its
first sale.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta

import polars as pl

DAY = timedelta(days=1)
HOME = "United Kingdom"
PRICE_BANDS = (0.5, 1.0, 2.0, 4.0, 8.0)  # pounds: upper ends of all bands but the last
LAGS = (1, 2, 3, 7)
WEEKS = 8  # of the mean of each weekday
# The same weekday 52 weeks before the origin T lies 364 days back. A row's day is T - 1, so the week T-364 .. T-358 ended 357
# days before it, the week after that 350, and the four weeks before both 364.
LAST_YEAR_WEEK_1, LAST_YEAR_WEEK_2, LAST_YEAR_BEFORE = 357, 350, 364


def build(data: Mapping[str, pl.DataFrame], until: datetime) -> dict[str, pl.DataFrame]:
    """`demand_history` and `sku_profile`, each with sku, event_timestamp and Float64 features, sorted by both."""
    sales, returns = data["sales"], data["returns"]
    midnight = until.replace(hour=0, minute=0, second=0, microsecond=0)
    days = _panel(sales.filter(pl.col("at") < midnight), returns.filter(pl.col("at") < midnight), midnight)
    key = [pl.col("sku"), (pl.col("day") + DAY).cast(pl.Datetime("us")).dt.replace_time_zone("UTC").alias("event_timestamp")]
    history = days.join(_market(days), on="day", how="left", maintain_order="left").with_columns(_history())
    profile = days.with_columns(_profile()).with_columns(_profile_ratios())
    return {
        "demand_history": history.select(*key, *(pl.col(name).cast(pl.Float64) for name in HISTORY)),
        "sku_profile": profile.select(*key, *(pl.col(name).cast(pl.Float64) for name in PROFILE)),
    }


def _panel(sales: pl.DataFrame, returns: pl.DataFrame, midnight: datetime) -> pl.DataFrame:
    """A row for each SKU and day since its first sale, with the day's sums; sorted by SKU and day."""
    by_day = pl.col("at").dt.date().alias("day")
    home = pl.col("units").filter(pl.col("country") == HOME).sum()
    sold = sales.group_by("sku", by_day).agg(
        units=pl.col("units").sum(),
        lines=pl.len(),
        orders=pl.col("invoice").n_unique(),
        home_units=home,
        price=pl.col("unit_price").median(),
    )
    came_back = returns.group_by("sku", by_day).agg(returned=pl.col("units").sum())
    last = (midnight - DAY).date()
    grid = sold.group_by("sku").agg(pl.col("day").min()).select("sku", pl.date_ranges("day", pl.lit(last)).alias("day"))
    days = grid.explode("day").join(sold, on=["sku", "day"], how="left").join(came_back, on=["sku", "day"], how="left")
    counts = ["units", "lines", "orders", "home_units", "returned"]
    return days.with_columns(pl.col(counts).fill_null(0).cast(pl.Float64)).sort("sku", "day")


def _market(days: pl.DataFrame) -> pl.DataFrame:
    """Of all SKUs together: how the last week compares with the last four, and what last year's next two weeks were like."""
    daily = days.group_by("day").agg(pl.col("units").sum()).sort("day")
    week, month = pl.col("units").rolling_mean(7), pl.col("units").rolling_mean(28)
    return daily.select(
        "day",
        market_trend=week / month,
        market_lift_week_1=week.shift(LAST_YEAR_WEEK_1) / month.shift(LAST_YEAR_BEFORE),
        market_lift_week_2=week.shift(LAST_YEAR_WEEK_2) / month.shift(LAST_YEAR_BEFORE),
    )


def _sum(column: pl.Expr, window: int) -> pl.Expr:
    return column.rolling_sum(window, min_samples=1)


def _mean(window: int) -> pl.Expr:
    return pl.col("units").rolling_mean(window, min_samples=1)


def _share(part: pl.Expr, whole: pl.Expr) -> pl.Expr:
    return pl.when(whole > 0).then(part / whole)


def _history() -> list[pl.Expr]:
    units = pl.col("units")
    sold = (units > 0).cast(pl.Float64)
    # Polars computes windows of each SKU from its own first row on: a row never depends on a later one.
    features = {
        **{f"units_lag_{lag}": units.shift(lag - 1) for lag in LAGS},
        "units_mean_7": _mean(7),
        "units_mean_28": _mean(28),
        "units_mean_91": _mean(91),
        "units_recent": units.ewm_mean(half_life=10, adjust=False),
        "units_std_28": units.rolling_std(28, min_samples=2),
        "units_median_28": units.rolling_median(28, min_samples=1),
        "units_max_28": units.rolling_max(28, min_samples=1),
        "selling_share_28": sold.rolling_mean(28, min_samples=1),
        "days_since_sale": (pl.col("day") - pl.when(units > 0).then(pl.col("day")).forward_fill()).dt.total_days() + 1,
        "orders_28": _sum(pl.col("orders"), 28),
        "return_share_91": _share(_sum(pl.col("returned"), 91), _sum(units, 91)),
        "last_year_week_1": units.rolling_mean(7).shift(LAST_YEAR_WEEK_1),
        "last_year_week_2": units.rolling_mean(7).shift(LAST_YEAR_WEEK_2),
        "last_year_before": units.rolling_mean(28).shift(LAST_YEAR_BEFORE),
    }
    for weekday in range(7):
        here = (pl.col("day").dt.weekday() == weekday + 1).cast(pl.Float64)
        features[f"weekday_mean_{weekday}"] = _share(_sum(units * here, 7 * WEEKS), _sum(here, 7 * WEEKS))
    return [expression.over("sku").alias(name) for name, expression in features.items()]


def _profile() -> list[pl.Expr]:
    price = pl.col("price")
    features = {
        "price_last": price.forward_fill(),
        "price_median_28": price.rolling_median(28, min_samples=1).forward_fill(),
        "price_mean": price.fill_null(0).cum_sum() / price.is_not_null().cum_sum(),
        "age_days": (pl.col("day") - pl.col("day").first()).dt.total_days() + 1,
        "home_share_91": _share(_sum(pl.col("home_units"), 91), _sum(pl.col("units"), 91)),
        "line_size_91": _share(_sum(pl.col("units"), 91), _sum(pl.col("lines"), 91)),
    }
    return [expression.over("sku").alias(name) for name, expression in features.items()]


def _profile_ratios() -> list[pl.Expr]:
    bands = [(pl.col("price_median_28") > end).cast(pl.Float64) for end in PRICE_BANDS]
    return [
        (pl.col("price_last") / pl.col("price_mean")).alias("price_relative"),
        pl.sum_horizontal(bands).alias("price_band"),  # 0 is the cheapest
    ]


HISTORY = (
    *(f"units_lag_{lag}" for lag in LAGS),
    "units_mean_7",
    "units_mean_28",
    "units_mean_91",
    "units_recent",
    "units_std_28",
    "units_median_28",
    "units_max_28",
    "selling_share_28",
    "days_since_sale",
    "orders_28",
    "return_share_91",
    "last_year_week_1",
    "last_year_week_2",
    "last_year_before",
    "market_trend",
    "market_lift_week_1",
    "market_lift_week_2",
    *(f"weekday_mean_{weekday}" for weekday in range(7)),
)
PROFILE = (
    "price_last",
    "price_median_28",
    "price_relative",
    "price_band",
    "age_days",
    "home_share_91",
    "line_size_91",
)
