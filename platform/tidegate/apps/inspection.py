"""Looking without changing: replay with lineage, recorded verdicts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tidegate.apps.rows_behind import Source, rows_behind
from tidegate.domain.errors import NotFound
from tidegate.domain.release import Lineage
from tidegate.ports.gates import GateContext
from tidegate.ports.ledger import Ledger, Query

if TYPE_CHECKING:
    from tidegate.apps.project_evidence import ProjectEvidence
    from tidegate.ports.inference_records import InferenceRecord
    from tidegate.serving.replay import ReplayResult


@dataclass(frozen=True)
class Replayed:
    """A served prediction, recomputed, with where everything in it came from."""

    result: ReplayResult
    at: float
    slot: str
    shadow: bool
    version: str
    lineage: Lineage
    sources: tuple[Source, ...]


def gate_context(platform: ProjectEvidence, model: str, seconds: float) -> GateContext:
    """What is on the slots now: the preview's release as candidate, or the live one when there is no other."""
    desired = platform.target.desired(model)
    if desired.active is None:
        raise NotFound(
            f"model '{model}' has no live release, so there is nothing to judge; start one with 'tidegate rollout {model}'"
        )
    slot = desired.active.other if desired.release_of(desired.active.other) else desired.active
    candidate, folder = platform.releases.open(desired.release_of(slot) or "")
    active, active_folder = platform.releases.open(desired.active_release or "")
    now = platform.clock()
    return GateContext(model, candidate, folder, slot, active, active_folder, now - seconds, now)


def recorded_verdicts(ledger: Ledger, model: str, gate: str | None) -> list[dict[str, Any]]:
    """Verdicts in the ledger whose subject is the model's, with the time of their entry where they carry none."""
    return [
        {**verdict, "at": verdict.get("at", at)}
        for at, verdict in _verdicts(ledger)
        if str(verdict["release"]).replace("@", "/").partition("/")[0] == model and gate in (None, verdict["gate"])
    ]


def _verdicts(ledger: Ledger) -> Iterator[tuple[float, Mapping[str, Any]]]:
    for entry in ledger.entries(Query(actions=("verdict", "promotion"))):
        if entry.action == "verdict":
            yield entry.at, entry.body
        elif entry.action == "promotion":
            yield from ((entry.at, verdict) for verdict in entry.body["gates"])


def replay_request(platform: ProjectEvidence, request_id: str) -> Replayed:
    from tidegate.adapters.onnx.session import open_onnx
    from tidegate.files.release_folder import read_contract
    from tidegate.gates.kinds.parity import entity_rows, offline_tensors
    from tidegate.serving.replay import replay

    record, model = _record(platform, request_id)
    manifest, folder = platform.releases.open(record.release)
    contract = read_contract(folder, manifest)
    offline = None
    if len(record.entities):
        offline = offline_tensors(platform.feature_store(model), contract, entity_rows([record], contract))
    result = replay(record, folder, offline, open_model=open_onnx)
    sources = tuple(rows_behind(platform, model, contract, record))
    return Replayed(result, record.at, str(record.slot), record.shadow, manifest.version, manifest.lineage, sources)


def _record(platform: ProjectEvidence, request_id: str) -> tuple[InferenceRecord, str]:
    for model in platform.project.models:
        try:
            return platform.records(model).find(request_id), model
        except NotFound as error:
            missing = error
    raise missing
