"""Measures how long a release's drift thresholds take to calibrate where there are many columns. Prints a table.

    python tests/benchmarks/calibration_cost.py [COLUMNS]

Pixels (whole numbers from 0 to 255, mostly 0) and distinct numbers; references of 2,000 and 8,000 rows without times, windows
of 500 rows, as the gate `drift` has them by default. Wall time and the processor's: what other work on the machine took is not
in the second.
"""

from __future__ import annotations

import sys
import time

import numpy as np
import polars as pl

from tidegate.gates.drift_check import DriftRules
from tidegate.statistics.calibration import calibrate


def columns(kind: str, rows: int, count: int) -> pl.DataFrame:
    rng = np.random.default_rng([rows, count])
    values = rng.normal(size=(rows, count))
    if kind == "pixels":
        values = np.clip(np.round(values * 90 - 40), 0, 255)
    return pl.DataFrame({f"c{i:03}": values[:, i] for i in range(count)})


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 784
    rules = DriftRules()
    print(f"{count} columns, windows of {rules.window} rows, {rules.draws} draws")
    print("| columns | rows of the reference | s | s of processors |\n|---|---|---|---|")
    for kind in ("pixels", "distinct numbers"):
        for rows in (2_000, 8_000):
            frame = columns(kind, rows, count)
            began, used = time.perf_counter(), time.process_time()
            calibrate(frame, frame.columns, rules.window, rules.block_days, rules.false_alarm_budget, 0, rules.draws)
            print(f"| {kind} | {rows:,} | {time.perf_counter() - began:.1f} | {time.process_time() - used:.1f} |", flush=True)


if __name__ == "__main__":
    main()
