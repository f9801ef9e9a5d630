"""Puts facts and charts together once the story is over: `demo.json` and `report.html`, both from the files in the folder."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from demo import charts, facts, report
from demo.christmas import Comparison, drift_by_week
from tidegate.domain.release import ReleaseManifest
from tidegate.ports.ledger import Query

if TYPE_CHECKING:
    from tidegate.apps.platform import Platform

RAW = (
    "requests.jsonl",
    "state/logs/envoy-access.jsonl",
    "state/rollouts/",
    "state/ledger/ledger.jsonl",
    "christmas.parquet",
    "demo.json",
)


@dataclass
class Cast:
    """Which release played which part."""

    model: str
    v1: ReleaseManifest = field(init=False)
    v2: ReleaseManifest = field(init=False)
    pence: ReleaseManifest = field(init=False)
    retrained: ReleaseManifest = field(init=False)
    fault: str = ""
    repaired: str = ""
    labels: dict[str, str] = field(default_factory=dict)


def collect(
    platform: Platform, folder: Path, cast: Cast, comparison: Comparison, chapters: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Count, write `demo.json` and `report.html`, and return the facts."""
    comparison.rows.write_parquet(folder / "christmas.parquet")
    requests = facts.read_requests(folder / "requests.jsonl")
    records = facts.rollout_records(folder / "state/rollouts" / cast.model)
    gates = [*_promotions(platform), *(gate for record in records for gate in record["gates"].values())]
    weeks, features, ratios, thresholds = drift_by_week(
        platform, cast.model, cast.v2.id, _moment(cast.v2), platform.data(cast.model).until()
    )
    verification = platform.ledger.verify()
    ingest = platform.ingest_report(*platform.project.model(cast.model).datasets)
    value: dict[str, Any] = {
        "project": platform.project.name,
        "model": cast.model,
        "chapters": list(chapters),
        "requests": facts.request_facts(requests),
        "latency": facts.latency_facts(requests),
        "gates": gates,
        "rollouts": [_rollout(record, cast.labels) for record in records],
        "forecast": _forecast(platform, cast, comparison),
        "rollback": facts.rollback_facts(requests, cast.fault),
        "parity": facts.parity_facts(gates),
        "ledger": {"entries": verification.entries, "verified": verification.ok, "head": verification.head},
        "drift": {
            "trained": _moment(cast.v2).strftime("%B %Y"),
            "weeks": weeks,
            "features": features,
            "ratios": np.round(ratios, 4).tolist(),
            "budget": thresholds.budget,
            "window": thresholds.window,
        },
        "replay": _replay(platform, requests),
        "ingest": {"rows_in": ingest.rows_in, "classes": dict(ingest.counts), "reasons": dict(ingest.reasons)},
        "files": list(RAW),
    }
    (folder / "demo.json").write_text(json.dumps(value, indent=2, allow_nan=False))
    report.write(folder / "report.html", value, _charts(value, requests, records, comparison, cast, ratios))
    return value


def _moment(manifest: ReleaseManifest) -> datetime:
    return datetime.fromisoformat(manifest.lineage.trained_until)


def _promotions(platform: Platform) -> list[dict[str, Any]]:
    """Verdicts of the offline gates, as the ledger has them."""
    return [gate for entry in platform.ledger.entries(Query(actions=("promotion",))) for gate in entry.body["gates"]]


def _rollout(record: Mapping[str, Any], labels: Mapping[str, str]) -> dict[str, Any]:
    ended = record["ended_at"] or record["history"][-1]["at"]
    frozen = any(event["event"] == "frozen" for event in record["history"])
    return {
        "id": record["id"],
        "release": record["release"],
        "label": labels.get(record["release"], ""),
        "slot": record["slot"],
        "status": record["status"],
        "statuses": list(dict.fromkeys([*(["FROZEN"] if frozen else []), record["status"]])),
        "reason": record["reason"],
        "created_at": record["created_at"],
        "seconds": round(ended - record["created_at"], 3),
        "times": dict(record["times"]),
    }


def _forecast(platform: Platform, cast: Cast, comparison: Comparison) -> dict[str, Any]:
    """v1 and v2 on the rolling origins of v2's evaluation, the best baseline beside them; then the Christmas weeks."""
    summary = platform.training_output(cast.model, cast.v2.version).summary
    forecasts, baselines = summary["forecasts"], summary["baselines"]
    n = summary["eligible"]

    def errors(name: str) -> dict[str, Any]:
        return {"wape": forecasts[name]["wape"], "pinball": forecasts[name]["pinball"], "n": n}

    return {
        "baseline": errors("seasonal_naive"),
        "baselines": {name: errors(name) for name in baselines},
        "v1": errors("champion"),
        "v2": errors("model"),
        "before_retraining": comparison.errors("before"),
        "after_retraining": comparison.errors("after"),
        "retraining": comparison.change(),
    }


def _replay(platform: Platform, requests: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The last prediction served, replayed to the bit and followed back to invoice lines."""
    request_id = next(r["id"] for r in reversed(requests) if r["status"] == 200)
    found = platform.replay(request_id)
    source = found.sources[0]
    lineage = {
        "release": found.result.release,
        "model version": found.version,
        "pipeline run": found.lineage.run_id,
        "trained until": found.lineage.trained_until,
        "data": found.lineage.data,
        "feature definitions": found.lineage.features,
        "training code": found.lineage.code,
        "compiled pipeline": found.lineage.pipeline,
        "invoice lines behind the first SKU": f"{source.count:,} before {source.known_at}",
    }
    return {
        "request_id": request_id,
        "release": found.result.release,
        "identical": found.result.identical,
        "summary": found.result.describe(),
        "lineage": lineage,
        "sku": source.entity,
        "invoice_lines": [dict(line) for line in source.latest],
    }


def _charts(
    value: Mapping[str, Any],
    requests: Sequence[dict[str, Any]],
    records: Sequence[Mapping[str, Any]],
    comparison: Comparison,
    cast: Cast,
    ratios: np.ndarray,
) -> dict[str, str]:
    seconds, series = facts.requests_per_second(requests)
    start = requests[0]["at"]
    marks = [
        (at - start, f"{name.replace('_confirmed', '')} {cast.labels.get(record['release'], '').split(',')[0]}")
        for record in records
        for name, at in record["times"].items()
        if name.endswith("_confirmed") and at > start
    ]
    forecast = value["forecast"]
    shown = [("seasonal-naive" if name == "seasonal_naive" else name, errors) for name, errors in forecast["baselines"].items()]
    shown += [("v1", forecast["v1"]), ("v2", forecast["v2"])]
    shown += [
        ("before retraining (Christmas)", forecast["before_retraining"]),
        ("after retraining (Christmas)", forecast["after_retraining"]),
    ]
    by_slot = {
        slot: np.array([r["ms"] for r in requests if r.get("slot") == slot and r["status"] == 200])
        for slot in ("blue", "green")
    }
    return {
        "traffic": charts.traffic(seconds, series, sorted(marks)),
        "latency": charts.latency(by_slot),
        "errors": charts.errors([name for name, _ in shown], [e["wape"] for _, e in shown], [e["pinball"] for _, e in shown]),
        "forecasts": charts.forecasts(_panels(comparison.rows)),
        "drift": charts.drift(value["drift"]["weeks"], value["drift"]["features"], ratios),
    }


def _panels(rows: pl.DataFrame, count: int = 6) -> list[dict[str, Any]]:
    """The SKUs that sold most in the weeks shown, each day forecast from the last origin before it."""
    latest = rows.sort("horizon").unique(["sku", "date"], keep="first").sort("sku", "date")
    top = latest.group_by("sku").agg(pl.col("actual").sum()).sort("actual", descending=True)["sku"].head(count)
    panels = []
    for sku in top:
        one = latest.filter(pl.col("sku") == sku)
        columns = {"actual": "actual", "before": "before_q50", "after": "after_q50", "low": "after_q10", "high": "after_q90"}
        panel: dict[str, Any] = {name: one[column].to_numpy() for name, column in columns.items()}
        panels.append(panel | {"title": f"SKU {sku}, units a day", "dates": [str(day) for day in one["date"]]})
    return panels
