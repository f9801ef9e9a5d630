"""Daily units of each SKU as one matrix: what targets, baselines and segments are computed from.

Day j is `first_day + j`; the panel holds whole days before `until` alone, so nothing computed from it can see later. An origin
is the index of its day: at origin t the days 0 .. t-1 are known, and horizon h is about day t + h - 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import numpy as np
import polars as pl

from tidegate.api.training import InvalidInput

RECENT_DAYS = 91  # what segments look back on
PRICE_BANDS = ((1.0, "below 1"), (3.0, "1 to 3"), (np.inf, "3 and more"))
SLOW_SELLING_DAYS = 13  # fewer in RECENT_DAYS, so fewer than one a week, is a slow mover


@dataclass(frozen=True)
class Panel:
    """`units`, `home_units`, `revenue`: float64 [SKUs, days]; `first_sale`: index of each SKU's first day with a sale."""

    skus: tuple[str, ...]
    first_day: date
    units: np.ndarray
    home_units: np.ndarray
    revenue: np.ndarray
    first_sale: np.ndarray

    @property
    def days(self) -> int:
        return int(self.units.shape[1])

    def day(self, index: int) -> date:
        return self.first_day + timedelta(days=int(index))

    def origin_time(self, index: int) -> datetime:
        """Midnight UTC that begins day `index`: everything before it is known."""
        return datetime.combine(self.day(index), datetime.min.time(), UTC)

    def selling_days(self) -> np.ndarray:
        return np.asarray((self.units > 0).sum(axis=1))


def build_panel(sales: pl.DataFrame, until: datetime, home_country: str) -> Panel:
    """The panel of `sales` (sku, at, units, unit_price, country) on the whole days (UTC) before `until`."""
    end = until.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    known = sales.filter(pl.col("at") < end)
    if known.is_empty():
        raise InvalidInput(f"training: no sale before {until:%Y-%m-%d}; choose a later 'until'")
    daily = (
        known.group_by("sku", pl.col("at").dt.date().alias("day"))
        .agg(
            units=pl.col("units").sum(),
            home=pl.col("units").filter(pl.col("country") == home_country).sum(),
            revenue=(pl.col("units") * pl.col("unit_price")).sum(),
        )
        .sort("sku", "day")
    )
    skus = daily["sku"].unique().sort()
    first: date = daily["day"].min()  # type: ignore[assignment]
    rows = daily["sku"].replace_strict(skus, pl.int_range(len(skus), eager=True)).to_numpy()
    columns = (daily["day"] - first).dt.total_days().to_numpy()
    shape = (len(skus), (end.date() - first).days)
    matrices = []
    for name in ("units", "home", "revenue"):
        matrix = np.zeros(shape)
        matrix[rows, columns] = daily[name].to_numpy()
        matrices.append(matrix)
    units, home, revenue = matrices
    return Panel(tuple(skus.to_list()), first, units, home, revenue, np.argmax(units > 0, axis=1))


def segments(panel: Panel, origin: int) -> dict[str, np.ndarray]:
    """Segment of each SKU by kind, from what is known at `origin`: `country`, `price`, `movement` -> str [SKUs]."""
    recent = slice(max(0, origin - RECENT_DAYS), origin)
    units, home = panel.units[:, recent].sum(axis=1), panel.home_units[:, recent].sum(axis=1)
    whole_units, whole_revenue = panel.units[:, :origin].sum(axis=1), panel.revenue[:, :origin].sum(axis=1)
    price = np.divide(whole_revenue, whole_units, out=np.full(len(units), np.nan), where=whole_units > 0)
    bands = np.select([price < end for end, _ in PRICE_BANDS], [name for _, name in PRICE_BANDS], "unknown")
    known = units > 0
    country = np.where(known, np.where(2 * home >= units, "home", "export"), "unknown")
    slow = (panel.units[:, recent] > 0).sum(axis=1) < SLOW_SELLING_DAYS
    return {"country": country, "price": bands, "movement": np.where(slow, "slow", "regular")}
