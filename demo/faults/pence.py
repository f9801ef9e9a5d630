"""An export of the raw files in which somebody changed the unit of the prices: pence instead of pounds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import polars as pl


def export_in_pence(sources: Sequence[Path], folder: Path) -> list[Path]:
    """Copies of the raw parquet files below `folder`, their unit prices times 100."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for source in sources:
        target = folder / source.name
        pl.read_parquet(source).with_columns(pl.col("UnitPrice") * 100).write_parquet(target)
        written.append(target)
    return written
