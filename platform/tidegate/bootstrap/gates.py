"""The gates of a rollout, put together for a project, and how a release's monitor file steers its rollout.

Used by commands (`tidegate gate run`) and by the controller process of each rollout.
"""

from __future__ import annotations

from tidegate.domain.project import Project
from tidegate.monitoring.config import BakeRules, DriftRules, MonitorConfig, ParityRules, ShadowRules
from tidegate.ports.gates import Gate
from tidegate.rollout.plan import Bake, Check, RolloutConfig

SHADOW_SECONDS = 5.0  # mirrored traffic is watched at least this long, however much comes


def build_gates(project: Project, model: str) -> dict[str, Gate]:
    """Gates by name. They read the rules of the release that they judge, and remember what they saw of it."""
    from tidegate.adapters.evidently_drift import EvidentlyDriftMeter
    from tidegate.adapters.feast_features import FeastFeatureStore
    from tidegate.adapters.local_target import LocalTarget
    from tidegate.adapters.onnx_scorer import OnnxScorer
    from tidegate.domain.local import LocalConfig
    from tidegate.monitoring.bake import BakeGate
    from tidegate.monitoring.drift import DriftGate
    from tidegate.monitoring.parity import ParityGate
    from tidegate.monitoring.shadow import ShadowGate
    from tidegate.serving.inference_records import InferenceLogFiles

    config = project.model(model)
    records = InferenceLogFiles(project.logs_dir, model)
    store = FeastFeatureStore(config.features.repo, project.state, project.local.online_store)
    gates: list[Gate] = [
        ParityGate(records, store),
        ShadowGate(records, OnnxScorer()),
        DriftGate(records, EvidentlyDriftMeter()),
        BakeGate(LocalTarget(project.state, LocalConfig.of(project))),
    ]
    return {gate.name: gate for gate in gates}


def rollout_config(monitor: MonitorConfig) -> RolloutConfig:
    """Stages and deadlines of a rollout, as the release's monitor file has them."""
    gates = monitor.gates
    checks = (
        _check("parity", gates.parity),
        _check("shadow", gates.shadow, SHADOW_SECONDS),
        _check("drift", gates.drift),
    )
    return RolloutConfig(checks=checks, bake=_bake(gates.bake))


def _check(name: str, rules: ParityRules | ShadowRules | DriftRules, seconds: float = 0.0) -> Check:
    return Check(
        name,
        min_seconds=min(seconds, rules.timeout_seconds / 2),
        deadline_seconds=rules.timeout_seconds,
        on_fail=rules.on_fail,
    )


def _bake(rules: BakeRules) -> Bake:
    return Bake(("bake",), min_seconds=rules.min_seconds, deadline_seconds=rules.timeout_seconds)
