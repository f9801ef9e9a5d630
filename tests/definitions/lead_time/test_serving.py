"""What a client says of shipments is what the model is asked, and its monitor file is one."""

from __future__ import annotations

import runpy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from pipelines.lead_time.model import FIRST_LINE
from pipelines.lead_time.questions import KEY, NUMBERS, TEXTS

from tidegate.gates.monitor_file import load_monitor

ROOT = Path(__file__).parents[3]
SERVICE = runpy.run_path(str(ROOT / "serving/lead_time/service.py"))
SHIPMENT = {
    "vendor": "CIPLA LIMITED",
    "country": "Haiti",
    "mode": "Air",
    "counted_from": "order",
    "month": 3,
    "incoterm": "EXW",
    "product_class": "Adult",
    "dosage_form": "Tablet",
    "first_line": True,
    "quantity": 1000.0,
    "pack_price": 2.5,
}


class Model:
    """Answers 1, 2, 3 days and keeps what it was asked."""

    model, release = "lead_time", "lead_time@1"

    def predict(self, entities: Any, inputs: Any) -> Any:
        self.entities, self.inputs = entities, inputs
        n = len(entities)
        return SimpleNamespace(
            outputs={"quantiles": np.tile([1.0, 2.0, 3.0], (n, 1))}, event_times=np.array([86_400_000_000] * n)
        )


def test_shipments_are_asked_about_by_lane_and_with_what_the_model_reads() -> None:
    call = Model()
    request = SERVICE["LeadTimeRequest"](shipments=[SHIPMENT, {**SHIPMENT, "counted_from": "schedule"}])
    answer = SERVICE["lead_times"](call, request)
    assert set(call.entities[0]) == set(KEY)
    assert set(call.inputs) == {*TEXTS, *NUMBERS, FIRST_LINE}
    assert call.inputs["counted_from"].tolist() == ["order", "schedule"]
    assert [each.q90 for each in answer.lead_times] == [3.0, 3.0]
    assert answer.as_of.startswith("1970-01-02")


@pytest.mark.parametrize("wrong", [{"counted_from": "wish"}, {"month": 13}, {"quantity": -1.0}, {"vendor": ""}])
def test_what_is_no_question_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        SERVICE["LeadTimeRequest"](shipments=[{**SHIPMENT, **wrong}])


def test_the_monitor_judges_days_as_a_quantity() -> None:
    monitor = load_monitor(ROOT / "monitoring/lead_time.yaml")
    assert monitor.gate("parity").on_fail == "rollback"
    assert dict(monitor.rules_of("drift").excluded).keys() == {"counted_from", "month"}
