"""Makes the sample that ships with the tests: `python make_sample.py SOURCE_FOLDER`.

`SOURCE_FOLDER` holds NannyML's `employment_MA_reference.pq`, `employment_MA_analysis.pq` and
`employment_MA_analysis_target.pq`. Of each year PEOPLE are drawn, seeded; the predictions of NannyML's own model are left
out. No value is altered.
"""

from __future__ import annotations

import sys
from pathlib import Path

PEOPLE, SEED = 6_000, 7
LEFT_OUT = ("prediction", "predicted_probability")
TARGET = Path(__file__).with_name("people.parquet")


def main(source: Path) -> None:
    import polars as pl

    reference = pl.read_parquet(source / "employment_MA_reference.pq")
    later = pl.read_parquet(source / "employment_MA_analysis.pq")
    later = later.join(pl.read_parquet(source / "employment_MA_analysis_target.pq"), on="id")
    coded = [name for name, kind in reference.schema.items() if kind == pl.Categorical or isinstance(kind, pl.Enum)]
    people = pl.concat(
        [
            rows.drop(LEFT_OUT).select(sorted(set(rows.columns) - set(LEFT_OUT))).with_columns(pl.col(coded).cast(pl.String))
            for rows in (reference, later)
        ]
    )
    kept = [rows.sort("id").sample(PEOPLE, seed=SEED) for _, rows in sorted(people.group_by("year"), key=lambda each: each[0])]
    sample = pl.concat(kept).sort("year", "id")
    sample.write_parquet(TARGET, compression="zstd", compression_level=19, statistics=False)
    sys.stdout.write(f"{TARGET.name}: {len(sample):,} of {len(people):,} people, {TARGET.stat().st_size:,} bytes\n")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python make_sample.py SOURCE_FOLDER (with NannyML's three employment files)")
    main(Path(sys.argv[1]))
