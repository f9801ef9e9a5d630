"""Promotion: MLflow's aliases `candidate`, `champion` and `previous`, moved only through gates and written to the ledger.

`promote` opens the way for a version (`candidate`); `activate` makes it `champion` when a rollout of it is done, because the
champion is what answers requests (a rollback activates the version that answers again). The ledger is written before an alias
moves, and both can be repeated after an interruption.
"""

from __future__ import annotations

from collections.abc import Sequence

from tidegate.domain.errors import GateClosed, NotFound
from tidegate.domain.verdict import GateResult, to_json
from tidegate.ports.ledger import Ledger
from tidegate.ports.registry import ModelRegistry, ModelVersion

CANDIDATE, CHAMPION, PREVIOUS = "candidate", "champion", "previous"
PROMOTION_TAG = "tidegate.promotion"


def aliased(registry: ModelRegistry, model: str, alias: str) -> ModelVersion | None:
    """The version under `alias`, or None."""
    try:
        return registry.get(model, alias)
    except NotFound:
        return None


def promote(
    registry: ModelRegistry, ledger: Ledger, version: ModelVersion, results: Sequence[GateResult], actor: str = "tidegate"
) -> None:
    """Make `version` the candidate; raises GateClosed naming every gate that did not PASS (and changes no alias)."""
    subject = f"{version.model}/{version.version}"
    closed = [result for result in results if not result.verdict.opens]
    outcome = "passed" if results and not closed else "refused"
    ledger.append("promotion", subject, {"outcome": outcome, "gates": [to_json(r) for r in results]}, actor)
    registry.set_tags(version.model, version.version, {PROMOTION_TAG: outcome})
    if not results:
        raise GateClosed(f"{subject} was not promoted: no gate was evaluated")
    if closed:
        reasons = "; ".join(f"gate '{r.gate}' {r.verdict}: {r.evidence.summary}" for r in closed)
        raise GateClosed(f"{subject} was not promoted: {reasons}")
    registry.set_alias(version.model, CANDIDATE, version.version)


def activate(registry: ModelRegistry, ledger: Ledger, model: str, version: str) -> None:
    """`version` answers the live traffic now: `previous` <- `champion` <- `version`. `previous` moves first, so that an
    interruption leaves a champion at every moment."""
    champion = aliased(registry, model, CHAMPION)
    if champion is not None and champion.version == version:
        return
    ledger.append("champion", f"{model}/{version}", {"previous": champion.version if champion else None})
    if champion is not None:
        registry.set_alias(model, PREVIOUS, champion.version)
    registry.set_alias(model, CHAMPION, version)
    candidate = aliased(registry, model, CANDIDATE)
    if candidate is not None and candidate.version == version:
        registry.delete_alias(model, CANDIDATE)


def is_promoted(version: ModelVersion) -> bool:
    return version.tags.get(PROMOTION_TAG) == "passed"
