"""Commands of what is live do the same with any delivery: orders, output and exit codes."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

import tidegate.cli
from fakes.delivery import RELEASE, FakeDelivery
from tidegate.apps import deliveries
from tidegate.cli.main import run
from tidegate.domain.project import TARGETS
from tidegate.ports.delivery import Capabilities, SlotView

pytestmark = pytest.mark.usefixtures("project")
WHY = ["--reason", "known", "--by", "ada"]


@pytest.fixture(params=TARGETS)
def target(request: pytest.FixtureRequest) -> list[str]:
    return ["--target", request.param]


@pytest.fixture
def delivery(target: list[str], monkeypatch: pytest.MonkeyPatch) -> FakeDelivery:
    made = FakeDelivery()
    monkeypatch.setattr(deliveries, "DELIVERIES", {target[1]: lambda platform: made})
    return made


def test_no_command_asks_which_target_it_is() -> None:
    asked = re.compile(r"if .*\btarget\b|==\s*.(local|kubernetes)\b|(Local|Argo)Delivery|isinstance\(.*[dD]elivery")
    lines = [line for path in Path(tidegate.cli.__file__).parent.glob("*.py") for line in path.read_text().splitlines()]
    found = [line for line in lines if asked.search(line)]
    assert found == []
    assert set(deliveries.DELIVERIES) == set(TARGETS)


def test_a_rollout_is_started_and_followed_to_its_end(
    delivery: FakeDelivery, target: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["rollout", "demand", "--release", "3f2c", "--override", "drift=known", "--by", "ada", *target]) == 0
    assert delivery.orders == [("start", "3f2c", "ada", {"drift": "known"}, None), ("follow", "20111201-1")]
    assert capsys.readouterr().out == f"rollout 20111201-1 of {RELEASE}: DONE\nit is live\n"


def test_detached_it_is_not_followed(delivery: FakeDelivery, target: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    delivery.ends = delivery.ending(status="FROZEN")
    assert run(["rollout", "demand", "--detach", "--json", *target]) == 0
    assert [order[0] for order in delivery.orders] == ["start"]
    said = json.loads(capsys.readouterr().out)
    assert (said["status"], said["release"], said["rollout"]["status"]) == ("RUNNING", RELEASE, "RUNNING")


@pytest.mark.parametrize("status", ["ROLLED_BACK", "ABORTED", "FAILED", "FROZEN"])
def test_a_release_that_did_not_become_live_is_exit_code_5(
    delivery: FakeDelivery, target: list[str], capsys: pytest.CaptureFixture[str], status: str
) -> None:
    hold = {"by": "ada", "reason": "x", "at": 0.0}
    delivery.ends = replace(delivery.ending(status=status, reason="drift", next_steps=("do this",)), frozen=hold)
    assert run(["rollout", "demand", *target]) == 5
    said = capsys.readouterr()
    held = f", live is {RELEASE}" if status == "FROZEN" else "; frozen by ada: x"  # which a frozen rollout says itself
    assert said.out == f"rollout 20111201-1 of {RELEASE}: {status}{held}\ndrift\ndo this\n"
    assert f"rollout 20111201-1 of {RELEASE} is {status}: drift" in said.err


def test_what_is_live_already_is_left_alone(
    delivery: FakeDelivery, target: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    delivery.begins = "UNCHANGED"
    assert run(["rollout", "demand", *target]) == 0
    assert [order[0] for order in delivery.orders] == ["start"]
    assert capsys.readouterr().out == "it has begun\n"


def test_a_registry_that_was_not_told_is_exit_code_7(delivery: FakeDelivery, target: list[str]) -> None:
    delivery.ends = replace(delivery.ends, registry={"version": "3", "release": RELEASE, "reason": "away", "at": 0.0})
    assert run(["rollout", "demand", *target]) == 7
    assert run(["rollback", "demand", *WHY, *target]) == 7


def test_a_delivery_says_that_it_needs_an_image(
    delivery: FakeDelivery, target: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    delivery.capabilities = Capabilities(needs_image=True)
    assert run(["rollout", "demand", *target]) == 2
    assert f"--target {target[1]} needs --image" in capsys.readouterr().err
    assert run(["rollout", "demand", "--dry-run", *target]) == 0
    assert run(["rollout", "demand", "--image", "x@sha256:1", *target]) == 0
    assert delivery.orders[0][-1] == "x@sha256:1"


@pytest.mark.parametrize(
    ("command", "order"),
    [
        (["rollout", "abort", "demand"], ("abort", "known", "ada")),
        (["rollout", "override", "demand", "drift"], ("override", "drift", "known", "ada")),
        (["freeze", "demand"], ("freeze", "known", "ada")),
        (["unfreeze", "demand"], ("unfreeze", "known", "ada")),
        (["rollback", "demand", "--to", RELEASE], ("rollback", "known", "ada", RELEASE)),
    ],
)
def test_an_order_is_given_with_its_person_and_reason_and_not_by_a_dry_run(
    delivery: FakeDelivery, target: list[str], command: list[str], order: tuple[str, ...]
) -> None:
    assert run([*command, *WHY, *target, "--dry-run"]) == 0
    assert delivery.orders == []
    assert run([*command, *WHY, *target]) == 0
    assert delivery.orders == [order]


def test_a_rollback_is_wrong_where_clients_reach_no_other_release(delivery: FakeDelivery, target: list[str]) -> None:
    delivery.ends = delivery.ending(status="ABORTED")
    assert run(["rollback", "demand", *WHY, *target]) == 5
    delivery.capabilities = Capabilities(ways_back=("ABORTED",))
    assert run(["rollback", "demand", *WHY, *target]) == 0


def test_status_shows_what_the_delivery_knows(
    delivery: FakeDelivery, target: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["status", "demand", *target]) == 0
    assert RELEASE in capsys.readouterr().out
    pods = (SlotView("active", RELEASE, 2, 2),)
    delivery.seen = replace(delivery.ends, slots=pods, place="namespace models", scaled_by="KEDA, 1 to 4")
    assert run(["status", "demand", *target]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "demand in namespace models",
        f"  live     {RELEASE}",
        f"  pods     {RELEASE} active: 2 of 2 ready",
        "  scaled   by KEDA, 1 to 4",
        f"  rollout  {RELEASE} DONE: it is live",
    ]
    assert run(["status", "demand", "--json", *target]) == 0
    (said,) = json.loads(capsys.readouterr().out)
    assert (said["place"], said["slots"][0]["ready"], said["rollout"]["status"]) == ("namespace models", 2, "DONE")
