"""The demand model on a cluster, by the platform's own charts, images, gates and commands, under load all the time.

One story, told once, in which releases go well and badly; each test looks at one part of what was seen.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest
from tests.cluster.demand_story import Seen, Story, about, of
from tests.cluster.platform_on_cluster import MODEL, Commands
from tests.cluster.prometheus import Prometheus
from tests.cluster.train import Training

from tidegate.adapters.kubernetes.frozen_deadlines import HELD_ATTEMPTS, HELD_SECONDS

pytestmark = pytest.mark.timeout(1800)  # the first of them waits for the whole story
ANSWERS = {"none": 200, "its own": 200, "a forged one": 401}  # status, by the token that is presented


@pytest.fixture(scope="module")
def seen(commands: Commands, trained: Training, say: Callable[[str], None]) -> Seen:
    story = Story(commands.on, commands, Seen(trained.result()), say)
    try:
        story.tell()
    finally:
        Prometheus(commands.on.kubernetes).remove()
    return story.seen


def test_the_first_release_goes_live(seen: Seen) -> None:
    code, said = seen.commands["first"]
    assert code == 0, said


def test_a_good_release_is_promoted_by_the_verdicts_of_every_gate(seen: Seen) -> None:
    code, said = seen.commands["good"]
    assert code == 0, said
    verdicts = {e["body"]["gate"]: e["body"]["verdict"] for e in seen.ledger if about(e, seen.releases.second, "verdict")}
    assert verdicts == {"parity": "PASS", "shadow": "PASS", "drift": "PASS", "bake": "PASS"}
    assert [e["action"] for e in seen.ledger if about(e, seen.releases.second)][:2] == ["rollout", "rollout.start"]


def test_a_candidate_that_refuses_what_the_live_release_answers_is_stopped_before_any_client_meets_it(seen: Seen) -> None:
    code, said = seen.commands["refusing"]
    assert code == 5, said
    assert "ABORTED" in said
    (shadow,) = [
        e["body"] for e in seen.ledger if about(e, seen.releases.refusing, "verdict") and e["body"]["gate"] == "shadow"
    ]
    assert shadow["verdict"] == "FAIL"
    assert "refusal rate" in shadow["message"]
    assert not [record for record in seen.requests if of(record, seen.releases.refusing)]


def test_probes_alone_are_no_traffic_that_a_bake_passes_on(seen: Seen) -> None:
    code, said = seen.commands["probes alone"]
    assert code == 5, said
    assert "ROLLED_BACK" in said
    (bake,) = [e["body"] for e in seen.ledger if about(e, seen.releases.quick, "verdict") and e["body"]["gate"] == "bake"]
    assert bake["verdict"] == "ERROR"
    assert bake["evidence"]["sample_size"] == 0


def test_prices_in_pence_are_stopped_before_any_client_meets_them(seen: Seen) -> None:
    code, said = seen.commands["pence"]
    assert code == 5, said
    assert "ABORTED" in said
    failed = [e["body"] for e in seen.ledger if about(e, seen.releases.pence, "verdict") and e["body"]["verdict"] == "FAIL"]
    assert failed
    assert any("sku_profile__price_" in verdict["message"] for verdict in failed)
    assert not [record for record in seen.requests if of(record, seen.releases.pence)]


def test_a_fault_that_live_traffic_shows_is_rolled_back(seen: Seen) -> None:
    code, said = seen.commands["fault"]
    assert code == 5, said
    assert "ROLLED_BACK" in said
    # whoever looks between the two sees the abort first
    last = [e["action"] for e in seen.ledger if about(e, seen.releases.fault)][-2:]
    assert sorted(last) == ["rollout.rollback", "rollout.stop"]
    bad = [record for record in seen.requests if record["status"] >= 500]
    assert bad
    assert all(of(record, seen.releases.fault) for record in bad)


def test_a_values_file_that_names_fewer_gates_promotes_nothing(seen: Seen) -> None:
    assert seen.unasked["live"] == seen.releases.second
    verdicts = [e["body"] for e in seen.ledger if about(e, seen.releases.pence, "verdict")]
    errors = [v for v in verdicts if "the plan of the release also has shadow, drift" in v["message"]]
    assert [(v["gate"], v["verdict"]) for v in errors] == [("parity", "ERROR")]
    code, said = seen.commands["doctor with fewer gates"]
    assert code == 7, said
    assert "WRONG analyses of demand" in said
    assert "shadow, drift" in said


def test_a_frozen_model_is_left_alone_and_goes_on_when_it_is_let_go(seen: Seen) -> None:
    code, said = seen.commands["frozen"]
    assert code == 4
    assert "frozen by ada (stocktaking)" in said
    assert seen.held["live"] == seen.releases.second
    assert seen.held["parity"]["sample"] is None
    (held, attempts), (seconds, others) = seen.held["deadlines"]
    assert (held, attempts) == (HELD_SECONDS, HELD_ATTEMPTS), "no deadline of Argo Rollouts ends what people hold"
    assert (seconds < HELD_SECONDS, others < HELD_ATTEMPTS) == (True, True)
    orders = [(e["action"], e["actor"], e["body"]["message"]) for e in seen.ledger if e["action"] in ("freeze", "unfreeze")]
    assert orders == [("freeze", "ada", "stocktaking"), ("unfreeze", "ada", "stocktaking")]
    assert any(about(e, seen.releases.again, "rollout.done") for e in seen.ledger)  # gate service and controller were killed


def test_an_order_is_recorded_with_who_gave_it_by_the_api_servers_word_and_the_gate_service_as_its_recorder(seen: Seen) -> None:
    given = [entry for entry in seen.ledger if entry["action"] in ("freeze", "unfreeze", "rollback", "rollout")]
    assert given
    for entry in given:
        assert entry["by"]["identity"].endswith(":tidegate-gates")
        assert entry["by"]["proven"] is True
        assert entry["author"]["proof"] == "the API server's review"
        assert entry["author"]["identity"]
        assert "proven" not in entry["author"]  # whoever may change the Rollout may write it


def test_a_caller_of_the_gate_service_needs_no_token_and_one_that_is_presented_is_reviewed(seen: Seen) -> None:
    assert {name: answer["status"] for name, answer in seen.askers.items()} == {
        "none": 200,
        "its own": 200,
        "a forged one": 401,
    }
    assert seen.askers["none"]["asked_by"] is None
    whose = seen.askers["its own"]["asked_by"]
    assert whose["identity"].startswith("system:serviceaccount:")
    assert whose["identity"].endswith(":default")
    assert whose["proven"] is True


def test_a_gate_of_ones_own_is_judged_by_the_gate_service_with_a_key_that_the_platforms_chart_was_given(seen: Seen) -> None:
    (known,) = [e["body"] for e in seen.ledger if about(e, seen.releases.quick, "verdict") and e["body"]["gate"] == "known"]
    assert (known["verdict"], known["evidence"]["numbers"]["files"] > 0) == ("PASS", True)


def test_a_person_goes_back_to_the_release_before_though_the_gate_service_is_down(seen: Seen) -> None:
    code, said = seen.commands["back"]
    assert code == 0, said
    ordered = [(e["actor"], e["body"]["message"]) for e in seen.ledger if about(e, seen.releases.second, "rollback")]
    assert ordered == [("ada", "orders look wrong"), *[("ada", "back and forth")] * 3]
    code, said = seen.commands["status"]
    assert code == 0, said
    assert f"live     {MODEL}@{seen.releases.second[:12]}" in said
    assert "2 of 2 ready" in said


def test_the_registrys_aliases_follow_what_is_live_once_it_has_that_version(seen: Seen) -> None:
    code, said = seen.commands["status without the version"]
    assert code == 0, said
    assert f"version {seen.releases.version} is live as {MODEL}@{seen.releases.second[:12]}" in said
    assert "the registry has no such version" in said
    assert "champion" not in seen.aliases[0]
    assert seen.aliases[-1]["champion"] == seen.releases.version
    assert [e["subject"] for e in seen.ledger if e["action"] == "champion"] == [f"{MODEL}/{seen.releases.version}"]


def test_the_doctor_finds_nothing_until_the_gate_service_is_down(seen: Seen) -> None:
    code, said = seen.commands["doctor"]
    assert code == 0, said
    code, said = seen.commands["doctor without gates"]
    assert code == 7, said
    assert [line for line in said.splitlines() if line.startswith("WRONG")] == [
        "WRONG gate service of demand: 0 ready behind Service tidegate-gates in tidegate"
    ]


def test_no_request_is_lost_and_none_mixed_over_all_switches(seen: Seen) -> None:
    outcomes = Counter((record["outcome"], record["mixed"]) for record in seen.requests)
    assert set(outcomes) == {("answered", False)}, [r for r in seen.requests if r["outcome"] != "answered"][:3]
    assert len(seen.requests) > 3_000
    assert seen.switches >= 10  # first, second, fault, second, again, second, and six times back and forth


def test_traffic_is_mirrored_while_a_release_is_judged_and_only_then(seen: Seen) -> None:
    shadow = [e["body"] for e in seen.ledger if e["action"] == "verdict" and e["body"]["gate"] == "shadow"]
    assert max(verdict["evidence"]["numbers"]["mirrored"] for verdict in shadow) >= 200
    assert seen.mirrored_after == 0


def test_a_release_that_does_not_know_these_weeks_is_stopped_before_traffic(seen: Seen) -> None:
    code, said = seen.commands["drifted"]
    assert code == 5, said
    (verdict,) = [e["body"] for e in seen.ledger if about(e, seen.releases.later, "verdict") and e["body"]["gate"] == "drift"]
    assert (verdict["verdict"], verdict["evidence"]["numbers"]["kind"]) == ("FAIL", "drift")
    assert not [record for record in seen.requests if of(record, seen.releases.later)]


def test_the_monitor_sees_the_live_release_drift(seen: Seen) -> None:
    assert "FAIL" in seen.watched(seen.releases.again)


def test_a_verdict_that_saw_drift_starts_the_pipeline_which_registers_a_version(seen: Seen) -> None:
    by = {e["body"]["gate"]: e["subject"] for e in seen.ledger if e["action"] == "retraining.asked"}
    assert by["drift"].startswith(MODEL)
    done = [e for e in seen.ledger if e["action"] == "retraining.done"]
    assert done, [e["body"] for e in seen.ledger if e["action"].startswith("retraining.")]
    assert {e["body"]["version"] for e in done} == {"1"}  # of the cluster's registry; the same data give no other one
    assert len([e for e in done if "registered" in e["body"]["message"]]) == 1


def test_jobs_run_while_somebody_asks_and_no_longer(seen: Seen) -> None:
    assert seen.jobs
    assert all(job["status"].get("succeeded") == 1 for job in seen.jobs if not job["status"].get("active"))


def test_every_panel_of_the_dashboards_shows_something(seen: Seen) -> None:
    assert seen.panels
    assert not [query for query, samples in seen.panels.items() if not samples]


def test_the_rules_of_both_charts_are_evaluated(seen: Seen) -> None:
    assert {"TidegateAvailabilityBudgetBurn", "TidegateModelSilent", "TidegateDrift", "TidegateMonitorBlind"} <= {
        name for name, _ in seen.rules
    }
    assert {health for _, health in seen.rules} == {"ok"}


def test_the_pods_of_every_pod_monitor_are_found_and_answer(seen: Seen) -> None:
    platform = {f"tidegate/tidegate-{component}": {"up"} for component in ("gateway", "gates", "monitor")}
    assert seen.targets == platform | {f"models/{MODEL}": {"up"}}


def test_the_ledger_verifies(seen: Seen) -> None:
    assert seen.ledger_verified
