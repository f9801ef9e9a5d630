"""What the invoice lines of Online Retail II are: the source's columns, which lines are refused and why, what a return is.

Units are units ordered. A cancellation's invoice starts with `C` and has negative units; an invoice that starts with `A`
adjusts bad debt. The source has case variants of codes (`85123a`), blanks around them, and texts `nan` where a description
is missing.

    sales, returns   invoice sku description units at unit_price customer country source source_row
    reversed         the same, of sales that the customer cancelled on the same day, and of these cancellations

Units are positive in every class; `customer` is null where unknown.
"""

from datetime import timedelta

import polars as pl
from online_retail_reversals import reversed_rows

from tidegate.api.data import Column, Dataset, Rule

PRODUCT = r"^\d{5}[A-Z]{0,2}$|^DCGS\w+$|^SP1002$|^PADS$"
NOT_PRODUCTS = {
    "postage": (("POST", "DOT", "C2", "C3"), "postage and carriage are not products"),
    "fee": (("BANK CHARGES", "AMAZONFEE", "CRUK"), "fees and commissions are not products"),
    "manual": (("M", "ADJUST", "ADJUST2"), "entries made by hand name no product"),
    "discount": (("D",), "discounts are not products"),
    "sample": (("S",), "samples are not sold"),
    "bad_debt": (("B",), "adjustments of bad debt are not sales"),
    "test": (("TEST001", "TEST002"), "test entries are not sales"),
}

sku, invoice, units, price = pl.col("sku"), pl.col("invoice"), pl.col("units"), pl.col("unit_price")
is_return = invoice.str.starts_with("C")


def split(rows: pl.DataFrame) -> dict[str, pl.DataFrame]:
    rows = rows.with_columns(units.abs(), is_return.alias("is_return")).sort("at", "invoice", "sku", "row")
    undone = rows["row"].is_in(reversed_rows(rows))
    came_back, tidy = rows["is_return"], rows.drop("is_return")
    return {
        "sales": tidy.filter(~undone & ~came_back),
        "returns": tidy.filter(~undone & came_back),
        "reversed": tidy.filter(undone),
    }


DATASET = Dataset(
    name="online_retail",
    columns={
        "invoice": Column(("InvoiceNo", "Invoice"), "identifier"),
        "sku": Column(("StockCode",), "identifier"),
        "description": Column(("Description",), "text", nullable=True, empty=("", "nan")),
        "units": Column(("Quantity",), "integer"),
        "at": Column(("InvoiceDate",), "timestamp"),
        "unit_price": Column(("UnitPrice", "Price"), "number"),
        "customer": Column(("CustomerID", "Customer ID"), "identifier", nullable=True),
        "country": Column(("Country",), "text"),
    },
    normalize={
        "invoice": invoice.str.strip_chars().str.to_uppercase(),
        "sku": sku.str.strip_chars().str.to_uppercase(),
        "description": pl.col("description").str.strip_chars(),
    },
    time="at",
    grain=timedelta(days=1),
    max_gap=timedelta(days=60),  # the shop closes for eleven days at Christmas; a date typed a year late lies farther away
    # The description is no part of a line's identity: the two files spell some of them differently.
    identity=("invoice", "sku", "units", "at", "unit_price", "customer", "country"),
    rules=(
        Rule("bad_debt", invoice.str.starts_with("A"), "invoices A... adjust bad debt"),
        *(Rule(reason, sku.is_in(codes), why) for reason, (codes, why) in NOT_PRODUCTS.items()),
        Rule("voucher", sku.str.starts_with("GIFT"), "gift vouchers are money, not goods"),
        Rule("unknown_code", ~sku.str.contains(PRODUCT), "the code is neither a product's nor one we know"),
        Rule("zero_units", units == 0, "a line without units is no order"),
        Rule("cancels_nothing", is_return & (units > 0), "a cancellation must have negative units"),
        Rule("stock_adjustment", ~is_return & (units < 0), "negative units on no cancellation: goods damaged, lost or found"),
        Rule("price_not_positive", price <= 0, "given away or written off: not ordered at a price"),
    ),
    split=split,
)
