"""The charts' Prometheus rules, judged by Prometheus' own `promtool`: they alert when a budget burns, and only then."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests/golden/charts"
RUNBOOKS = ROOT / "docs/runbooks"
PROMTOOL = shutil.which("promtool")
needs_promtool = pytest.mark.skipif(PROMTOOL is None, reason="promtool is not on this machine (Debian's package prometheus)")
# requests of `demand` in the golden rendering: 10 a second, of which some fail (5xx) or take longer than 250 ms
PROBES = 'namespace="models",tidegate_model="demand",shadow="false",route="health"'
LABELS = 'namespace="models",tidegate_model="demand",shadow="false",route="predict"'


def rules(name: str) -> dict[str, Any]:
    """The rules of a golden rendering, as Prometheus reads them."""
    documents = yaml.load_all((GOLDEN / f"{name}.yaml").read_text(), yaml.CSafeLoader)
    groups = [group for d in documents if d and d["kind"] == "PrometheusRule" for group in d["spec"]["groups"]]
    return {"groups": groups}


WITH_RULES = [path.stem for path in sorted(GOLDEN.glob("*.yaml")) if "values" not in path.name and rules(path.stem)["groups"]]


def alerts(name: str) -> list[dict[str, Any]]:
    return [rule for group in rules(name)["groups"] for rule in group["rules"] if "alert" in rule]


def traffic(minutes: int, failing: float = 0.0, slow: float = 0.0, per_minute: int = 600) -> list[dict[str, str]]:
    """Counters that grow steadily, as promtool writes series; shares of the requests fail or are slow."""

    def series(name: str, labels: str, growth: float) -> dict[str, str]:
        return {"series": f"{name}{{{LABELS}{labels}}}", "values": f"0+{growth:g}x{minutes}"}

    return [
        series("tidegate_requests_total", ',status="200"', per_minute * (1 - failing)),
        series("tidegate_requests_total", ',status="500"', per_minute * failing),
        series("tidegate_request_seconds_bucket", ',le="0.25"', per_minute * (1 - slow)),
        series("tidegate_request_seconds_bucket", ',le="+Inf"', per_minute),
        series("tidegate_request_seconds_count", "", per_minute),
        {"series": 'tidegate_release_info{namespace="models",tidegate_model="demand"}', "values": f"1x{minutes}"},
        # what kubelet and Prometheus ask for is nobody's request, however it is answered
        series("tidegate_requests_total", ',status="503"', 6000)
        | {"series": f'tidegate_requests_total{{{PROBES},status="503"}}'},
    ]


def firing(folder: Path, given: dict[str, Any], series: list[dict[str, str]], minutes: int) -> set[tuple[str, str]]:
    """Alerts (name, window) that fire after so many minutes of these series, by `promtool test rules`.

    promtool compares with what is expected, so it is told to expect nothing, and what it got is read from what it says.
    """
    (folder / "rules.yaml").write_text(json.dumps(given))
    names = sorted({rule["alert"] for group in given["groups"] for rule in group["rules"] if "alert" in rule})
    test = {
        "interval": "1m",
        "input_series": series,
        "alert_rule_test": [{"eval_time": f"{minutes}m", "alertname": name, "exp_alerts": []} for name in names],
    }
    every = "5m" if minutes > 720 else "1m"  # of days that are all the same, each minute tells nothing
    (folder / "test.yaml").write_text(json.dumps({"rule_files": ["rules.yaml"], "evaluation_interval": every, "tests": [test]}))
    assert PROMTOOL is not None
    done = subprocess.run([PROMTOOL, "test", "rules", "test.yaml"], cwd=folder, capture_output=True, text=True, check=False)
    said = done.stdout + done.stderr
    assert "SUCCESS" in said or "FAILED" in said, said
    found = set()
    for labels in re.findall(r"Labels:(\{.*?\})", said):
        named = dict(re.findall(r'(\w+)="([^"]*)"', labels))
        found.add((named["alertname"], named.get("window", "")))
    assert bool(found) == ("FAILED" in said), said
    return found


@needs_promtool
@pytest.mark.parametrize("name", WITH_RULES)
def test_prometheus_accepts_the_rules(name: str, tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text(json.dumps(rules(name)))
    assert PROMTOOL is not None
    done = subprocess.run(
        [PROMTOOL, "check", "rules", str(tmp_path / "rules.yaml")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


AVAILABILITY, LATENCY = "TidegateAvailabilityBudgetBurn", "TidegateLatencyBudgetBurn"


@needs_promtool
@pytest.mark.parametrize(
    ("series", "minutes", "expected"),
    [
        # the budgets are 0.5 % of the requests failing and 1 % slow
        (traffic(300), 300, set()),
        (traffic(300, failing=0.004, slow=0.009), 300, set()),
        (traffic(60, failing=0.08), 60, {(AVAILABILITY, w) for w in ("1h", "6h", "1d", "3d")}),
        (traffic(60, slow=0.16), 60, {(LATENCY, w) for w in ("1h", "6h", "1d", "3d")}),
        (traffic(360, failing=0.035), 360, {(AVAILABILITY, w) for w in ("6h", "1d", "3d")}),
        (traffic(1440, failing=0.017), 1440, {(AVAILABILITY, w) for w in ("1d", "3d")}),
        (traffic(4320, failing=0.006), 4320, {(AVAILABILITY, "3d")}),
        (traffic(300, per_minute=0), 300, set()),  # nobody asks
        ([], 10, {("TidegateModelSilent", "")}),
        ([], 4, set()),
    ],
    ids=["healthy", "within the budget", "outage", "slow", "6 h", "1 d", "3 d", "no traffic", "silent", "silent for 4 minutes"],
)
def test_alerts_fire_when_the_budget_burns_and_only_then(
    series: list[dict[str, str]], minutes: int, expected: set[tuple[str, str]], tmp_path: Path
) -> None:
    assert firing(tmp_path, rules("model-bento"), series, minutes) == expected


def brought(until: str, minutes: int) -> list[dict[str, str]]:
    """The online rows of two replicas' views, one of which is brought to `until`, as promtool writes values."""
    live = 'namespace="models",tidegate_model="demand"'
    name = "tidegate_features_until_timestamp_seconds"
    shown = [
        {"series": f'{name}{{{live},view="{view}",pod="{pod}"}}', "values": f"0+60x{minutes}"} for view in "ab" for pod in "12"
    ]
    return [*traffic(minutes), *shown[:-1], {**shown[-1], "values": until}]


@needs_promtool
@pytest.mark.parametrize(
    ("until", "minutes", "expected"),
    [
        ("0+60x25", 25, set()),
        ("-172200x25", 19, set()),  # brought no further than 48 hours before the tenth minute
        ("-172200x25", 24, {("TidegateFeaturesStale", "")}),
    ],
    ids=["brought along", "not for 48 h", "for longer"],
)
def test_features_that_were_not_brought_along_are_an_alert(
    until: str, minutes: int, expected: set[tuple[str, str]], tmp_path: Path
) -> None:
    assert firing(tmp_path, rules("model-bento"), brought(until, 25), minutes) == expected


def watched(verdict: int, looked: str, minutes: int) -> list[dict[str, str]]:
    """What the monitor shows; `looked` as promtool writes values."""
    labels = 'namespace="tidegate",model="demand"'
    return [
        {
            "series": f'tidegate_drift_verdict{{{labels},release="demand@1",window="2011-12-05"}}',
            "values": f"{verdict}x{minutes}",
        },
        {"series": f"tidegate_monitor_looked_timestamp_seconds{{{labels}}}", "values": looked},
    ]


@needs_promtool
@pytest.mark.parametrize(
    ("series", "minutes", "expected"),
    [
        (watched(1, "0+60x30", 30), 30, set()),
        (watched(0, "0+60x30", 30), 30, {"TidegateDrift"}),
        (watched(0, "0+60x30", 30), 9, set()),
        (watched(-1, "0+60x30", 30), 30, {"TidegateMonitorBlind"}),
        (watched(1, "0x40", 40), 40, {"TidegateMonitorBlind"}),  # it stopped looking at the beginning
        (watched(1, "0x40", 40), 15, set()),  # three intervals of five minutes
        ([], 10, {"TidegateMonitorBlind"}),
    ],
    ids=["calm", "drift", "drift for 9 minutes", "error", "stopped", "late", "absent"],
)
def test_drift_and_a_monitor_that_does_not_see_are_said(
    series: list[dict[str, str]], minutes: int, expected: set[str], tmp_path: Path
) -> None:
    calm = [*series, *scheduled("0x60", "0x60")]
    assert {name for name, _ in firing(tmp_path, rules("tidegate-full"), calm, minutes)} == expected


def scheduled(failed: str, late: str) -> list[dict[str, str]]:
    """What the gate service shows of one schedule beside another that does as it should; as promtool writes values."""
    calm, labels = "0x60", 'namespace="tidegate",schedule="{}"'
    values = {"weekly": (calm, calm), "nightly": (failed, late)}
    return [
        {"series": f"tidegate_schedule_{name}{{{labels.format(schedule)}}}", "values": value}
        for schedule, pair in values.items()
        for name, value in zip(("last_run_failed", "late"), pair, strict=True)
    ]


@needs_promtool
@pytest.mark.parametrize(
    ("series", "minutes", "expected"),
    [
        (scheduled("0x60", "0x60"), 30, set()),
        (scheduled("1x60", "0x60"), 2, {"TidegateScheduleFailed"}),
        (scheduled("0x60", "1x60"), 30, {"TidegateScheduleLate"}),
        (scheduled("0x60", "1x60"), 9, set()),
        (scheduled("1x20 0x40", "1x20 0x40"), 40, set()),  # mended
        ([], 30, {"TidegateScheduleLate"}),  # nobody sees
    ],
    ids=["calm", "failed", "late", "late for 9 minutes", "mended", "absent"],
)
def test_a_schedule_that_failed_or_is_late_is_an_alert(
    series: list[dict[str, str]], minutes: int, expected: set[str], tmp_path: Path
) -> None:
    seen = watched(1, f"0+60x{minutes}", minutes)
    assert {name for name, _ in firing(tmp_path, rules("tidegate-full"), [*series, *seen], minutes)} == expected


@needs_promtool
def test_an_alert_ends_with_what_it_was_for(tmp_path: Path) -> None:
    outage = traffic(60, failing=0.08)
    over = [{**each, "values": f"{each['values']} {_last(each)}+{_growth(each, 0.0)}x30"} for each in outage]
    assert not {window for _, window in firing(tmp_path, rules("model-bento"), over, 90)} & {"1h"}


def _last(series: dict[str, str]) -> str:
    growth, times = series["values"].removeprefix("0+").split("x")
    return f"{float(growth) * int(times):g}" if "+" in series["values"] else "1"


def _growth(series: dict[str, str], failing: float) -> str:
    if "+" not in series["values"]:
        return "0"
    return f"{600 * failing:g}" if 'status="500"' in series["series"] else "600"


@needs_promtool
@pytest.mark.parametrize(
    ("old", "new"),
    [(" > 14.4 * ", " > 1440 * "), ('status=~"5.."', 'status=~"4.."'), ('route=~"predict|infer|service"', 'route=~".*"')],
)
def test_a_rule_that_is_wrong_is_noticed(old: str, new: str, tmp_path: Path) -> None:
    """These tests can fail: each mutation changes what fires in an outage, or in good times."""
    text = json.dumps(rules("model-bento"))
    escaped = json.dumps(old)[1:-1], json.dumps(new)[1:-1]
    assert escaped[0] in text
    wrong = json.loads(text.replace(*escaped))
    good, outage = (firing(tmp_path, wrong, traffic(60, failing=share), 60) for share in (0.0, 0.08))
    assert (good, outage) != (set(), {(AVAILABILITY, w) for w in ("1h", "6h", "1d", "3d")})


def test_every_alert_has_its_runbook_and_every_runbook_its_alert() -> None:
    named = {Path(rule["annotations"]["runbook"]).name for name in WITH_RULES for rule in alerts(name)}
    assert named == {path.name for path in RUNBOOKS.glob("*.md")}
    assert all(rule["annotations"]["runbook"].startswith("docs/runbooks/") for rule in alerts("model-bento"))
