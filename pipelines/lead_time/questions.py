"""What was asked about each shipment, when, and what turned out: the rows that a model of lead times learns from.

A question is asked at a midnight, and knows nothing that became known at or after it:

    order      at the day of the order; the answer is the days until delivery
    schedule   LEAD days before the scheduled day, of shipments that are still open then; the answer is the days from the
               scheduled day until delivery, negative where it came early

The scheduled day of a shipment with an order is no input: the source has the last schedule, not the one of the day of the
order, and 8 of 10 deliveries fall on the very day. Weight and freight are no inputs either: they are known when the goods
leave.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import polars as pl

ORDER, SCHEDULE = BASES = ("order", "schedule")
KEY = ("vendor", "country", "mode")
TIME, TARGET, KNOWN = "event_timestamp", "days", "known"
LEAD = timedelta(days=90)
# what comes with the request: its name, and its type as the model reads it
TEXTS = ("counted_from", "incoterm", "product_class", "dosage_form")
NUMBERS = ("quantity", "pack_price", "month")


def questions(shipments: pl.DataFrame, until: datetime) -> pl.DataFrame:
    """A row a shipment known before `until`: line, order, KEY, TIME, the request's inputs, `first_line`, TARGET, KNOWN."""
    start = pl.coalesce("ordered", "scheduled")
    asked = pl.when(pl.col("counted_from") == ORDER).then(pl.col("ordered")).otherwise(pl.col("scheduled") - LEAD)
    rows = shipments.filter(pl.col(KNOWN) < until).with_columns(
        asked.cast(pl.Datetime("us")).dt.replace_time_zone("UTC").alias(TIME), month=start.dt.month()
    )
    still_open = pl.col("delivered") >= pl.col(TIME).dt.date()
    return (
        rows.filter(still_open)
        .select("line", "order", *KEY, TIME, *TEXTS, pl.col(NUMBERS).cast(pl.Float32), "first_line", TARGET, KNOWN)
        .sort(TIME, "line")
    )
