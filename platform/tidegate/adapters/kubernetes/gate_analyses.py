"""Which gates an analysis of Argo Rollouts really asks for, and so that nothing but a PASS lets anything through.

An AnalysisRun is what is executed, an AnalysisTemplate what it is made of; both have metrics in one form. A gate counts as
asked for when a metric asks the gate service for it by the model's own path, with the conditions and limits of the model's
chart. A metric that is a dry run, has other conditions, or asks elsewhere is no question about a gate.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

# as charts/model renders them; a test compares the two
SUCCESS, FAILURE = "len(result) == 1 && result[0] == 1", "len(result) == 1 && result[0] <= 0"
LIMITS = {"consecutiveSuccessLimit": "1", "failureLimit": "0"}  # numbers or strings, as Kubernetes takes both
RELEASE = re.escape("{{args.release}}")


def asked_gates(spec: Mapping[str, Any], model: str) -> tuple[str, ...]:
    """Names of the gates of `model` that the analysis with this `spec` asks for; none where it asks at several addresses,
    since only one of them can be the gate service that records the verdicts."""
    if spec.get("dryRun"):
        return ()
    found = [place for metric in spec.get("metrics") or () if (place := _asks(metric, model)) is not None]
    if len({address for address, _ in found}) > 1:
        return ()
    return tuple(gate for _, gate in found)


def _asks(metric: Mapping[str, Any], model: str) -> tuple[str, str] | None:
    """The gate service's address and the gate, of a metric that is closed."""
    closed = metric.get("successCondition") == SUCCESS and metric.get("failureCondition") == FAILURE
    if not closed or any(str(metric.get(name, 0)) != value for name, value in LIMITS.items()):
        return None
    address = str(((metric.get("provider") or {}).get("prometheus") or {}).get("address", ""))
    path = rf"(https?://[^/]+)/v1/models/{re.escape(model)}/releases/{RELEASE}/gates/([a-z0-9-]+)"
    match = re.fullmatch(path, address)
    return (match[1], match[2]) if match else None
