"""What happened, counted from the raw logs alone: the load's own log, the rollouts' records, the ledger, the evaluations.

Everything the report and `demo.json` say comes from here; nothing is carried over from the scenario's memory, so that anybody
can count again from the files beside the report.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

JsonObject = dict[str, Any]


def read_requests(log: Path) -> list[JsonObject]:
    """Every line of the load's log, in order of sending."""
    with log.open() as lines:
        return sorted((json.loads(line) for line in lines if line.endswith("\n")), key=lambda r: r["at"])


def request_facts(requests: Sequence[JsonObject]) -> JsonObject:
    answered = [r for r in requests if r["outcome"] == "answered"]
    return {
        "sent": len(requests),
        "answered": len(answered),
        "lost": sum(r["outcome"] == "lost" for r in requests),
        "mixed": sum(bool(r["mixed"]) for r in requests),
        "by_slot": dict(sorted(Counter(r["slot"] for r in answered if r["slot"]).items())),
        "by_status": {str(k): v for k, v in sorted(Counter(r["status"] for r in requests).items())},
        "by_release": dict(sorted(Counter(r["release"] for r in answered if r["release"]).items())),
    }


def last_answers(requests: Sequence[JsonObject]) -> dict[str, str]:
    """The id of the last request that each release answered well."""
    return {r["release"]: r["id"] for r in requests if r["status"] == 200}


def latency_facts(requests: Sequence[JsonObject]) -> JsonObject:
    """Milliseconds as the client saw them, by slot: p50, p95, p99 and the sample size."""
    facts: JsonObject = {}
    for slot in ("blue", "green"):
        ms = np.array([r["ms"] for r in requests if r.get("slot") == slot and r["status"] == 200])
        if len(ms):
            p50, p95, p99 = (round(float(q), 2) for q in np.percentile(ms, [50, 95, 99]))
            facts[slot] = {"p50": p50, "p95": p95, "p99": p99, "n": len(ms)}
    return facts


def rollback_facts(requests: Iterable[JsonObject], release: str) -> JsonObject:
    """First and last bad answer that the faulty `release` served (seconds since the epoch), and the time between."""
    mine = [r for r in requests if r.get("release") == release]
    bad = [r["at"] + r["ms"] / 1000 for r in mine if r["status"] >= 500]
    if not bad:
        return {"first_bad": None, "last_bad": None, "seconds": None, "bad": 0, "served": len(mine), "release": release}
    return {
        "first_bad": min(bad),
        "last_bad": max(bad),
        "seconds": round(max(bad) - min(bad), 3),
        "bad": len(bad),
        "served": len(mine),
        "release": release,
    }


def rollout_records(folder: Path) -> list[JsonObject]:
    """The records of all rollouts below `folder`, oldest first."""
    return sorted((json.loads(path.read_bytes()) for path in folder.glob("*.json")), key=lambda r: r["created_at"])


def parity_facts(gates: Iterable[Mapping[str, Any]]) -> JsonObject:
    """Values compared and differing, over every parity gate that was decided."""
    decided = [g for g in gates if g["gate"] == "parity" and g["verdict"] in ("PASS", "FAIL")]
    return {
        "gates": len(decided),
        "compared": sum(int(g["evidence"]["sample_size"]) for g in decided),
        "differing": sum(int(g["evidence"]["numbers"].get("differing", 0)) for g in decided),
    }


def requests_per_second(requests: Sequence[JsonObject]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Seconds since the first request, and the number of requests in each second by slot, `bad` (5xx) and `lost`."""
    start = requests[0]["at"]
    seconds = np.array([int(r["at"] - start) for r in requests])
    length = int(seconds.max()) + 1

    def series(chosen: Iterable[bool]) -> np.ndarray:
        return np.bincount(seconds[np.fromiter(chosen, dtype=bool, count=len(seconds))], minlength=length)

    return np.arange(length), {
        "blue": series(r.get("slot") == "blue" and r["status"] < 500 for r in requests),
        "green": series(r.get("slot") == "green" and r["status"] < 500 for r in requests),
        "bad": series(r["outcome"] == "answered" and r["status"] >= 500 for r in requests),
        "lost": series(r["outcome"] == "lost" for r in requests),
    }
