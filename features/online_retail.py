"""What the invoice lines of Online Retail II are: the source's columns, which lines are refused and why, what a return is.

Units are units ordered. A cancellation's invoice starts with `C` and has negative units; an invoice that starts with `A`
adjusts bad debt. The source has case variants of codes (`85123a`), blanks around them, and texts `nan` where a description
is missing.
"""

import polars as pl

from tidegate.api.data import Column, IngestDefinition, Rule

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

DEFINITION = IngestDefinition(
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
    is_return=is_return,
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
)
