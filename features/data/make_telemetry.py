"""Makes the telemetry that ships with the product: `python features/data/make_telemetry.py NAB_FOLDER`.

`NAB_FOLDER` holds `data/` and `labels/combined_windows.json` of the Numenta Anomaly Benchmark. All 58 series are kept whole,
with every reading as it was published: telemetry.parquet (series, number, at, value, incident), where `incident` is the
number of the labelled window that a reading lies in, from 0 in each series, or null. Times are as published, without a zone;
a few stand twice, where clocks were set back, so that it is a reading's number in its series that tells it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

TARGET = Path(__file__).parent


def main(source: Path) -> None:
    import polars as pl

    labels = json.loads((source / "labels/combined_windows.json").read_bytes())
    frames = []
    for name in sorted(labels):
        series = name.removesuffix(".csv")
        rows = pl.read_csv(source / "data" / name, schema={"timestamp": pl.String, "value": pl.Float64})
        times = [text[:19] for text in rows["timestamp"]]
        incident: list[int | None] = [None] * len(rows)
        for which, (first, last) in enumerate(labels[name]):
            for row in range(times.index(first[:19]), times.index(last[:19]) + 1):
                incident[row] = which
        at = pl.Series("at", times).str.to_datetime("%Y-%m-%d %H:%M:%S", time_unit="us")
        number = pl.Series("number", range(len(rows)), pl.Int32)
        frame = pl.DataFrame({"series": [series] * len(rows), "number": number, "at": at, "value": rows["value"]})
        frames.append(frame.with_columns(pl.Series("incident", incident, pl.Int32)))
    table = pl.concat(frames)
    path = TARGET / "telemetry.parquet"
    table.write_parquet(path, compression="zstd", compression_level=19, row_group_size=len(table), statistics=False)
    sys.stdout.write(f"{path.name}: {len(table):,} readings of {len(labels)} series, {path.stat().st_size:,} bytes\n")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python make_telemetry.py NAB_FOLDER (with data/ and labels/)")
    main(Path(sys.argv[1]))
