"""Kills under load, a few of each; `make test-kills` does the full numbers."""

from __future__ import annotations

import pytest

from e2e.local.kills import Kills, table

pytestmark = pytest.mark.e2e


def test_kills_under_load_lose_no_request_and_leave_registry_ledger_and_gateway_agreed(platform) -> None:
    rows = Kills(platform, seed=7).run(replicas=3, gateways=3, supervisors=2, in_rollouts=2)
    assert all(row.holds for row in rows if row.kind != "gateway"), table(rows)
    gateway = rows[-1]
    assert gateway.unsound == [], table(rows)
    assert gateway.slowest < 5.0, table(rows)  # a second on a machine that does nothing else
