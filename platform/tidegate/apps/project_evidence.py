"""What is known of a project's models: how they stand, what drifts, what gates said, how an answer came to be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tidegate.apps import wiring
from tidegate.apps.project_data import ProjectData
from tidegate.apps.project_processes import ProjectProcesses
from tidegate.apps.project_versions import ProjectVersions
from tidegate.domain.errors import NotFound
from tidegate.domain.release import ReleaseManifest
from tidegate.domain.verdict import GateResult

if TYPE_CHECKING:
    from tidegate.apps.inspection import Replayed
    from tidegate.gates.watch import WatchResult
    from tidegate.ports.delivery import Standing


class ProjectEvidence(ProjectData, ProjectVersions, ProjectProcesses):
    def status(self, model: str, with_drift: bool = True) -> Standing:
        from tidegate.apps.model_status import model_status

        return model_status(self, self.project.model(model).name, with_drift)

    def online_status(self, release: ReleaseManifest) -> dict[str, Any] | None:
        from tidegate.apps.online_status import online_status

        return online_status(self, release)

    def drift(self, model: str, release: str | None = None, since: float = 0.0) -> list[WatchResult]:
        """The live traffic of a release (default: the live one) against its reference, for each window of its data."""
        from tidegate.apps.gates import admission
        from tidegate.files.watched_windows import WatchedWindows
        from tidegate.gates.watch import watch

        manifest = self.release(release or self.live_release(model))
        return watch(
            manifest,
            self.releases.folder(manifest.digest),
            self.records(model),
            wiring.drift_meter(),
            since,
            None if since else WatchedWindows(self.state.watched(manifest.model)),
            admission(self.project),
        )

    def live_release(self, model: str) -> str:
        """Digest of the release that is wanted live; raises NotFound."""
        digest = self.target.desired(self.project.model(model).name).active_release
        if digest is None:
            raise NotFound(f"model '{model}' has no live release; start one with 'tidegate rollout {model}'")
        return digest

    def run_gate(self, model: str, gate: str, seconds: float) -> GateResult:
        """Evaluate one gate now on traffic of the last `seconds`; nothing is recorded."""
        from tidegate.apps.gates import local_gates
        from tidegate.apps.inspection import gate_context
        from tidegate.gates.monitor_file import monitor_of

        context = gate_context(self, model, seconds)
        monitor_of(context.candidate_folder, context.candidate).gate(gate, f"release {context.candidate.id}")
        return local_gates(self.project, model)(gate, context)

    def verdicts(self, model: str, gate: str | None = None) -> list[dict[str, Any]]:
        """Every recorded verdict on versions and releases of the model, oldest first."""
        from tidegate.apps.inspection import recorded_verdicts

        return recorded_verdicts(self.ledger, self.project.model(model).name, gate)

    def replay(self, request_id: str) -> Replayed:
        """Recompute a served prediction to the bit, its features by the offline path, with the rows behind it."""
        from tidegate.apps.inspection import replay_request

        return replay_request(self, request_id)
