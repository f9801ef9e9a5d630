"""Sales undone on the same day: the same customer cancelled the same quantity of the same SKU after buying it.

Such a pair is neither demand nor a return; the best known is an order of 80,995 units cancelled 12 minutes later. Each
cancellation undoes the latest sale before it that is not undone yet, as one bracket closes another. Lines without a customer
are never paired: nobody can say that it was the same one.
"""

import polars as pl

KEY = ("customer", "sku", "units", "day")


def reversed_rows(lines: pl.DataFrame) -> list[int]:
    """The `row` of each sale that was undone and of each cancellation that undid it.

    `lines` has row, customer, sku, units (positive), at and is_return.
    """
    known = lines.filter(pl.col("customer").is_not_null()).with_columns(pl.col("at").dt.date().alias("day"))
    cancelled = known.filter("is_return").select(KEY).unique()
    candidates = known.join(cancelled, on=KEY, how="semi").sort([*KEY, "at", "is_return", "row"])
    undone: list[int] = []
    open_sales: list[int] = []
    current: tuple[object, ...] | None = None
    for *key, row, is_return in candidates.select(*KEY, "row", "is_return").iter_rows():
        if tuple(key) != current:
            current, open_sales = tuple(key), []
        if not is_return:
            open_sales.append(row)
        elif open_sales:
            undone += [open_sales.pop(), row]
    return undone
