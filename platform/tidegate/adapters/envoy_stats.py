"""Counters of a slot as Envoy saw them, from its Prometheus page.

Live requests are counted by cluster `<model>-<slot>`, mirrored ones by `<model>-<slot>-shadow`. Counters start at zero
when Envoy is restarted: a reader of differences takes a counter that fell for a restart. Latency buckets are merged at
each flush (four times a second), so they may lag behind `completed` by that much.
"""

from __future__ import annotations

import json
import math
import re
import urllib.parse
from collections.abc import Mapping, Sequence
from typing import Protocol

from tidegate.adapters.envoy_config import cluster_name
from tidegate.domain.slots import Slot
from tidegate.ports.traffic import SlotTraffic

SAMPLE = re.compile(r"^envoy_cluster_([a-z0-9_]+)\{(.*)\} (\S+)$")
LABEL = re.compile(r'([a-z_]+)="([^"]*)"')


class Admin(Protocol):
    def get(self, path: str) -> str: ...


def slot_traffic(admin: Admin, model: str, shadow: bool = False) -> Mapping[Slot, SlotTraffic]:
    """Traffic of both slots of `model`, mirrored requests with `shadow`; raises Unavailable when Envoy does not answer."""
    pattern = (
        rf"^cluster\.{re.escape(model)}-(blue|green){'-shadow' if shadow else ''}\.(upstream_rq_(completed|active|5xx|time)$)"
    )
    page = admin.get("/stats/prometheus?filter=" + urllib.parse.quote(pattern))
    return {slot: parse_traffic(page, cluster_name(model, slot, shadow)) for slot in Slot}


def parse_traffic(page: str, cluster: str) -> SlotTraffic:
    """One cluster's counters on a Prometheus page; a cluster without requests has zeros."""
    completed = errors = active = 0
    buckets: dict[float, int] = {}
    for line in page.splitlines():
        match = SAMPLE.match(line)
        if match is None:
            continue
        name, value = match[1], match[3]
        labels = dict(LABEL.findall(match[2]))
        if labels.get("envoy_cluster_name") != cluster:
            continue
        if name == "upstream_rq_completed":
            completed = int(float(value))
        elif name == "upstream_rq_xx" and labels.get("envoy_response_code_class") == "5":
            errors = int(float(value))
        elif name == "upstream_rq_active":
            active = int(float(value))
        elif name == "upstream_rq_time_bucket":
            bound = math.inf if labels["le"] == "+Inf" else float(labels["le"])
            buckets[bound] = int(float(value))
    return SlotTraffic(completed=completed, errors_5xx=errors, active=active, latency_buckets_ms=buckets)


def in_flight(admin: Admin, clusters: Sequence[str]) -> int:
    """Requests in flight to any of `clusters`."""
    names = "|".join(re.escape(name) for name in clusters)
    page = json.loads(
        admin.get("/stats?format=json&filter=" + urllib.parse.quote(rf"^cluster\.({names})\.upstream_rq_active$"))
    )
    return sum(int(stat.get("value", 0)) for stat in page.get("stats", ()))
