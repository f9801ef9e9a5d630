"""Which gates an analysis asks for so that only a PASS opens: what the chart renders, and nothing that is a bit different."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tidegate.adapters.kubernetes.gate_analyses import asked_gates

Json = dict[str, Any]
GOLDEN = Path(__file__).parents[2] / "golden/charts/model-bento.yaml"


def rendered(stage: str) -> Json:
    """What the model's chart makes of an analysis."""
    objects = [each for each in yaml.safe_load_all(GOLDEN.read_text()) if each]
    return next(each["spec"] for each in objects if each["metadata"]["name"] == f"demand-{stage}")


def test_the_chart_asks_for_all_gates_that_it_is_given() -> None:
    assert asked_gates(rendered("pre-promotion"), "demand") == ("parity", "shadow", "drift")
    assert asked_gates(rendered("post-promotion"), "demand") == ("bake",)


def _metric(**changes: Any) -> Callable[[Json], None]:
    return lambda spec: spec["metrics"][0].update(changes)


def _address(old: str, new: str) -> Callable[[Json], None]:
    def change(spec: Json) -> None:
        provider = spec["metrics"][0]["provider"]["prometheus"]
        assert old in provider["address"]
        provider["address"] = provider["address"].replace(old, new)

    return change


@pytest.mark.parametrize(
    ("change", "asked"),
    [
        (lambda spec: spec["metrics"].pop(0), ("shadow", "drift")),
        (_metric(successCondition="true"), ("shadow", "drift")),
        (_metric(successCondition=None), ("shadow", "drift")),
        (_metric(failureCondition="false"), ("shadow", "drift")),
        (_metric(failureLimit=3), ("shadow", "drift")),
        (_metric(failureLimit="-1"), ("shadow", "drift")),
        (_metric(consecutiveSuccessLimit=0), ("shadow", "drift")),
        (_metric(provider={"web": {"url": "http://gates"}}), ("shadow", "drift")),
        (_metric(provider=None), ("shadow", "drift")),
        (_address("/models/demand/", "/models/returns/"), ("shadow", "drift")),
        (_address("{{args.release}}", "3f2c"), ("shadow", "drift")),
        (_address("/gates/parity", "/gates/parity?x=/gates/shadow"), ("shadow", "drift")),
        (_address("/gates/parity", "/gates/shadow"), ("shadow", "shadow", "drift")),
        (_address("http://tidegate-gates", "http://always-yes"), ()),  # two who answer: one of them is not the gate service
        (lambda spec: spec.update(dryRun=[{"metricName": "nothing"}]), ()),
        (lambda spec: spec.update(metrics=None), ()),
    ],
)
def test_a_metric_that_lets_more_through_than_a_pass_asks_for_nothing(
    change: Callable[[Json], Any], asked: tuple[str, ...]
) -> None:
    spec = copy.deepcopy(rendered("pre-promotion"))
    change(spec)
    assert asked_gates(spec, "demand") == asked


def test_limits_may_be_strings_as_kubernetes_takes_both() -> None:
    spec = rendered("post-promotion")
    spec["metrics"][0].update(failureLimit="0", consecutiveSuccessLimit="1")
    assert asked_gates(spec, "demand") == ("bake",)
