"""Counters of the gateway's pods, added up so that restarts and new pods neither lose nor invent requests."""

from __future__ import annotations

from pathlib import Path

import pytest

from fakes.cluster import FakeCluster
from tidegate.adapters.envoy import gateway_traffic
from tidegate.adapters.envoy.gateway_traffic import GatewayTraffic
from tidegate.domain.errors import Unavailable
from tidegate.domain.slots import Slot
from tidegate.ports.traffic import SlotTraffic


class Gateway(GatewayTraffic):
    """`pods` have completed requests, errors and answers below 250 ms."""

    def __init__(self, kept: Path) -> None:
        super().__init__("http://localhost:1", "tidegate", FakeCluster(), kept)
        self.members: dict[str, int] = {}
        self.pods: dict[str, tuple[int, int, int]] = {}

    def _addresses(self) -> list[str]:
        return sorted(self.pods)

    def _page(self, pod: str, statistics: str) -> str:
        if "membership" in statistics:
            return f'envoy_cluster_membership_total{{envoy_cluster_name="tidegate-demand-shadow"}} {self.members[pod]}\n'
        completed, errors, quick = self.pods[pod]
        label = 'envoy_virtual_host="gateway",envoy_route="demand/predict"'
        others = [label.replace("predict", "other"), label.replace("demand", "returns"), 'envoy_cluster_name="demand"']
        return "\n".join(
            [
                f"envoy_vhost_route_upstream_rq_completed{{{label}}} {completed}",
                f'envoy_vhost_route_upstream_rq_xx{{envoy_response_code_class="5",{label}}} {errors}',
                f'envoy_vhost_route_upstream_rq_time_bucket{{{label},le="250"}} {quick}',
                f'envoy_vhost_route_upstream_rq_time_bucket{{{label},le="+Inf"}} {completed}',
                *(f"envoy_vhost_route_upstream_rq_completed{{{other}}} 999" for other in others),
            ]
        )

    def seen(self) -> tuple[int, int, dict[float, int]]:
        found = self.traffic("demand")
        assert found[Slot.BLUE] == found[Slot.GREEN]
        counts: SlotTraffic = found[Slot.BLUE]
        return counts.completed, counts.errors_5xx, dict(counts.latency_buckets_ms)


def test_what_was_counted_before_the_first_look_does_not_count(tmp_path: Path) -> None:
    gateway = Gateway(tmp_path)
    gateway.pods = {"a": (1000, 10, 900), "b": (500, 0, 500)}
    assert gateway.seen() == (0, 0, {250.0: 0, float("inf"): 0})
    gateway.pods = {"a": (1010, 12, 905), "b": (520, 0, 520)}
    assert gateway.seen() == (30, 2, {250.0: 25, float("inf"): 30})


def test_a_restarted_pod_and_a_new_one_count_from_zero_and_one_that_left_keeps_its_count(tmp_path: Path) -> None:
    gateway = Gateway(tmp_path)
    gateway.pods = {"a": (1000, 0, 1000), "b": (500, 0, 500)}
    gateway.seen()
    gateway.pods = {"a": (7, 1, 7), "b": (505, 0, 505)}
    assert gateway.seen()[:2] == (12, 1)
    gateway.pods = {"a": (9, 1, 9), "c": (4, 4, 0)}
    assert gateway.seen()[:2] == (18, 5)


def test_who_looks_after_a_restart_goes_on_from_what_was_counted(tmp_path: Path) -> None:
    gateway = Gateway(tmp_path)
    gateway.pods = {"a": (1000, 0, 1000), "b": (500, 0, 500)}
    gateway.seen()
    gateway.pods = {"a": (1010, 0, 1010), "b": (2, 0, 2)}
    assert gateway.seen()[:2] == (12, 0)
    after = Gateway(tmp_path)
    after.pods = {"a": (1030, 15, 1010), "b": (5, 3, 2)}
    assert after.seen()[:2] == (35, 18)


def test_counts_that_are_damaged_are_none(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "demand.json").write_text('{"pods": 3}')
    gateway = Gateway(tmp_path)
    gateway.pods = {"a": (1000, 0, 1000)}
    assert gateway.seen()[:2] == (0, 0)
    assert "is damaged" in caplog.text


def test_traffic_is_mirrored_when_every_pod_knows_whom_to_mirror_it_to(tmp_path: Path) -> None:
    gateway = Gateway(tmp_path)
    assert not gateway.mirrored("demand")  # nobody to ask
    gateway.pods = dict.fromkeys("ab", (0, 0, 0))
    gateway.members = {"a": 2, "b": 0}
    assert not gateway.mirrored("demand")
    gateway.members = {"a": 2, "b": 1}
    assert gateway.mirrored("demand")
    assert not gateway.mirrored("returns")


def test_a_gateway_that_cannot_be_asked_is_unavailable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="does not tell its counters"):
        GatewayTraffic("http://127.0.0.1:1", "tidegate", FakeCluster(), tmp_path).traffic("demand")
    monkeypatch.setattr(gateway_traffic, "TIMEOUT_S", 0.2)
    with pytest.raises(Unavailable, match="no pod of it is found"):
        GatewayTraffic("http://no-such-gateway.invalid:1", "tidegate", FakeCluster(), tmp_path).traffic("demand")
