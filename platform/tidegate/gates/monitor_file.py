"""The monitor file of a model: SLOs, gates with every threshold, drift, promotion margins. Frozen once read.

`load_monitor` reads `monitoring/MODEL.yaml`; a release carries the same values as `monitor.json`, and gates read the
copy of the release they judge (`monitor_of`). A number that decides a rollout is written down where people see it; what was
added since the first releases has a default here, so that their copies are read as before. Messages name file, key, what was
observed and what is allowed.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, get_type_hints

import yaml

from tidegate.domain.errors import InvalidInput, NotFound
from tidegate.domain.formats import Format, Unknown, unknown_keys
from tidegate.domain.project import did_you_mean
from tidegate.domain.release import ReleaseManifest
from tidegate.files.release_folder import MONITOR, verified_bytes

POLICIES = ("rollback", "freeze")
MONITOR_FORMAT = Format(MONITOR, Unknown.REFUSED)


def _between(low: float, high: float = math.inf, default: Any = dataclasses.MISSING) -> Any:
    return field(default=default, metadata={"low": low, "high": high})


def _share() -> Any:
    return _between(0.0, 1.0)


def _reasons() -> Any:
    return field(metadata={"mapping": "FEATURE: reason"})


def _policy() -> Any:
    return field(metadata={"choices": POLICIES})


def _choice(default: str, *others: str) -> Any:
    return field(default=default, metadata={"choices": (default, *others)})


@dataclass(frozen=True)
class Slo:
    availability: float = _share()
    latency_ms: float = _between(0.1)
    latency_share: float = _share()


@dataclass(frozen=True)
class ParityRules:
    on_fail: str = _policy()
    timeout_seconds: float = _between(1)
    min_vectors: int = _between(1)
    max_vectors: int = _between(1)
    allowed_differing: int = _between(0)


@dataclass(frozen=True)
class ShadowRules:
    on_fail: str = _policy()
    timeout_seconds: float = _between(1)
    min_requests: int = _between(1)
    alpha: float = _between(1e-6, 0.5)
    allowed_error_rate: float = _between(1e-6, 0.5)
    allowed_slow_rate: float = _between(1e-6, 0.5)
    max_p95_ratio: float = _between(1)
    p95_floor_ms: float = _between(0)
    max_unmatched_share: float = _share()
    disagreement_quantile: float = _between(0.5, 1)
    disagreement_slack: float = _between(1)
    disagreement_floor: float = _between(0)
    disagreement_cap: float = _between(0)
    allowed_refusal_rate: float = _between(1e-6, 0.5, 0.005)
    harmful_refusal_rate: float = _between(1e-5, 0.8, 0.03)
    new_answers: str = _choice("fail", "allow")


@dataclass(frozen=True)
class DriftRules:
    on_fail: str = _policy()
    timeout_seconds: float = _between(1)
    window: int = _between(30)
    false_alarm_budget: float = _between(0.001, 0.5)
    block_days: float = _between(0.01)
    draws: int = _between(50)
    fault_scale: float = _between(1.5)
    fault_overlap: float = _share()
    fault_missing: float = _share()
    excluded: Mapping[str, str] = _reasons()
    min_tensor_requests: int = _between(1, math.inf, 50)


@dataclass(frozen=True)
class BakeRules:
    on_fail: str = _policy()
    timeout_seconds: float = _between(1)
    min_seconds: float = _between(0)
    min_requests: int = _between(1)
    alpha: float = _between(1e-6, 0.5)
    allowed_error_rate: float = _between(1e-6, 0.5)
    allowed_slow_rate: float = _between(1e-6, 0.5)
    allowed_refusal_increase: float = _between(1e-6, 0.5, 0.01)
    unreachable_seconds: float = _between(0, math.inf, 10.0)


@dataclass(frozen=True)
class Gates:
    parity: ParityRules
    shadow: ShadowRules
    drift: DriftRules
    bake: BakeRules


@dataclass(frozen=True)
class Margin:
    margin: float = _between(0, 10)


@dataclass(frozen=True)
class Segments:
    max_worse: float = _between(0, 10)
    min_rows: int = _between(1)


@dataclass(frozen=True)
class PromotionRules:
    """Offline gates. Margins are shares of the other's WAPE; a segment below `min_rows` is not judged."""

    beats_baseline: Margin
    no_worse_than_champion: Margin
    segments: Segments
    min_rows: int = _between(1)


@dataclass(frozen=True)
class MonitorConfig:
    slo: Slo
    gates: Gates
    promotion: PromotionRules

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: Any, source: str = "monitor.json") -> MonitorConfig:
        """Raises InvalidInput naming `source`, key, observed and allowed."""
        config: MonitorConfig = _section(cls, value, source, "")
        parity = config.gates.parity
        if parity.min_vectors > parity.max_vectors:
            raise InvalidInput(
                f"{source}: gates.parity.min_vectors is {parity.min_vectors}, allowed: at most gates.parity.max_vectors "
                f"({parity.max_vectors})"
            )
        shadow = config.gates.shadow
        if shadow.harmful_refusal_rate <= shadow.allowed_refusal_rate:
            raise InvalidInput(
                f"{source}: gates.shadow.harmful_refusal_rate is {shadow.harmful_refusal_rate:g}, allowed: more than "
                f"gates.shadow.allowed_refusal_rate ({shadow.allowed_refusal_rate:g})"
            )
        return config


def load_monitor(path: Path) -> MonitorConfig:
    """The monitor file at `path`; raises NotFound or InvalidInput."""
    if not path.is_file():
        raise NotFound(
            f"monitor file {path} does not exist; name another as 'monitor' of the model in tidegate.yaml or write it"
        )
    try:
        value = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InvalidInput(f"monitor file {path} is not YAML: {error}") from error
    return MonitorConfig.from_json(value, str(path))


def monitor_of(folder: Path, manifest: ReleaseManifest) -> MonitorConfig:
    """The rules a release carries, digest verified. A rule that this version does not know is not left out: IntegrityError."""
    where = f"release {manifest.id}"
    value = MONITOR_FORMAT.parse(verified_bytes(folder, manifest, MONITOR), where)
    MONITOR_FORMAT.refuse(unknown_keys(value, MonitorConfig), where)
    return MonitorConfig.from_json(value, f"{where}: {MONITOR}")


def _section(cls: type, value: Any, source: str, path: str) -> Any:
    fields = {f.name: f for f in dataclasses.fields(cls)}
    where = path or "the file"
    if not isinstance(value, Mapping):
        raise InvalidInput(f"{source}: {where} is {value!r}, allowed: a mapping with {', '.join(fields)}")
    for key in value:
        if key not in fields:
            raise InvalidInput(f"{source}: unknown key '{_join(path, str(key))}'; {did_you_mean(str(key), fields)}")
    hints = get_type_hints(cls)
    read = {}
    for name, spec in fields.items():
        if name not in value and spec.default is not dataclasses.MISSING:
            read[name] = spec.default
            continue
        if name not in value:
            raise InvalidInput(f"{source}: key '{_join(path, name)}' is missing, required: {_allowed(hints[name], spec)}")
        kind = hints[name]
        key = _join(path, name)
        if dataclasses.is_dataclass(kind) and isinstance(kind, type):
            read[name] = _section(kind, value[name], source, key)
        else:
            read[name] = _scalar(kind, spec, value[name], source, key)
    return cls(**read)


def _scalar(kind: Any, spec: dataclasses.Field[Any], value: Any, source: str, key: str) -> Any:
    wrong = InvalidInput(f"{source}: {key} is {value!r}, allowed: {_allowed(kind, spec)}")
    if "mapping" in spec.metadata:
        if not isinstance(value, Mapping) or not all(isinstance(v, str) and isinstance(k, str) for k, v in value.items()):
            raise wrong
        return dict(value)
    if "choices" in spec.metadata:
        if value not in spec.metadata["choices"]:
            raise wrong
        return value
    if isinstance(value, bool) or not isinstance(value, int if kind is int else (int, float)):
        raise wrong
    if not (math.isfinite(value) and spec.metadata["low"] <= value <= spec.metadata["high"]):
        raise wrong
    return kind(value)


def _allowed(kind: Any, spec: dataclasses.Field[Any]) -> str:
    if "mapping" in spec.metadata:
        return f"a mapping {spec.metadata['mapping']}"
    if "choices" in spec.metadata:
        return " or ".join(spec.metadata["choices"])
    if "low" not in spec.metadata:
        return "a mapping with " + ", ".join(f.name for f in dataclasses.fields(kind))
    low, high = spec.metadata["low"], spec.metadata["high"]
    span = f"of at least {low:g}" if math.isinf(high) else f"from {low:g} to {high:g}"
    return f"{'a whole number' if kind is int else 'a number'} {span}"


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
