"""What the shipments of the Supply Chain Management System are: who delivered what to where, when it was wanted and when it
came.

A line is an item of a shipment that was delivered. `days` is what it took: from the day on which the order was sent to the
vendor, or from the scheduled day where no order is known (negative: it came early). `known` is the day from which anybody
could know it, the later of delivery and its recording.

The dates of orders have two forms. `8/27/14` is month, day, year. What looks like `2010-09-14` is not September 2010: a
spreadsheet took `10/9/14` apart as year, month and day, so the true date is 9 October 2014. All 1,712 of these have a
"year" of 2001 to 2012, a "month" of 01 to 12 and a "day" of 06 to 15 (the years of the data), and no date with a slash has
a day below 13. Read this way one of them lies after its delivery; read as they stand, 132 do (a test counts both).
"""

from datetime import timedelta

import polars as pl

from tidegate.api.data import Column, Csv, Dataset, Rule

DAY_MONTH_YEAR = ("%d-%b-%y",)  # 27-Aug-14
SLASHED, MANGLED = "%m/%d/%y", r"^20\d\d-\d\d-\d\d$"
ORDER, SCHEDULE = "order", "schedule"


def order_day(text: pl.Expr) -> pl.Expr:
    """The day of an order, null where none is known ('N/A - From RDC', 'Date Not Captured')."""
    month, day, year = (text.str.slice(*part).cast(pl.Int32, strict=False) for part in ((2, 2), (5, 2), (8, 2)))
    mended = pl.when(text.str.contains(MANGLED)).then(pl.date(2000 + year, month, day))
    return mended.otherwise(text.str.to_date(SLASHED, strict=False))


ordered, scheduled, delivered = order_day(pl.col("ordered")), pl.col("scheduled"), pl.col("delivered")

DATASET = Dataset(
    name="shipments",
    csv=Csv(encoding="utf-8-sig"),
    columns={
        "line": Column(("ID",), "identifier"),
        "order": Column(("PO / SO #",), "identifier"),
        "vendor": Column(("Vendor",), "text"),
        "country": Column(("Country",), "text"),
        "mode": Column(("Shipment Mode",), "text"),
        "ordered": Column(("PO Sent to Vendor Date",), "text", nullable=True),
        "scheduled": Column(("Scheduled Delivery Date",), "date", formats=DAY_MONTH_YEAR),
        "delivered": Column(("Delivered to Client Date",), "date", formats=DAY_MONTH_YEAR),
        "recorded": Column(("Delivery Recorded Date",), "date", formats=DAY_MONTH_YEAR),
        "incoterm": Column(("Vendor INCO Term",), "text"),
        "product_class": Column(("Sub Classification",), "text"),
        "dosage_form": Column(("Dosage Form",), "text"),
        "first_line": Column(("First Line Designation",), "boolean", true=("Yes",), false=("No",)),
        "quantity": Column(("Line Item Quantity",), "number"),
        "pack_price": Column(("Pack Price",), "number"),
        # 'Weight Captured Separately', 'See DN-304 (ID#:10589)', 'Freight Included in Commodity Cost': no number is no value
        "weight_kg": Column(("Weight (Kilograms)",), "number", nullable=True, invalid="null"),
        "freight_usd": Column(("Freight Cost (USD)",), "number", nullable=True, invalid="null"),
    },
    normalize={
        "vendor": pl.col("vendor").str.strip_chars(),
        "ordered": ordered,
        "counted_from": pl.when(ordered.is_not_null()).then(pl.lit(ORDER)).otherwise(pl.lit(SCHEDULE)),
        "days": (delivered - pl.coalesce(ordered, scheduled)).dt.total_days().cast(pl.Float64),
        "known": pl.max_horizontal("delivered", "recorded").cast(pl.Datetime("us")).dt.replace_time_zone("UTC"),
    },
    time="known",
    grain=timedelta(days=1),
    max_gap=timedelta(days=120),
    identity=("line",),
    rules=(
        Rule("before_its_order", (pl.col("days") < 0) & (pl.col("counted_from") == ORDER), "one of the two dates is wrong"),
    ),
    split=lambda rows: {"shipments": rows.sort("known", "row")},
)
