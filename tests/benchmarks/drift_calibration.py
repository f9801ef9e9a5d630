"""Measures drift checks at several window sizes: false alarms (budget 5 %), and what is found. Prints a table.

    python tests/benchmarks/drift_calibration.py [STUDIES]

AR(1) columns with the coefficient in the first column of the table: one normal, two skewed, one of few values.
"""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import numpy as np

from tidegate.statistics.calibration import calibrate

STUDY = runpy.run_path(str(Path(__file__).parents[1] / "unit" / "monitoring" / "test_calibration.py"))


def measure(phi: float, window: int, studies: int, windows: int = 10) -> list[float]:
    """Shares of alarms: unchanged, one column x100, one shifted by 0.3 sigma."""
    features, a_day, days = STUDY["FEATURES"], STUDY["A_DAY"], STUDY["DAYS"]
    changes = ([0.0, 1.0], [0.0, 100.0], [0.3, 1.0])
    alarms = np.zeros(3)
    for study in range(studies):
        rng = np.random.default_rng([study, window, 99])
        values = STUDY["series"](a_day * days + (windows + 2) * window, rng, phi)
        reference, later = values[: a_day * days], values[a_day * days + window :]
        thresholds = calibrate(STUDY["frame_of"](reference), features, window, max(1.0, window / a_day), 0.05, study, 300)
        for k in range(windows):
            current = later[k * window : (k + 1) * window]
            for i, (shift, factor) in enumerate(changes):
                changed = current * np.array([1, factor, 1, 1]) + np.array([shift, 0, 0, 0])
                alarms[i] += STUDY["alarmed"](thresholds, reference, changed)
    return list(alarms / (studies * windows))


def main() -> None:
    studies = int(sys.argv[1]) if len(sys.argv) > 1 else 40
    print(f"{studies} references of {STUDY['DAYS']} days, ten windows each")
    print("| AR(1) | window | false alarms | price x100 | shift 0.3 sigma |\n|---|---|---|---|---|")
    for phi in (0.0, 0.9):
        for window in (100, 300, 1000):
            false, price, shift = measure(phi, window, studies)
            print(f"| {phi} | {window} | {false:.1%} | {price:.0%} | {shift:.0%} |")


if __name__ == "__main__":
    main()
