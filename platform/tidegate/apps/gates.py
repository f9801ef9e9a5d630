"""What a rollout is judged by, and what is told when it is done, put together for a project.

Named by reference (`tidegate.apps.gates:build_gates`) to the controller process of each rollout; `tidegate gate run` uses
the same gates, and keeps nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tidegate.apps import wiring
from tidegate.domain.errors import InvalidInput, TidegateError
from tidegate.domain.project import Project
from tidegate.files.layout import StateFolder
from tidegate.ports.gates import Evaluate, Instruments

if TYPE_CHECKING:
    import polars as pl

    from tidegate.domain.contract import FeatureContract
    from tidegate.ports.features import HistoricalFeatures
    from tidegate.ports.inference_records import InferenceRecords
    from tidegate.ports.traffic import LiveTraffic
    from tidegate.rollout.state import Rollout


class NoFeatures:
    """The historical features of a model that stores none: no gate of it has anything to recompute."""

    def historical(self, contract: FeatureContract, entity_rows: pl.DataFrame) -> pl.DataFrame:
        raise InvalidInput("the model has no features in the project file, so none of its inputs can be recomputed")


def build_gates(project: Project, model: str) -> Evaluate:
    """The gates of the model's releases, on the local target, as a rollout asks them."""
    return local_gates(project, model, StateFolder(project.state).counted(model))


def local_gates(project: Project, model: str, kept: Path | None = None) -> Evaluate:
    """Counts of the stage under way are kept in `kept`; without it they end with the process."""

    def instruments() -> Instruments:
        from tidegate.apps.features import feature_store
        from tidegate.rollout.state_clock import state_clock

        return instruments_over(
            wiring.inference_log(project, model),
            feature_store(project, model) if project.model(model).features else NoFeatures(),
            wiring.local_target(project),
            state_clock(StateFolder(project.state)),
        )

    return gates_over(instruments, admission(project), kept)


def gates_over(instruments: Callable[[], Instruments], admit: Callable[[Path], None], kept: Path | None = None) -> Evaluate:
    from tidegate.files.kept_counts import KeptCounts
    from tidegate.gates.evaluator import GateEvaluator

    return GateEvaluator(instruments, admit, KeptCounts(kept))


def admission(project: Project, more_keys: Callable[[str], Sequence[str]] = lambda digest: ()) -> Callable[[Path], None]:
    """Code that a release brings runs where a key of the project signed the release, or one of `more_keys` of its digest."""

    def admit(release: Path) -> None:
        from tidegate.adapters.files.release_keys import parse_keys, require_signed
        from tidegate.apps.trust import trusted_keys

        require_signed(release, (*trusted_keys(project), *parse_keys(more_keys(release.name))))

    return admit


def instruments_over(
    records: InferenceRecords, features: HistoricalFeatures, live: LiveTraffic, clock: Callable[[], float] = time.time
) -> Instruments:
    return Instruments(records, features, wiring.model_scorer(), wiring.drift_meter(), live, clock)


def finish_rollout(project: Project, rollout: Rollout) -> None:
    """Tell the registry what is live now: the version of the release becomes champion. Can be repeated.

    A note that it is due is written before and removed after, so that whatever comes between is told later.
    """

    from tidegate.files.release_folder import read_manifest
    from tidegate.registry.pending import PendingUpdates
    from tidegate.registry.promotion import activate

    manifest = read_manifest(StateFolder(project.state).releases / rollout.candidate)
    notes = PendingUpdates(StateFolder(project.state).rollouts)
    notes.note(manifest.model, manifest.id, manifest.version, notes.reason(manifest.model))
    try:
        activate(wiring.registry(project), wiring.ledger(project), manifest.model, manifest.version)
    except TidegateError as error:
        notes.note(manifest.model, manifest.id, manifest.version, str(error))
        raise
    notes.done(manifest.model)
