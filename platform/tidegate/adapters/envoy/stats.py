"""Counters of a slot's predictions as Envoy saw them, from its Prometheus page.

Live predictions are counted by the routes `<model>/<slot>/predict` and `<model>/<slot>/infer` (on a cluster without the slot):
probes, documents and what the gateway refused by itself have routes of their own or none. Mirrored requests are counted by the
cluster `<model>-<slot>-shadow`. A counter that is absent is zero. Counters start at zero when Envoy is restarted: a reader of
differences takes a counter that fell for a restart. Latency buckets are merged at each flush (four times a second), so they may
lag behind `completed` by that much.
"""

from __future__ import annotations

import json
import math
import re
import urllib.parse
from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from tidegate.adapters.envoy.kinds import PREDICTING
from tidegate.adapters.envoy.table import cluster_name
from tidegate.domain.slots import Slot
from tidegate.ports.traffic import SlotTraffic

SAMPLE = re.compile(r"^envoy_(?:cluster|vhost_route)_([a-z0-9_]+)\{(.*)\} (\S+)$")
LABEL = re.compile(r'([a-z_]+)="([^"]*)"')
UNAVAILABLE = ("503", "504")
COUNTERS = "upstream_rq_(completed|active|4xx|5xx|503|504|time)"


class Admin(Protocol):
    def get(self, path: str) -> str: ...


def slot_traffic(admin: Admin, model: str, shadow: bool = False) -> Mapping[Slot, SlotTraffic]:
    """Traffic of both slots of `model`, mirrored requests with `shadow`; raises Unavailable when Envoy does not answer."""
    known = re.escape(model)
    routes = rf"vhost\.[^.]+\.route\.{known}/(blue|green)/({'|'.join(PREDICTING)})\.{COUNTERS}"
    clusters = rf"cluster\.{known}-(blue|green)"
    pattern = rf"^{clusters}-shadow\.{COUNTERS}$" if shadow else rf"^({routes}|{clusters}\.upstream_rq_active)$"
    page = admin.get("/stats/prometheus?filter=" + urllib.parse.quote(pattern))
    kinds = () if shadow else PREDICTING
    return {
        slot: parse_traffic(page, {cluster_name(model, slot, shadow), *(f"{model}/{slot}/{kind}" for kind in kinds)})
        for slot in Slot
    }


def parse_traffic(page: str, subjects: Collection[str]) -> SlotTraffic:
    """Counters of routes or clusters on a Prometheus page, added up; without requests they are zeros."""
    counts = dict.fromkeys(("completed", "active", "4xx", "5xx", "unavailable"), 0)
    buckets: dict[float, int] = {}
    for line in page.splitlines():
        match = SAMPLE.match(line)
        if match is None:
            continue
        labels = dict(LABEL.findall(match[2]))
        if labels.get("envoy_route", labels.get("envoy_cluster_name")) not in subjects:
            continue
        name, value = match[1], int(float(match[3]))
        if name in ("upstream_rq_completed", "upstream_rq_active"):
            counts[name.rpartition("_")[2]] += value
        elif name == "upstream_rq_xx":
            kind = labels.get("envoy_response_code_class", "") + "xx"
            counts[kind] = counts.get(kind, 0) + value
        elif name == "upstream_rq" and labels.get("envoy_response_code") in UNAVAILABLE:
            counts["unavailable"] += value
        elif name == "upstream_rq_time_bucket":
            bound = math.inf if labels["le"] == "+Inf" else float(labels["le"])
            buckets[bound] = buckets.get(bound, 0) + value
    return SlotTraffic(counts["completed"], counts["5xx"], counts["active"], buckets, counts["4xx"], counts["unavailable"])


def in_flight(admin: Admin, clusters: Sequence[str]) -> int:
    """Requests in flight to any of `clusters`."""
    names = "|".join(re.escape(name) for name in clusters)
    page = json.loads(
        admin.get("/stats?format=json&filter=" + urllib.parse.quote(rf"^cluster\.({names})\.upstream_rq_active$"))
    )
    return sum(int(stat.get("value", 0)) for stat in page.get("stats", ()))
