"""Live traffic on a cluster as its gateway saw it: counters of all its pods together, since the first look at each.

The gateway has the same routes for whatever is live, so both slots have the same counters: a reader that adds up what grew
since a switch sees the release that was switched to, and the last answers of the one before it. A gateway pod that is new, or
was restarted, counts from zero; one that went away keeps what it had counted.
"""

from __future__ import annotations

import re
import socket
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping

from tidegate.adapters.envoy.kinds import PREDICTING
from tidegate.adapters.envoy.stats import COUNTERS, parse_traffic
from tidegate.domain.errors import Unavailable
from tidegate.domain.slots import Slot
from tidegate.ports.cluster_rollouts import ClusterRollouts
from tidegate.ports.traffic import SlotTraffic

TIMEOUT_S = 2.0
NOTHING = SlotTraffic(0, 0, 0, {})


class GatewayTraffic:
    """`LiveTraffic`. `address` is a headless Service over the gateway's pods, with the port of their metrics: http://HOST:PORT."""

    def __init__(self, address: str, release: str, rollouts: ClusterRollouts) -> None:
        self._address = urllib.parse.urlsplit(address)
        self._release, self._rollouts = release, rollouts
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
        before, first = self._pods.get(model, {}), model not in self._pods
        total = self._sums.get(model, NOTHING)
        for pod, counts in now.items():
            total = total.plus(counts.since(counts if first else before.get(pod, NOTHING)))
        self._pods[model], self._sums[model] = now, total
        return dict.fromkeys(Slot, total)

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
