"""What a rollout is judged by, and what is told when it is done, put together for a project.

Named by reference (`tidegate.apps.gates:build_gates`) to the controller process of each rollout; `tidegate gate run` uses
the same gates.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from tidegate.apps import wiring
from tidegate.domain.errors import TidegateError
from tidegate.domain.project import Project
from tidegate.files.layout import StateFolder
from tidegate.ports.gates import Gate

if TYPE_CHECKING:
    from tidegate.ports.features import HistoricalFeatures
    from tidegate.ports.inference_records import InferenceRecords
    from tidegate.ports.traffic import LiveTraffic
    from tidegate.rollout.state import Rollout


def build_gates(project: Project, model: str) -> dict[str, Gate]:
    """Gates by name, of the local target."""
    from tidegate.apps.features import feature_store
    from tidegate.rollout.state_clock import state_clock

    return gates_over(
        wiring.inference_log(project, model),
        feature_store(project, model),
        wiring.local_target(project),
        state_clock(StateFolder(project.state)),
    )


def gates_over(
    records: InferenceRecords, features: HistoricalFeatures, live: LiveTraffic, clock: Callable[[], float] = time.time
) -> dict[str, Gate]:
    """Gates by name. They read the rules of the release that they judge, and remember what they saw of it."""
    from tidegate.gates.bake import BakeGate
    from tidegate.gates.drift import DriftGate
    from tidegate.gates.parity import ParityGate
    from tidegate.gates.shadow import ShadowGate

    gates: list[Gate] = [
        ParityGate(records, features),
        ShadowGate(records, wiring.model_scorer()),
        DriftGate(records, wiring.drift_meter()),
        BakeGate(live, records, clock),
    ]
    return {gate.name: gate for gate in gates}


def finish_rollout(project: Project, rollout: Rollout) -> None:
    """Tell the registry what is live now: the version of the release becomes champion. Can be repeated.

    A note that it is due is written before and removed after, so that whatever comes between is told later.
    """

    from tidegate.files.release_folder import read_manifest
    from tidegate.registry.promotion import activate
    from tidegate.registry.untold import UntoldNotes

    manifest = read_manifest(StateFolder(project.state).releases / rollout.candidate)
    notes = UntoldNotes(StateFolder(project.state).rollouts)
    notes.note(manifest.model, manifest.id, manifest.version, notes.reason(manifest.model))
    try:
        activate(wiring.registry(project), wiring.ledger(project), manifest.model, manifest.version)
    except TidegateError as error:
        notes.note(manifest.model, manifest.id, manifest.version, str(error))
        raise
    notes.told(manifest.model)
