"""Promotion: MLflow's aliases `candidate`, `champion` and `previous`, moved only through gates and written to the ledger.

`promote` opens the way for a version (`candidate`); `activate` makes it `champion` when a rollout of it is done, because the
champion is what answers requests (a rollback activates the version that answers again). The ledger is written before an alias
moves, once, and both can be repeated after an interruption.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from tidegate.domain.actor import PLATFORM, Actor
from tidegate.domain.errors import GateClosed, NotFound
from tidegate.domain.verdict import GateResult, to_json
from tidegate.ports.ledger import Ledger, Query
from tidegate.ports.registry import ModelRegistry, ModelVersion

CANDIDATE, CHAMPION, PREVIOUS = "candidate", "champion", "previous"
PROMOTION_TAG = "tidegate.promotion"


@dataclass(frozen=True)
class Champion:
    """A version that became champion, as the ledger has it, and the one before it."""

    version: str
    previous: str | None


def aliased(registry: ModelRegistry, model: str, alias: str) -> ModelVersion | None:
    """The version under `alias`, or None."""
    try:
        return registry.get(model, alias)
    except NotFound:
        return None


def recorded_champion(ledger: Ledger, model: str) -> Champion | None:
    """The ledger's last word on the champion of `model`."""
    for entry in ledger.entries(Query(actions=("champion",)), newest_first=True):
        name, _, version = entry.subject.rpartition("/")
        if name == model:
            return Champion(version, entry.body.get("previous"))
    return None


def promote(
    registry: ModelRegistry,
    ledger: Ledger,
    version: ModelVersion,
    results: Sequence[GateResult],
    actor: Actor = PLATFORM,
    output: str = "",
) -> None:
    """Make `version` the candidate; raises GateClosed naming every gate that did not PASS (and changes no alias).

    `output` is the digest of the training output that the gates judged.
    """
    subject = f"{version.model}/{version.version}"
    closed = [result for result in results if not result.verdict.opens]
    outcome = "passed" if results and not closed else "refused"
    evidence = {"output": output} if output else {}
    ledger.append("promotion", subject, {"outcome": outcome, "gates": [to_json(r) for r in results], **evidence}, actor)
    registry.set_tags(version.model, version.version, {PROMOTION_TAG: outcome})
    if not results:
        raise GateClosed(f"{subject} was not promoted: no gate was evaluated")
    if closed:
        reasons = "; ".join(f"gate '{r.gate}' {r.verdict}: {r.evidence.summary}" for r in closed)
        raise GateClosed(f"{subject} was not promoted: {reasons}")
    registry.set_alias(version.model, CANDIDATE, version.version)


def activate(registry: ModelRegistry, ledger: Ledger, model: str, version: str) -> None:
    """`version` answers the live traffic now: `previous` <- `champion` <- `version`.

    `previous` moves first, so that an interruption leaves a champion at every moment. Repeated, it finishes what an
    interruption left, and records nothing twice.
    """
    champion, recorded = aliased(registry, model, CHAMPION), recorded_champion(ledger, model)
    if recorded is None or recorded.version != version:
        before = recorded.version if recorded else champion.version if champion and champion.version != version else None
        recorded = Champion(version, before)
        ledger.append("champion", f"{model}/{version}", {"previous": before})
    previous = aliased(registry, model, PREVIOUS)
    if recorded.previous and (previous is None or previous.version != recorded.previous):
        with suppress(NotFound):  # one that was deleted: nothing goes back to it
            registry.set_alias(model, PREVIOUS, recorded.previous)
    if champion is None or champion.version != version:
        registry.set_alias(model, CHAMPION, version)
    candidate = aliased(registry, model, CANDIDATE)
    if candidate is not None and candidate.version == version:
        registry.delete_alias(model, CANDIDATE)
