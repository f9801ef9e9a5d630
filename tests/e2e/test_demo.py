"""The demo, told once on a copy of the project, and then counted again from its raw logs by other code than its own.

After the story the same state is brought up again: replays, switches under load, kills in the middle of a rollout.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import aiohttp
import numpy as np
import polars as pl
import pytest

from story import ROOT, Told, eventually, tell
from tidegate.adapters.files.project_file import load_project
from tidegate.apps.platform import Platform
from tidegate.domain.slots import Slot

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(1600)]  # the first of them waits for the whole demo
LABELS = {
    "v1, the first": "DONE",
    "v2, trained on three months more": "DONE",
    "prices in pence": "ROLLED_BACK",
    "an audit trail that leaks": "ROLLED_BACK",
    "v2 with the audit trail repaired": "ABORTED",
    "retrained on the weeks before Christmas": "DONE",
}


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Told]:
    found = tell(tmp_path_factory.mktemp("project"))
    yield found
    found.run("down")
    assert found.processes() == []


def platform_of(told: Told) -> Platform:
    project = load_project(told.root / "tidegate.yaml")
    return Platform(replace(project, state=told.state))


def release_of(label: str, told: Told) -> str:
    """The release that played the part `label`."""
    return next(r["release"] for r in told.facts()["rollouts"] if r["label"] == label)


# --- the story, counted again ---------------------------------------------------------------------------------------------


def test_it_left_nothing_running_and_says_where_to_look(told: Told) -> None:
    assert told.processes() == []
    assert told.output.strip().splitlines()[-1].endswith(f"look at {told.folder / 'report.html'}")
    assert {r["label"]: r["status"] for r in told.facts()["rollouts"]} == LABELS


def test_requests_are_those_of_the_log(told: Told) -> None:
    sent = told.lines(told.folder / "requests.jsonl")
    facts = told.facts()["requests"]
    answered = [r for r in sent if r["release"]]
    assert len({r["id"] for r in sent}) == len(sent) == facts["sent"] > 5_000
    assert (facts["lost"], facts["mixed"]) == (0, 0)
    assert len(answered) == facts["answered"] == len(sent)
    assert Counter(r["slot"] for r in answered) == facts["by_slot"]
    assert Counter(r["release"] for r in answered) == facts["by_release"]
    assert all(r["body_release"] == r["release"] for r in answered if r["status"] == 200)
    fault = release_of("an audit trail that leaks", told)
    assert {r["release"] for r in answered if r["status"] >= 500} == {fault}
    never_live = {release_of(label, told) for label in ("prices in pence", "v2 with the audit trail repaired")}
    assert never_live.isdisjoint(facts["by_release"])


def test_both_sides_of_the_proxy_and_the_service_tell_the_same(told: Told) -> None:
    sent = {r["id"]: r for r in told.lines(told.folder / "requests.jsonl")}
    proxied = [r for r in told.lines(told.state / "logs/envoy-access.jsonl") if r["request_id"] in sent]
    assert len(proxied) == len(sent)
    for line in proxied:
        request = sent[line["request_id"]]
        assert (line["status"], line["slot"], line["release"]) == (request["status"], request["slot"], request["release"])
    totals: dict[str, Counter[str]] = {}
    for path in (told.state / "logs").glob("*.summary.json"):
        for kind, counts in json.loads(path.read_bytes()).items():
            if kind in ("requests", "logged", "sampled_out", "dropped"):
                totals.setdefault(kind, Counter()).update(counts)
    assert totals["requests"] == totals["logged"] + totals["sampled_out"] + totals["dropped"]
    live: Counter[str] = Counter()
    for path in (told.state / "logs").glob("*-*-*-*.jsonl"):
        for record in told.lines(path):
            if not record["shadow"] and record["status"] == 200:
                live[record["id"]] += 1
                assert sent[record["id"]]["release"].endswith(record["release"][:12])
    dropped = totals["dropped"].total() + totals["sampled_out"].total()
    assert set(live.values()) == {1}
    assert sum(r["status"] == 200 for r in sent.values()) - len(live) <= dropped


def test_the_rollback_is_as_long_as_the_bad_answers(told: Told) -> None:
    facts = told.facts()["rollback"]
    bad = [r["at"] + r["ms"] / 1000 for r in told.lines(told.folder / "requests.jsonl") if r["status"] >= 500]
    assert (facts["first_bad"], facts["last_bad"], facts["bad"]) == (min(bad), max(bad), len(bad))
    assert facts["seconds"] == round(max(bad) - min(bad), 3)


def test_every_gate_is_in_the_ledger_and_only_passes_opened(told: Told) -> None:
    facts = told.facts()
    entries = told.lines(told.state / "ledger/ledger.jsonl")
    assert facts["ledger"] == {"entries": len(entries), "verified": True, "head": entries[-1]["hash"]}
    recorded = [e["body"] for e in entries if e["action"] == "verdict"]
    recorded += [gate for e in entries if e["action"] == "promotion" for gate in e["body"]["gates"]]
    seen = {(g["release"], g["gate"], g["verdict"]) for g in recorded}
    assert {(g["release"], g["gate"], g["verdict"]) for g in facts["gates"]} <= seen
    for rollout in facts["rollouts"]:
        mine = {g["gate"]: g for g in facts["gates"] if g["release"] == rollout["release"]}
        if rollout["label"] != "v1, the first":
            switched = "switch_confirmed" in rollout["times"]
            assert switched == all(mine.get(g, {}).get("verdict") == "PASS" for g in ("parity", "shadow", "drift"))
    pence = next(g for g in facts["gates"] if g["release"] == release_of("prices in pence", told) and g["verdict"] == "FAIL")
    assert "sku_profile__price" in pence["evidence"]["summary"]
    parity = [g for g in facts["gates"] if g["gate"] == "parity"]
    assert facts["parity"]["compared"] == sum(g["evidence"]["sample_size"] for g in parity) > 0
    assert facts["parity"]["differing"] == 0


def wape(actual: np.ndarray, forecast: np.ndarray) -> float:
    return float(np.abs(actual - forecast).sum() / actual.sum())


def pinball(actual: np.ndarray, quantiles: dict[float, np.ndarray]) -> float:
    losses = [np.maximum(q * (actual - f), (q - 1) * (actual - f)).mean() for q, f in quantiles.items()]
    return float(np.mean(losses))


def scored(rows: pl.DataFrame, name: str) -> dict[str, float]:
    actual = rows["actual"].to_numpy()
    quantiles = {q / 100: rows[f"{name}_q{q}"].to_numpy() for q in (10, 50, 90)}
    return {"wape": wape(actual, quantiles[0.5]), "pinball": pinball(actual, quantiles), "n": len(rows)}


def test_forecast_errors_are_those_of_the_evaluations(told: Told) -> None:
    facts = told.facts()["forecast"]
    christmas = pl.read_parquet(told.folder / "christmas.parquet")
    assert facts["before_retraining"] == pytest.approx(scored(christmas, "before"))
    assert facts["after_retraining"] == pytest.approx(scored(christmas, "after"))
    change = facts["retraining"]
    assert change["ratio"] == pytest.approx(facts["after_retraining"]["wape"] / facts["before_retraining"]["wape"])
    assert change["low"] < change["ratio"] < change["high"]
    table = next((told.state / "outputs/demand").glob("2-*/evaluation.parquet"))
    rows = pl.read_parquet(table).filter(pl.col("eligible"))
    for fact, name in (("v1", "champion"), ("v2", "model"), *((n, n) for n in ("seasonal_naive", "mean_28", "croston_sba"))):
        assert {**facts, **facts["baselines"]}[fact] == pytest.approx(scored(rows, name))
    assert facts["v2"]["wape"] <= 0.85 * facts["baseline"]["wape"]
    for baseline in facts["baselines"].values():
        assert facts["v2"]["wape"] < baseline["wape"]
        assert facts["v2"]["pinball"] < baseline["pinball"]


def test_every_row_that_came_in_is_accounted_for(told: Told) -> None:
    facts = told.facts()["ingest"]
    files = [ROOT / f"features/data/online_retail_{year}.parquet" for year in ("year1", "year2")]
    assert facts["rows_in"] == sum(len(pl.read_parquet(path)) for path in files) == sum(facts["classes"].values())
    for kind, count in facts["classes"].items():
        assert len(pl.read_parquet(told.state / f"data/online_retail/{kind}.parquet")) == count
    reasons = pl.read_parquet(told.state / "data/online_retail/quarantine.parquet")["reason"].value_counts()
    assert dict(reasons.iter_rows()) == facts["reasons"]


def test_the_report_says_what_the_facts_say(told: Told) -> None:
    html, facts = (told.folder / "report.html").read_text(), told.facts()
    said = dict(re.findall(r'data-fact="([\w.]+)">([^<]+)<', html))
    numbers = {name: float(re.sub(r"[ ,s]", "", text.split(" / ")[0])) for name, text in said.items()}
    assert len(numbers) >= 6
    for name, number in numbers.items():
        part, _, key = name.partition(".")
        assert facts[part][key] == pytest.approx(number), name
    for gate in facts["gates"]:
        assert gate["release"] in html
    assert html.count("<svg") == 5
    assert not re.findall(r"<script|(?:src|href)=\"(?!#|data:)", html), "self-contained"


# --- the same state, brought up again ---------------------------------------------------------------------------------------


@contextmanager
def load(told: Told, name: str) -> Iterator[Path]:
    """The demo's load generator, 50 requests a second, until the block ends; yields its log."""
    log = told.root / f"{name}.jsonl"
    phase = told.root / "phase.json"
    phase.write_text(json.dumps(name))
    command = [sys.executable, str(ROOT / "demo/load.py"), "--url", f"{told.gateway}/predict", "--log", str(log)]
    command += ["--catalogue", str(told.folder / "catalogue.json"), "--phase", str(phase), "--seconds", "240"]
    process = subprocess.Popen(command, env=told.environment)
    try:
        eventually(lambda: log.exists() and log.stat().st_size > 10_000)
        yield log
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def counted(told: Told, log: Path) -> tuple[Counter[str], Counter[str]]:
    lines = told.lines(log)
    assert [r for r in lines if r["outcome"] != "answered" or r["mixed"] or r["status"] != 200] == []
    return Counter(r["slot"] for r in lines), Counter(r["release"] for r in lines)


def test_up_brings_back_what_was_live_and_predictions_replay_to_the_bit(told: Told) -> None:
    running = told.run("up")
    live = {model: release for model, release in running["live"].items() if release}
    assert live == {"demand": release_of("retrained on the weeks before Christmas", told)}
    assert told.run("up") == running
    assert {slot["ready"] for slot in told.run("status", "demand")[0]["slots"] if slot["release"]} == {2}
    sent = [r for r in told.lines(told.folder / "requests.jsonl") if r["status"] == 200]
    chosen = {r["release"]: r["id"] for r in sent}  # the last of each release
    for release, request in chosen.items():
        found = told.run("replay", request)
        assert found["result"]["identical"], found
        assert found["result"]["release"] == release
    assert told.run("status", "demand")[0]["live"] == running["live"]["demand"]
    assert "demo-none" in told.run("replay", "demo-none", code=3)


def test_the_endpoint_answers_bad_requests_with_one_sentence(told: Told) -> None:
    asked = [
        (b'{"skus": ["85123A"], "horizon": 3}', "application/json", 200),
        (b'{"skus": ["NOSUCH"], "horizon": 3}', "application/json", 404),
        (b'{"skus": ["85123A"], "horizon": 99}', "application/json", 422),
        (b'{"skus": ["85123A"], "horizon": NaN}', "application/json", 422),
        (b'{"skus": [', "application/json", 400),
        (b'{"skus": ["85123A"], "horizon": 3}', "text/plain", 415),
        (b"[" * 100_000, "application/json", 400),
        (b'{"skus": ["' + b"x" * 5_000_000 + b'"], "horizon": 3}', "application/json", 413),
    ]

    async def ask() -> list[int]:
        async with aiohttp.ClientSession() as session:
            statuses = []
            for body, kind, _ in asked:
                async with session.post(f"{told.gateway}/predict", data=body, headers={"content-type": kind}) as answer:
                    statuses.append(answer.status)
                    text = await answer.text()
                    assert "Traceback" not in text
            for path in ("/openapi.json", "/v2/health/ready", "/v2/models/demand"):
                async with session.get(told.gateway + path) as answer:
                    assert answer.status == 200, (path, await answer.text())
            return statuses

    assert asyncio.run(ask()) == [status for _, _, status in asked]


def test_twenty_switches_between_real_releases_lose_and_mix_nothing(told: Told) -> None:
    platform = platform_of(told)
    target = platform.target
    active = target.desired("demand").active
    other = Slot.GREEN if active is Slot.BLUE else Slot.BLUE
    two = {str(active): platform.live_release("demand"), str(other): platform.release(release_of(list(LABELS)[1], told)).digest}

    def want(**changes: object) -> None:
        desired = target.desired("demand")
        target.set_desired(replace(desired, **changes), desired.generation)  # type: ignore[arg-type]

    with load(told, "switches") as log:
        want(**{str(other): two[str(other)]})
        eventually(lambda: target.slots("demand")[other].ready == target.slots("demand")[other].wanted == 2)
        for number in range(20):
            to = (other, active)[number % 2]
            want(active=to)
            eventually(lambda to=to: target.routed("demand") == (to, False))
            before = log.stat().st_size
            eventually(lambda before=before: log.stat().st_size > before + 2_000)
        want(**{str(other): None})
        eventually(lambda: target.slots("demand")[other].release is None)
    slots, releases = counted(told, log)
    assert set(slots) == {"blue", "green"}
    assert len(releases) == 2


def test_kills_in_the_middle_of_a_rollout_end_in_a_consistent_state(told: Told) -> None:
    """Command, controller, a replica of the candidate, the supervisor: killed one after the other, a stage each."""
    platform = platform_of(told)
    serving = told.root / "serving-again"
    shutil.copytree(told.root / "serving/demand", serving)
    (serving / "NOTES.md").write_text("Another release of the same model.\n")
    platform.materialize("demand", platform.data("demand").until())
    version = platform.release(platform.live_release("demand")).version
    candidate = platform.build_release("demand", version, serving=serving)
    live = platform.release(platform.live_release("demand"))
    config = platform.monitor("demand")
    assert config.gate("drift").on_fail == "freeze"
    with load(told, "kills") as log:
        order = ("rollout", "demand", "--release", candidate.id, "--override", "drift=December was looked at by a person")
        command = told.popen(*order)
        kinds = ["control", "apps.slot", "supervise", "control"]
        stage = -1
        while (rollout := eventually(lambda: platform.rollouts.latest("demand"))).candidate != candidate.digest:
            pass
        while not (rollout := platform.rollouts.load("demand", rollout.id)).status.terminal:
            if rollout.stage != stage and kinds:
                stage, victim = rollout.stage, kinds.pop(0)
                with suppress(ProcessLookupError, IndexError):
                    os.kill(told.pids_of(victim)[-1], signal.SIGKILL)
                if command.poll() is None:
                    command.kill()
                command.communicate()
                command = told.popen(*order)
        command.communicate(timeout=60)
    assert rollout.status == "DONE", rollout.reason
    assert platform.live_release("demand") == candidate.digest
    _, releases = counted(told, log)
    assert set(releases) == {live.id, candidate.id}
    assert told.run("ledger", "verify")["ok"]
    again = told.run("rollout", "demand", "--release", candidate.id)
    assert again["status"] == "UNCHANGED"


def test_the_way_back_by_hand(told: Told) -> None:
    platform = platform_of(told)
    before = platform.live_release("demand")
    with load(told, "rollback") as log:
        told.run("rollback", "demand", "--reason", "orders look wrong", "--by", "ada")
    assert platform.live_release("demand") != before
    counted(told, log)
    entries = told.run("ledger", "list", "--last", "20")
    assert any(entry["actor"] == "ada" and "orders look wrong" in json.dumps(entry) for entry in entries)


def test_a_changed_ledger_is_found(told: Told) -> None:
    told.run("down")
    path = told.state / "ledger/ledger.jsonl"
    kept = path.read_bytes()
    try:
        path.write_bytes(kept.replace(b'"PASS"', b'"FAIL"', 1))
        assert told.run("ledger", "verify", code=6)["ok"] is False
    finally:
        path.write_bytes(kept)
    assert told.run("ledger", "verify")["ok"]
