"""Measures looks at the inference log: time and memory of `watch` and of a gate, by the number of records. Prints two tables.

    python tests/benchmarks/evidence.py [RECORDS ...]        (100000 and 1000000 by default; 10000000 need 6 GB below /tmp)

Records are of one row, of one live release, in segments as a slot writes them, over five weeks of data. Each look is a process
of its own; `first` has no index, `next process` finds it, `next look` is the same process again after 1,000 more records.
`sequential` reads the same bytes from first to last and does nothing with them. Memory is what the resident size of the process
grew by, at most, while it looked. Ids are random; each of 5,000 keys has one vector.
"""

from __future__ import annotations

import base64
import json
import runpy
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

TESTS = Path(__file__).parents[1]
for place in (TESTS, TESTS / "unit" / "gates"):
    sys.path.insert(0, str(place))

SEGMENT = 64 * 1024 * 1024
DAY_US = 86_400_000_000
FIRST_DAY, DAYS = 14_975, 35
BEGAN, A_SECOND = 1_700_000_000.0, 50.0
ODD = 0x9E3779B97F4A7C15F39CC0605CEDC835
LOOKS = ("watch", "drift gate", "refusals")


def lines(first: int, count: int, release: str, all_records: int) -> Iterator[bytes]:
    """Records as `tidegate.serving.runtime.inference_log` writes them."""
    rng = np.random.default_rng(1)
    units, price = np.floor(np.exp(rng.normal(1.0, 1.2, 5000))), np.round(np.exp(rng.normal(0.8, 0.7, 5000)), 2)
    vectors = np.stack([units, price, rng.integers(1, 8, 5000)], axis=1).astype("<f4")
    features = [base64.b64encode(vector.tobytes()).decode() for vector in vectors]
    outputs = [base64.b64encode(vector[:1].tobytes()).decode() for vector in vectors]
    who = f'"model":"demand","release":"{release}","slot":"blue","replica":0,"shadow":false,"client_id":"","route":"predict"'
    for n in range(first, first + count):
        k = n * 7919 % 5000
        day = (FIRST_DAY + n * DAYS // all_records) * DAY_US
        yield (
            f'{{"id":"{n * ODD % 2**128:032x}","at":{BEGAN + n / A_SECOND:.6f},{who},'
            f'"status":200,"latency_ms":{1 + k % 40 / 10},'
            f'"entities":["sku{k}"],"inputs":{{"horizon":[{1 + k % 7}]}},"event_times":[{day}],"rows":1,'
            f'"features":"{features[k]}","outputs":{{"units_q50":{{"dtype":"float32","shape":[1],"data":"{outputs[k]}"}}}}}}\n'
        ).encode()


def write(folder: Path, release: str, count: int) -> int:
    written = number = 0
    made = lines(0, count, release, count)
    pending, size = [], 0
    for line in made:
        pending.append(line)
        size += len(line)
        if size >= SEGMENT:
            (folder / f"blue-0-1-{number}.jsonl").write_bytes(b"".join(pending))
            written, number, pending, size = written + size, number + 1, [], 0
    (folder / f"blue-0-1-{number}.jsonl").write_bytes(b"".join(pending))
    return written + size


def look(kind: str, root: Path, count: int) -> dict[str, float]:
    """In a process of its own: two looks, with 1,000 records more before the second."""
    from release_fixture import FakeMeter, evaluator, stage

    from tidegate.gates.refusals import RefusalWatch
    from tidegate.gates.watch import watch
    from tidegate.serving.records import InferenceLogFiles

    here = stage(root / "releases")
    end = BEGAN + count / A_SECOND
    records = InferenceLogFiles(root / "logs", "demand")
    context = type(here.context)(**{**vars(here.context), "since": end - 600})
    refusals = RefusalWatch(records, here.candidate.digest, here.candidate.digest, end - 300)
    gates = evaluator(records, meter=FakeMeter())
    looks = {
        "watch": lambda: watch(here.candidate, here.folder, records, FakeMeter()),
        "drift gate": lambda: gates("drift", context),
        "refusals": lambda: refusals.look(end + 1000, 0.05, 5.0),
    }
    seconds, before = [], resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    for again in (False, True):
        if again and count:
            with max((root / "logs").glob("*.jsonl"), key=lambda path: path.stat().st_mtime_ns).open("ab") as log:
                log.writelines(lines(count, 1000, here.candidate.digest, count))
        began = time.perf_counter()
        looks[kind]()
        seconds.append(time.perf_counter() - began)
    return {"first": seconds[0], "again": seconds[1], "peak": resident("VmHWM") - before}


def resident(which: str) -> float:
    """Megabytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(which)) / 1024


def in_a_process(*arguments: object) -> dict[str, Any]:
    done = subprocess.run([sys.executable, __file__, *map(str, arguments)], capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def sequential(folder: Path) -> float:
    began = time.perf_counter()
    for path in sorted(folder.glob("*.jsonl*")):
        with path.open("rb", buffering=0) as handle:
            while handle.read(1024 * 1024):
                pass
    return time.perf_counter() - began


def forget_index(folder: Path) -> None:
    for path in folder.glob("*.index"):
        path.unlink()


def measure(root: Path, count: int, release: str) -> list[str]:
    """Prints the rows of the first table; returns that of the second."""
    from tidegate.files.record_segments import pack

    logs = root / "logs"
    logs.mkdir()
    size = write(logs, release, count)
    for kind in LOOKS:
        forget_index(logs)
        first = in_a_process("look", kind, root, count)
        after = in_a_process("look", kind, root, count)
        plain = sequential(logs)
        memory = f"{first['peak']:,.0f} MB | {after['peak']:,.0f} MB"
        times = f"{first['first']:.2f} s | {after['first']:.2f} s | {first['again'] * 1000:.0f} ms"
        print(
            f"| {kind} | {count:,} | {size / 1e6:,.0f} MB | {times} | {memory} | {plain:.2f} s "
            f"| {first['first'] / plain:.1f} | {after['first'] / plain:.2f} |",
            flush=True,
        )
    began = time.perf_counter()
    before = sum(path.stat().st_size for path in logs.glob("*.jsonl"))
    for path in sorted(logs.glob("*.jsonl"))[:3]:
        pack(path)
    seconds = time.perf_counter() - began
    packed = sum(path.stat().st_size for path in logs.glob("*.gz"))
    done = before - sum(path.stat().st_size for path in logs.glob("*.jsonl"))
    ratio = (
        f"{size / count:.0f} B | {size / count * packed / done:.0f} B | {packed / done:.2f} | {done / 1e6 / seconds:.0f} MB/s"
    )
    return [f"| {count:,} | {ratio} |"]


def main() -> None:
    if sys.argv[1:2] == ["look"]:
        kind, root, count = sys.argv[2], Path(sys.argv[3]), int(sys.argv[4])
        (root / "logs").mkdir(parents=True, exist_ok=True)
        (root / "releases").mkdir(exist_ok=True)
        print(json.dumps(look(kind, root, count)))
        return
    stage = runpy.run_path(str(TESTS / "unit" / "gates" / "release_fixture.py"))["stage"]
    columns = ["look", "records", "log", "first", "next process", "next look", "memory, first", "memory, next", "sequential"]
    columns += ["first/seq.", "next/seq."]
    print(f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|", flush=True)
    compressed = []
    for count in [int(each) for each in sys.argv[1:]] or [100_000, 1_000_000]:
        with tempfile.TemporaryDirectory(prefix="tidegate-evidence-") as folder:
            root = Path(folder)
            (root / "releases").mkdir()
            release = stage(root / "releases").candidate.digest
            compressed += measure(root, count, release)
    print("\n| records | bytes a record | compressed | ratio | compressed at |\n|---|---|---|---|---|")
    print("\n".join(compressed))


if __name__ == "__main__":
    main()
