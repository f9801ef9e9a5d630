"""What an append and a query of the ledger cost while it grows, beside a plain appended and fsynced line, the disk's own limit.

    python tests/benchmarks/ledger_cost.py [FOLDER] [ENTRIES ...]

FOLDER is on the disk to be measured (default: the working folder). Prints medians, sample sizes, and ratios to the first size.
A first append and a first check are those of a process that has just started.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from tidegate.adapters.files.ledger_file import FileLedger
from tidegate.ports.ledger import Draft, Query

BATCH, SAMPLES, FIRSTS = 500, 60, 3
BODY = {"message": "measured", "gate": "bake", "evidence": "x" * 300}


def opened(folder: Path) -> FileLedger:
    return FileLedger(folder / "ledger", folder / "keys")


def fill(folder: Path, count: int) -> None:
    ledger = opened(folder)
    for start in range(0, count, BATCH):
        ledger.append_many([draft(i) for i in range(start, min(count, start + BATCH))])


def draft(number: int) -> Draft:
    """Subjects come in runs, as releases do: each has some hundred entries."""
    return Draft("verdict" if number % 10 else "champion", f"demand@{number // 200:08d}", {**BODY, "n": number})


def milliseconds(step: Callable[[], object], samples: int) -> float:
    spent = []
    for _ in range(samples):
        begun = time.perf_counter()
        step()
        spent.append(1000 * (time.perf_counter() - begun))
    return median(spent)


def plain(folder: Path) -> float:
    with (folder / "plain").open("ab") as handle:

        def step() -> None:
            handle.write(b"x" * 600 + b"\n")
            handle.flush()
            os.fsync(handle.fileno())

        return milliseconds(step, SAMPLES)


def measure(folder: Path, count: int) -> dict[str, tuple[float, int]]:
    fill(folder, count)
    warm, last = opened(folder), f"demand@{(count - 1) // 200:08d}"
    warm.append("verdict", last, BODY)

    def batch() -> object:
        return warm.append_many([draft(count + i) for i in range(BATCH)])

    def query(query: Query, ledger: FileLedger) -> object:
        return next(ledger.entries(query, newest_first=True), None)

    old, none = Query(subject="demand@00000001"), Query(subject="nobody", actions=("champion",))
    return {
        "plain line, fsynced": (plain(folder), SAMPLES),
        "append": (milliseconds(lambda: warm.append("verdict", last, BODY), SAMPLES), SAMPLES),
        f"append, each of a batch of {BATCH}": (milliseconds(batch, 5) / BATCH, 5),
        "check": (milliseconds(warm.check, SAMPLES), SAMPLES),
        "query: latest champion": (milliseconds(lambda: query(Query(actions=("champion",)), warm), SAMPLES), SAMPLES),
        "query: an old subject, all": (milliseconds(lambda: list(warm.entries(old)), SAMPLES), SAMPLES),
        "query: nothing matches": (milliseconds(lambda: list(warm.entries(none)), SAMPLES), SAMPLES),
        "first check": (milliseconds(lambda: opened(folder).check(), FIRSTS), FIRSTS),
        "first query: an old subject": (milliseconds(lambda: list(opened(folder).entries(old)), FIRSTS), FIRSTS),
        "first append": (milliseconds(lambda: opened(folder).append("verdict", last, BODY), FIRSTS), FIRSTS),
        "whole verification": (milliseconds(lambda: opened(folder).verify(), 1), 1),
    }


def main() -> None:
    where, *sizes = sys.argv[1:] or ["."]
    counts = [int(size) for size in sizes] or [1_000, 100_000]
    found = []
    for count in counts:
        with tempfile.TemporaryDirectory(dir=where) as folder:
            found.append(measure(Path(folder), count))
    print(f"{'median ms (samples)':<36}" + "".join(f"{count:>16,}" for count in counts) + "   ratio")
    for name in found[0]:
        values = [each[name] for each in found]
        cells = "".join(f"{value:>10.3f} ({samples:>3})" for value, samples in values)
        print(f"{name:<36}{cells}   {values[-1][0] / values[0][0]:.1f}")


if __name__ == "__main__":
    main()
