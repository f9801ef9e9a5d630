"""Made-up deliveries of two vendors, in the form that the dataset `shipments` has."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import numpy as np
import polars as pl

START, COUNT = date(2010, 1, 4), 900
UNTIL = datetime(2014, 1, 1, tzinfo=UTC)


def deliveries(seed: int = 3) -> pl.DataFrame:
    """Orders of the vendors 'fast' (about 20 days) and 'slow' (about 100), and schedules that are met within days."""
    rng = np.random.default_rng(seed)
    rows = []
    for n in range(COUNT):
        start = START + timedelta(days=int(n * 1300 / COUNT))
        order, slow = n % 3 != 0, n % 2 == 0
        days = float(round(rng.gamma(8.0, 12.0 if slow else 2.5))) if order else float(round(rng.normal(5 if slow else -10, 8)))
        delivered = start + timedelta(days=days)
        rows.append(
            {
                "line": str(n),
                "order": f"PO-{n // 2}",
                "vendor": "slow" if slow else "fast",
                "country": ("Uganda", "Zambia", "Haiti")[n % 3],
                "mode": "Air" if n % 5 else "Truck",
                "ordered": start if order else None,
                "scheduled": start,
                "delivered": delivered,
                "recorded": delivered + timedelta(days=n % 4),
                "incoterm": "EXW" if slow else "DDP",
                "product_class": "Adult",
                "dosage_form": "Tablet",
                "first_line": bool(n % 2),
                "quantity": float(rng.integers(1, 1000)),
                "pack_price": 2.5,
                "counted_from": "order" if order else "schedule",
                "days": days,
                "known": datetime.combine(delivered + timedelta(days=n % 4), datetime.min.time(), UTC),
            }
        )
    return pl.DataFrame(rows, schema_overrides={"known": pl.Datetime("us", "UTC"), "ordered": pl.Date})
