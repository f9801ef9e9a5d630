"""Ingestion: every reason, sums that add up for any input, and one clear sentence for every broken file."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate.adapters.files.dataset_files import DatasetFiles
from tidegate.data import ingest as ingestion
from tidegate.data.classes import classify
from tidegate.data.dataset import load_dataset
from tidegate.data.model_data import read_data
from tidegate.data.report import IngestReport, load_report
from tidegate.domain.errors import InvalidInput, NotFound

REPO = Path(__file__).parents[3] / "features"
DEFINITION = load_dataset(REPO / "online_retail.py")
COLUMNS = ("InvoiceNo", "StockCode", "Description", "Quantity", "InvoiceDate", "UnitPrice", "CustomerID", "Country")
SCHEMA = {
    "InvoiceNo": pl.String,
    "StockCode": pl.String,
    "Description": pl.String,
    "Quantity": pl.Int64,
    "InvoiceDate": pl.Datetime("us"),
    "UnitPrice": pl.Float64,
    "CustomerID": pl.Float64,
    "Country": pl.String,
}
NOON = datetime(2011, 3, 1, 12)


def ingest(dataset, paths: list[Path], out: Path) -> IngestReport:
    return ingestion.ingest(dataset, DatasetFiles(paths, dataset.csv), out)


def line(invoice="500001", sku="85123A", units=6, at=NOON, price=2.5, customer=13085.0, country="United Kingdom"):
    return (invoice, sku, "A THING", units, at, price, customer, country)


def frame(*lines) -> pl.DataFrame:
    return pl.DataFrame(list(lines), schema=SCHEMA, orient="row")


def written(folder: Path, name: str, *lines) -> Path:
    path = folder / name
    frame(*lines).write_parquet(path)
    return path


def reasons(folder: Path) -> list[str]:
    return pl.read_parquet(folder / "quarantine.parquet")["reason"].to_list()


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (line(sku="POST"), "postage"),
        (line(sku="m"), "manual"),
        (line(sku="D"), "discount"),
        (line(sku="BANK CHARGES"), "fee"),
        (line(sku="S"), "sample"),
        (line(sku="TEST001"), "test"),
        (line(sku="gift_0001_20"), "voucher"),
        (line(sku="??"), "unknown_code"),
        (line(invoice="A506401", sku="B", price=-53594.36), "bad_debt"),
        (line(units=0), "zero_units"),
        (line(invoice="C500009", units=3), "cancels_nothing"),
        (line(units=-3, price=0.0), "stock_adjustment"),
        (line(price=0.0), "price_not_positive"),
        (line(price=float("nan")), "missing_unit_price"),
        (line(sku=None), "missing_sku"),
        (line(at=None), "missing_at"),
        (line(), "duplicate"),
    ],
)
def test_a_refused_row_names_its_reason(tmp_path: Path, bad: tuple, reason: str) -> None:
    report = ingest(DEFINITION, [written(tmp_path, "a.parquet", line(), bad)], tmp_path / "out")
    assert reasons(tmp_path / "out") == [reason]
    assert report.counts == {"sales": 1, "returns": 0, "reversed": 0, "quarantine": 1}
    row = pl.read_parquet(tmp_path / "out" / "quarantine.parquet").row(0, named=True)
    assert (row["source"], row["source_row"]) == ("a.parquet", 2)
    assert '"StockCode"' in row["original"]


def test_codes_are_normalized_customers_are_text_and_rows_can_be_traced(tmp_path: Path) -> None:
    ingest(
        DEFINITION, [written(tmp_path, "a.parquet", line(sku=" 85123a ", customer=None), line(invoice="2"))], tmp_path / "out"
    )
    sales = pl.read_parquet(tmp_path / "out" / "sales.parquet")
    assert sales["sku"].to_list() == ["85123A", "85123A"]
    assert set(sales["customer"].to_list()) == {None, "13085"}
    assert sales.schema["at"] == pl.Datetime("us", "UTC")
    assert set(sales["source_row"].to_list()) == {1, 2}


def test_the_overlap_of_two_files_counts_once(tmp_path: Path) -> None:
    one = written(tmp_path, "one.parquet", line(), line(invoice="500002"))
    two = written(tmp_path, "two.parquet", line(invoice="500002"), line(invoice="500003"), line(invoice="500003"))
    report = ingest(DEFINITION, [one, two], tmp_path / "out")
    assert report.reasons == {"duplicate": 1, "overlap": 1}
    assert report.counts["sales"] == 3


def test_a_sale_cancelled_the_same_day_is_neither_demand_nor_return(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "a.parquet",
        line("581483", "23843", 80995, datetime(2011, 12, 9, 9, 15), 2.08, 16446.0),
        line("C581484", "23843", -80995, datetime(2011, 12, 9, 9, 27), 2.08, 16446.0),
        line("C581485", "23843", -80995, datetime(2011, 12, 9, 9, 28), 2.08, 16446.0),  # nothing left to undo
        line("C581486", "23843", -5, datetime(2011, 12, 9, 9, 30), 2.08, 16446.0),  # another quantity
        line("581487", "22197", 7, datetime(2011, 12, 9, 9, 40), 2.08, None),
        line("C581488", "22197", -7, datetime(2011, 12, 9, 9, 50), 2.08, None),  # the same customer? nobody knows
        line("C581489", "21080", -4, datetime(2011, 12, 9, 9, 0), 2.08, 16446.0),
        line("581490", "21080", 4, datetime(2011, 12, 9, 9, 1), 2.08, 16446.0),  # sold after the cancellation
    )
    report = ingest(DEFINITION, [path], tmp_path / "out")
    assert report.counts == {"sales": 2, "returns": 4, "reversed": 2, "quarantine": 0}
    returns = pl.read_parquet(tmp_path / "out" / "returns.parquet")
    assert returns["units"].min() > 0
    assert set(pl.read_parquet(tmp_path / "out" / "reversed.parquet")["invoice"]) == {"581483", "C581484"}


def test_one_line_dated_a_year_too_late_moves_nothing(tmp_path: Path) -> None:
    days = [line(invoice=str(500000 + d), at=datetime(2011, 10, 1 + d % 30, 9)) for d in range(60)]
    files = [
        written(tmp_path, "year.parquet", *days),
        written(tmp_path, "typo.parquet", line("581999", at=datetime(2012, 10, 20))),
    ]
    report = ingest(DEFINITION, files, tmp_path / "out" / "online_retail")
    assert report.reasons == {"time_gap": 1}
    assert report.last == "2011-10-30T09:00:00+00:00"
    assert read_data(tmp_path / "out", ["online_retail"]).until() == datetime(2011, 10, 31, tzinfo=UTC)


def test_the_same_input_gives_the_same_bytes_and_the_digest_follows_the_content(tmp_path: Path) -> None:
    path = written(tmp_path, "a.parquet", line(), line(invoice="500002", sku="22197"))
    first = ingest(DEFINITION, [path], tmp_path / "out")
    before = {file.name: file.read_bytes() for file in (tmp_path / "out").iterdir()}
    assert ingest(DEFINITION, [path], tmp_path / "out") == first == load_report(tmp_path / "out")
    assert {file.name: file.read_bytes() for file in (tmp_path / "out").iterdir()} == before
    written(tmp_path, "a.parquet", line(), line(invoice="500002", sku="22197", units=7))
    assert ingest(DEFINITION, [path], tmp_path / "out").digest != first.digest


def test_csv_reads_as_parquet_does(tmp_path: Path) -> None:
    lines = [line(), line(invoice="C500002", units=-2), line(invoice="500003", customer=None)]
    frame(*lines).write_csv(tmp_path / "a.csv", datetime_format="%Y-%m-%d %H:%M:%S")
    by_csv = ingest(DEFINITION, [tmp_path / "a.csv"], tmp_path / "csv")
    by_parquet = ingest(DEFINITION, [written(tmp_path, "a.parquet", *lines)], tmp_path / "parquet")
    assert by_csv.counts == by_parquet.counts
    sales = [pl.read_parquet(tmp_path / kind / "sales.parquet").drop("source") for kind in ("csv", "parquet")]
    assert sales[0].equals(sales[1])


def broken_files(folder: Path) -> dict[str, tuple[Path, str]]:
    good = written(folder, "good.parquet", *(line(invoice=str(i)) for i in range(500))).read_bytes()
    contents = {
        "empty.parquet": b"",
        "cut.parquet": good[: len(good) // 2],
        "foreign.parquet": b"%PDF-1.7 a manual\n" * 40,
        "damaged.parquet": good[:4] + bytes(len(good) - 12) + good[-8:],
        "binary.csv": bytes(range(256)) * 20,
        "notes.txt": b"a,b\n1,2\n",
        "units.csv": ",".join(COLUMNS).encode() + b"\n1,85123A,X,many,2011-01-01 10:00:00,1.0,,UK\n",
        "headers.csv": ",".join(COLUMNS).encode() + b"\n",
        "columns.csv": b"InvoiceNo,StockCode\n1,85123A\n",
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    frame(line(units=7)).with_columns(pl.col("Quantity") * 0.5).write_parquet(folder / "halves.parquet")
    expected = {
        "empty.parquet": "0 bytes",
        "cut.parquet": "truncated",
        "foreign.parquet": "not Parquet",
        "damaged.parquet": "cannot be read as Parquet",
        "binary.csv": "",
        "notes.txt": "allowed are .parquet and .csv",
        "units.csv": "column 'Quantity' has 'many' in row 1, required: whole numbers",
        "headers.csv": "no rows",
        "columns.csv": "column 'Description' is missing",
        "halves.parquet": "column 'Quantity' has '3.5' in row 1, required: whole numbers",
        "absent.parquet": "does not exist",
    }
    return {name: (folder / name, text) for name, text in expected.items()}


def test_a_broken_file_is_one_sentence_and_leaves_the_earlier_output(tmp_path: Path) -> None:
    out = tmp_path / "state" / "out"
    ingest(DEFINITION, [written(tmp_path, "a.parquet", line())], out)
    before = {file.name: file.read_bytes() for file in out.iterdir()}
    for name, (path, text) in broken_files(tmp_path).items():
        with pytest.raises(InvalidInput) as caught:
            ingest(DEFINITION, [path], out)
        message = str(caught.value)
        assert name in message, message
        assert text in message, message
        assert "\n" not in message
        assert {file.name: file.read_bytes() for file in out.iterdir()} == before
        assert [entry.name for entry in out.parent.iterdir()] == ["out"], "a temporary folder was left"


def test_a_wrong_definition_is_a_users_mistake(tmp_path: Path) -> None:
    for content, text in (
        ("x = (", "SyntaxError"),
        ("x = 1", "no DATASET"),
        ("import nothing_like_it", "ModuleNotFoundError"),
    ):
        (tmp_path / "definition.py").write_text(content)
        with pytest.raises(InvalidInput, match=text):
            load_dataset(tmp_path / "definition.py")
    with pytest.raises(InvalidInput, match="does not exist"):
        load_dataset(tmp_path / "absent.py")
    with pytest.raises(NotFound, match="tidegate ingest"):
        load_report(tmp_path)


LINES = st.lists(
    st.builds(
        line,
        invoice=st.sampled_from(["1", "2", "C3", "c4", "A5", None]),
        sku=st.sampled_from(["85123A", "85123a", "22197", "POST", "??", "GIFT", None]),
        units=st.integers(-3, 3),
        at=st.sampled_from([NOON, datetime(2011, 3, 1, 13), datetime(2011, 3, 2, 9), None]),
        price=st.sampled_from([1.0, 0.0, -1.0, None, float("inf")]),
        customer=st.sampled_from([1.0, 2.0, None]),
    ),
    min_size=1,
    max_size=40,
)


@settings(max_examples=60, deadline=None)
@given(LINES, LINES)
def test_every_row_is_in_exactly_one_class(first: list, second: list) -> None:
    typed = []
    for number, lines in enumerate((first, second)):
        source = dataclasses.replace(DEFINITION).columns
        rows = frame(*lines)
        columns = [
            rows[column.names[0]].cast(pl.String if kind else rows[column.names[0]].dtype).alias(name)
            for name, column in source.items()
            for kind in [column.kind == "identifier"]
        ]
        typed.append(
            pl.DataFrame(columns).with_columns(
                pl.col("at").dt.replace_time_zone("UTC"),
                pl.int_range(1, pl.len() + 1).alias("source_row"),
                pl.lit("{}").alias("original"),
                pl.lit(None, dtype=pl.String).alias("invalid"),
                pl.lit(str(number)).alias("source"),
            )
        )
    lines = pl.concat(typed)
    classes = classify(DEFINITION, lines)
    rows = pl.concat([part.select("source", "source_row") for part in classes.values()])
    assert len(rows) == len(lines) == rows.n_unique()
    assert classes["sales"]["units"].min() is None or classes["sales"]["units"].min() > 0
    assert len(classes["reversed"]) % 2 == 0


def test_the_shipped_sample_is_read_whole() -> None:
    sources = sorted((REPO / "data").glob("online_retail_*.parquet"))
    assert len(sources) == 2
    assert sum(path.stat().st_size for path in sources) < 3_000_000
    (rows,) = DatasetFiles([sources[1]]).pull(None).rows
    assert rows.raw["StockCode"].n_unique() > 600
    assert rows.raw["CustomerID"].null_count() > 1000
