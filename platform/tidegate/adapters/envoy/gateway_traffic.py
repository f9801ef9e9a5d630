"""Live traffic on a cluster as its gateway saw it: counters of all its pods together, since the first look of all.

The gateway has the same routes for whatever is live, so both slots have the same counters: a reader that adds up what grew
since a switch sees the release that was switched to, and the last answers of the one before it. A gateway pod that is new, or
was restarted, counts from zero; one that went away keeps what it had counted. What was counted is kept in a file a model:
whoever looks after a restart sees what grew meanwhile.
"""

from __future__ import annotations

import json
import logging
import re
import socket
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tidegate.adapters.envoy.kinds import PREDICTING
from tidegate.adapters.envoy.stats import COUNTERS, parse_traffic
from tidegate.domain.errors import IntegrityError, Unavailable
from tidegate.domain.slots import Slot
from tidegate.files.durable_files import read_json, replace_durably
from tidegate.ports.cluster_rollouts import ClusterRollouts
from tidegate.ports.traffic import SlotTraffic

logger = logging.getLogger("tidegate.gates")
TIMEOUT_S = 2.0
NOTHING = SlotTraffic(0, 0, 0, {})


class GatewayTraffic:
    """`LiveTraffic`. `address` is a headless Service over the gateway's pods, with the port of their metrics: http://HOST:PORT;
    `kept` is a folder for what was counted."""

    def __init__(self, address: str, release: str, rollouts: ClusterRollouts, kept: Path) -> None:
        self._address = urllib.parse.urlsplit(address)
        self._release, self._rollouts, self._kept = release, rollouts, kept
        self._pods: dict[str, dict[str, SlotTraffic]] = {}
        self._sums: dict[str, SlotTraffic] = {}

    def routed(self, model: str) -> tuple[Slot | None, bool]:
        state = self._rollouts.under_way(model)
        return state.live_slot, state.mirrors

    def traffic(self, model: str) -> Mapping[Slot, SlotTraffic]:
        """Raises Unavailable when a pod of the gateway does not answer: its part of the traffic would not be judged."""
        statistics = rf"^vhost\.[^.]+\.route\.{re.escape(model)}/({'|'.join(PREDICTING)})\.{COUNTERS}$"
        routes = {f"{model}/{kind}" for kind in PREDICTING}
        now = {pod: parse_traffic(self._page(pod, statistics), routes) for pod in self._addresses()}
        if model not in self._pods:
            self._restore(model)
        before, first = self._pods.get(model, {}), model not in self._pods
        total = self._sums.get(model, NOTHING)
        for pod, counts in now.items():
            total = total.plus(counts.since(counts if first else before.get(pod, NOTHING)))
        self._pods[model], self._sums[model] = now, total
        self._keep(model)
        return dict.fromkeys(Slot, total)

    def _restore(self, model: str) -> None:
        try:
            kept = read_json(
                self._kept / f"{model}.json", f"what the gateway counted of {model}", _counts, "it is counted anew"
            )
        except (IntegrityError, Unavailable) as error:
            logger.warning("%s", error)
            return
        if kept is not None:
            self._pods[model], self._sums[model] = kept

    def _keep(self, model: str) -> None:
        pods = {pod: counts.to_json() for pod, counts in self._pods[model].items()}
        content = json.dumps({"pods": pods, "sum": self._sums[model].to_json()}).encode()
        try:
            replace_durably(self._kept / f"{model}.json", content)
        except Unavailable as error:
            logger.warning("what the gateway counted of %s is in memory alone: %s", model, error)

    def mirrored(self, model: str) -> bool:
        """Whether each pod of the gateway knows somebody to mirror the model's live traffic to."""
        cluster = f"{self._release}-{model}-shadow"
        pages = [self._page(pod, rf"^cluster\.{cluster}\.membership_total$") for pod in self._addresses()]
        known = re.compile(rf'^envoy_cluster_membership_total{{envoy_cluster_name="{re.escape(cluster)}"}} [1-9]', re.MULTILINE)
        return bool(pages) and all(known.search(page) for page in pages)

    def _addresses(self) -> list[str]:
        host, port = self._address.hostname or "", self._address.port or 80
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise Unavailable(f"gateway: no pod of it is found as {host} ({error}); check that the gateway runs") from error
        ips = sorted({str(address[0]) for *_, address in found})
        return [f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}" for ip in ips]

    def _page(self, pod: str, statistics: str) -> str:
        query = urllib.parse.urlencode({"filter": statistics})
        try:
            with urllib.request.urlopen(f"http://{pod}/metrics?{query}", timeout=TIMEOUT_S) as answer:
                return str(answer.read().decode())
        except (urllib.error.URLError, OSError, ValueError) as error:
            raise Unavailable(f"gateway: pod {pod} does not tell its counters ({error})") from error


def _counts(value: Any) -> tuple[dict[str, SlotTraffic], SlotTraffic]:
    pods = {str(pod): SlotTraffic.from_json(counts) for pod, counts in value["pods"].items()}
    return pods, SlotTraffic.from_json(value["sum"])
