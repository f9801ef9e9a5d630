"""Makes the data sample that ships with the product: `python features/data/make_sample.py SOURCE_FOLDER`.

`SOURCE_FOLDER` holds `year1.parquet` and `year2.parquet`, the two sheets of UCI Online Retail II with their original columns.
The sample keeps whole histories, never parts of them: every line, in both years, of the chosen SKUs (sales, cancellations,
duplicates, write-offs, prices of zero) and every line whose code is not a product's (postage, fees, vouchers, bad debt).
Codes are compared without regard to case and outer blanks, but written as they are. The output depends on the source alone.
"""

from __future__ import annotations

import sys
from pathlib import Path

BUSIEST = 420  # the SKUs with most selling days
OTHERS = 180  # spread evenly over the rest, from medium movers to SKUs that sold on one day
ABROAD = 12  # of SKUs sold mostly outside the United Kingdom, the busiest
ALWAYS = ("23843",)  # 'PAPER CRAFT', 80,995 units sold and cancelled within minutes
PRODUCT = r"^\d{5}[A-Z]{0,2}$"
YEARS = ("year1", "year2")
TARGET = Path(__file__).parent


def chosen_skus(lines):  # type: ignore[no-untyped-def]
    """The SKUs of the sample, from the lines of both years with their normalized code in `sku`."""
    import polars as pl

    sold = lines.filter(
        pl.col("sku").str.contains(PRODUCT) & (pl.col("Quantity") > 0) & (pl.col("UnitPrice") > 0),
        ~pl.col("InvoiceNo").str.starts_with("C"),
    )
    ranked = (
        sold.group_by("sku")
        .agg(
            days=pl.col("InvoiceDate").dt.date().n_unique(),
            lines=pl.len(),
            home=(pl.col("Country") == "United Kingdom").mean(),
        )
        .sort(["days", "sku"], descending=[True, False])
    )
    rest = ranked[BUSIEST:]
    abroad = ranked.filter(pl.col("home") < 0.5, pl.col("lines") >= 20).head(ABROAD)
    spread = rest[:: max(1, len(rest) // OTHERS)].head(OTHERS)
    return sorted({*ranked["sku"].head(BUSIEST), *spread["sku"], *abroad["sku"], *ALWAYS})


def main(source: Path) -> None:
    import polars as pl
    import pyarrow.parquet as pq

    years = [
        pl.read_parquet(source / f"{year}.parquet").with_columns(
            pl.col("InvoiceDate").cast(pl.Datetime("us")), sku=pl.col("StockCode").str.strip_chars().str.to_uppercase()
        )
        for year in YEARS
    ]
    skus = chosen_skus(pl.concat(years))
    for year, lines in zip(YEARS, years, strict=True):
        kept = lines.filter(pl.col("sku").is_in(skus) | ~pl.col("sku").str.contains(PRODUCT)).drop("sku")
        # Lines of an invoice lie together, and within it those of one price: the order that compresses best.
        first = ["InvoiceDate", "InvoiceNo", "UnitPrice", "StockCode"]
        kept = kept.sort([*first, *(name for name in kept.columns if name not in first)])
        path = TARGET / f"online_retail_{year}.parquet"
        pq.write_table(
            kept.to_arrow().combine_chunks(),
            path,
            compression="zstd",
            compression_level=19,
            row_group_size=len(kept),
            data_page_size=1 << 24,
            dictionary_pagesize_limit=1 << 24,
            write_statistics=False,
        )
        sys.stdout.write(f"{path.name}: {len(kept):,} of {len(lines):,} lines, {path.stat().st_size:,} bytes\n")
    sys.stdout.write(f"{len(skus)} SKUs\n")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python make_sample.py SOURCE_FOLDER (with year1.parquet and year2.parquet)")
    main(Path(sys.argv[1]))
