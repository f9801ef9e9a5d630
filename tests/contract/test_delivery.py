"""What people order, and how it stands afterwards, is the same on each target."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fakes import rollouts as fakes
from fakes.argo_rollouts import FakeArgoRollouts
from tidegate.adapters.kubernetes import argo_delivery
from tidegate.adapters.kubernetes.argo_delivery import ArgoDelivery, Supplies
from tidegate.adapters.kubernetes.argo_rollouts import Earlier
from tidegate.apps import wiring
from tidegate.apps.local_delivery import LocalDelivery
from tidegate.apps.model_status import model_status
from tidegate.cli.session import _plain
from tidegate.cli.status_view import place_text
from tidegate.domain.actor import PLATFORM, Actor
from tidegate.domain.errors import Conflict, InvalidInput, NotFound
from tidegate.domain.project import KubernetesSettings
from tidegate.domain.release import ReleaseManifest
from tidegate.domain.slots import Desired, Slot
from tidegate.files.layout import StateFolder
from tidegate.ledger.memory import MemoryLedger
from tidegate.ports.delivery import Delivery, Standing
from tidegate.registry.pending import PendingUpdates
from tidegate.rollout.orders import Orders
from tidegate.rollout.plan import Bake, Check, RolloutConfig
from tidegate.rollout.state import RolloutStore

LIVE, NEXT = fakes.manifest("1"), fakes.manifest("2")
MODEL = "demand"
ADA = Actor("ada")
CONFIG = RolloutConfig((Check("parity"), Check("drift", on_fail="freeze")), Bake(("bake",)))


def wanted(model: str, release: str | None) -> tuple[ReleaseManifest, RolloutConfig]:
    known = {each.digest: each for each in (LIVE, NEXT)}
    return known[release] if release else NEXT, CONFIG


def local(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Delivery:
    target, store, ledger = fakes.FakeTarget(), RolloutStore(folder), MemoryLedger()
    target.set_desired(Desired(MODEL, blue=LIVE.digest, active=Slot.BLUE), 0)
    platform: Any = SimpleNamespace(
        project=SimpleNamespace(model=lambda name: SimpleNamespace(name=name)),
        to_roll_out=wanted,
        before_a_step_forward=lambda model: None,
        admit=lambda manifest: folder,
        up=lambda: None,
        orders=lambda actor=PLATFORM: Orders(store, target, ledger, actor),
        rollouts=store,
        pending=PendingUpdates(folder),
        target=SimpleNamespace(desired=target.desired, slots=target.slots, traffic=target.traffic, problems=lambda: []),
        releases=SimpleNamespace(verify=lambda digest: None),
        state=StateFolder(folder),
        release={each.digest: each for each in (LIVE, NEXT)}.__getitem__,
        is_up=lambda: True,
        started_otherwise=lambda: "",
        schedule_problems=lambda model: [],
        drift=lambda model: [],
        ledger_remarks=lambda model: [],
        online_status=lambda manifest: None,
    )
    platform.status = lambda model, with_drift: model_status(platform, model, with_drift)
    return LocalDelivery(platform)


def on_cluster(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Delivery:
    rollouts, values = FakeArgoRollouts(), folder / f"{MODEL}.yaml"
    rollouts.judges(MODEL, LIVE.digest, LIVE.digest, 1.0, ())
    values.touch()

    def applied(namespace: str, document: Mapping[str, Any]) -> None:
        if document["release"] != rollouts.under_way(MODEL).candidate:
            rollouts.judges(MODEL, document["release"], LIVE.digest, 1.0, CONFIG.gates_before)

    def order(model: str, order: Mapping[str, Any]) -> None:
        if order["order"] in ("freeze", "unfreeze"):
            rollouts.change(model, hold=order if order["order"] == "freeze" else None)

    monkeypatch.setattr(rollouts, "order", order)
    monkeypatch.setattr(argo_delivery, "ArgoRollouts", lambda api, namespace: rollouts)
    monkeypatch.setattr(argo_delivery, "render", lambda chart, name, namespace, files, values: [values])
    settings = KubernetesSettings(values=folder)
    supplies = Supplies(wanted, lambda manifest: None, lambda manifest: None, lambda model: {}, ADA)

    def nothing(path: str, **query: str) -> None:
        raise NotFound(path)

    api: Any = SimpleNamespace(apply=applied, get=nothing)
    return ArgoDelivery(lambda: api, settings, supplies, wiring.cron_times())


@pytest.fixture(params=[local, on_cluster])
def delivery(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Delivery:
    made: Delivery = request.param(tmp_path, monkeypatch)
    return made


def start(delivery: Delivery, **overrides: str) -> Standing:
    return delivery.start(MODEL, None, ADA, overrides, "image@sha256:1", lambda _: None)


def test_a_plan_names_the_gates_of_the_release(delivery: Delivery) -> None:
    said = "\n".join(delivery.plan(MODEL, None).describe())
    assert all(f"gate {gate} must PASS" in said for gate in ("parity", "drift"))


def test_a_rollout_that_was_started_is_running_and_can_be_started_again(delivery: Delivery) -> None:
    for _ in range(2):
        begun = start(delivery)
        assert (begun.model, begun.release, begun.status) == (MODEL, NEXT.id, "RUNNING")
        assert not begun.went_wrong
    found = delivery.standing(MODEL)
    assert (found.release, found.status) == (NEXT.id, "RUNNING")
    assert (found.live, found.to_json()["status"]) == (LIVE.id, "RUNNING")


ORDERS: list[Callable[[Delivery], object]] = [
    start,
    lambda delivery: delivery.standing(MODEL),
    lambda delivery: delivery.overview(MODEL, with_drift=False),
    lambda delivery: delivery.override(MODEL, "drift", "known", ADA),
    lambda delivery: delivery.freeze(MODEL, "stocktaking", ADA),
    lambda delivery: delivery.overview(MODEL, with_drift=True),
    lambda delivery: delivery.abort(MODEL, "known", ADA),
]


def shape(value: Any) -> Any:
    """The keys of JSON, at any depth that is not a name of the project's, without its values."""
    if isinstance(value, dict):
        return {key: shape(part) for key, part in value.items() if key not in ("overrides", "numbers", "thresholds", "links")}
    return [shape(part) for part in value][:1] if isinstance(value, list) else None


def as_json(found: object) -> Any:
    return json.loads(json.dumps(_plain(found)))


def test_what_is_said_has_the_same_keys_on_each_target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deliveries = [made(tmp_path, monkeypatch) for made in (local, on_cluster)]
    for order in ORDERS:
        here, there = (as_json(order(delivery)) for delivery in deliveries)
        if here is None:
            continue
        assert here.keys() == there.keys()
        assert here["rollout"].keys() == there["rollout"].keys()
        told = [(shape(here[name]), shape(there[name])) for name in ("frozen", "slots", "registry")]
        told += [(shape(here["rollout"]["gates"]), shape(there["rollout"]["gates"]))]
        assert [pair for pair in told if all(pair) and pair[0] != pair[1]] == []
        for name in ("model", "release", "live"):
            assert here[name] == there[name], name


@pytest.mark.parametrize("overrides", [{"bake": "trust me"}, {"taste": "trust me"}])
def test_a_gate_that_is_no_check_before_the_switch_is_not_overridden(delivery: Delivery, overrides: dict[str, str]) -> None:
    said = "cannot be overridden, allowed are drift, parity"
    with pytest.raises(InvalidInput, match=said):
        start(delivery, **overrides)
    start(delivery)
    for gate, reason in overrides.items():
        with pytest.raises(InvalidInput, match=said):
            delivery.override(MODEL, gate, reason, ADA)


def test_an_order_without_a_reason_is_refused(delivery: Delivery) -> None:
    start(delivery)
    for order in (delivery.abort, delivery.freeze, delivery.unfreeze):
        with pytest.raises(InvalidInput, match="needs a reason"):
            order(MODEL, " ", ADA)
    with pytest.raises(InvalidInput, match="needs a reason"):
        delivery.override(MODEL, "drift", " ", ADA)
    assert delivery.override(MODEL, "drift", "known", ADA).status == "RUNNING"


def test_a_freeze_keeps_rollouts_from_starting_until_it_is_lifted(delivery: Delivery) -> None:
    with pytest.raises(Conflict, match="unfreezing model demand: it is not frozen"):
        delivery.unfreeze(MODEL, "over", ADA)
    delivery.freeze(MODEL, "stocktaking", ADA)
    options = delivery.capabilities.options
    lifts = rf"model demand is frozen by ada \(stocktaking\); 'tidegate unfreeze demand{options} --reason TEXT' lets it go"
    with pytest.raises(Conflict, match=f"starting a rollout of {NEXT.id}: {lifts}"):
        start(delivery)
    delivery.unfreeze(MODEL, "over", ADA)
    assert start(delivery).status == "RUNNING"


def test_what_is_not_there_is_not_aborted_or_overridden(delivery: Delivery) -> None:
    with pytest.raises((NotFound, Conflict)):
        start(delivery) and delivery.abort("returns", "known", ADA)
    with pytest.raises(NotFound):
        delivery.override("returns", "drift", "known", ADA)


def test_on_a_cluster_a_rollback_ends_what_is_under_way_or_starts_the_release_before_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    delivery, said = on_cluster(tmp_path, monkeypatch), []
    begun = start(delivery)
    assert delivery.rollback_target(MODEL, None).to == LIVE.id
    with pytest.raises(Conflict, match="a rollout is under way; end it with 'tidegate rollout abort'"):
        delivery.rollback(MODEL, "known", ADA, begun.release, said.append)
    ended = delivery.rollback(MODEL, "known", ADA, None, said.append)
    assert ended.status == "ABORTED"
    assert ended.status in delivery.capabilities.ways_back
    rollouts = argo_delivery.ArgoRollouts(None, "")  # type: ignore[arg-type]
    assert isinstance(rollouts, FakeArgoRollouts)
    rollouts.judges(MODEL, NEXT.digest, NEXT.digest, 1.0, ())
    rollouts.change(MODEL, previous=NEXT.digest, judged_since=None)
    rollouts.back = Earlier(LIVE.digest, "pods", {})
    assert delivery.rollback(MODEL, "known", ADA, LIVE.id, said.append).status == "DONE"
    assert (delivery.standing(MODEL).live, f"going back to {LIVE.id}" in said) == (LIVE.id, True)


def test_what_the_registry_does_not_have_is_in_the_status_of_a_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    delivery = on_cluster(tmp_path, monkeypatch)
    rollouts = argo_delivery.ArgoRollouts(None, "")  # type: ignore[arg-type]
    assert delivery.overview(MODEL, with_drift=False).registry is None
    rollouts.show_registry(MODEL, {"release": LIVE.id, "version": "1", "at": 1.0, "reason": "it is away"})
    shown = delivery.overview(MODEL, with_drift=False)
    assert shown.registry is not None
    said = f"registry does not have that version 1 ({LIVE.id}) is live (it is away); the gate service updates it once it can"
    assert said in place_text(shown)
