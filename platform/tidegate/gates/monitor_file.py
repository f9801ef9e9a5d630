"""The monitor file of a model: SLOs, gates with every threshold, promotion margins. Frozen once read.

`load_monitor` reads `monitoring/MODEL.yaml`; a release carries the same values as `monitor.json`, and gates are those of the
copy of the release they judge (`monitor_of`). A number that decides a rollout is written down where people see it; what was
added since the first releases has a default, so that their copies are read as before. Messages name file, key, what was
observed and what is allowed.

`gates` is a list of `{name, kind, stage, on_fail, rules}`. Files of version 1 named four gates in a mapping; they are read to
the same gates. Reading a release's copy runs no code of the release: rules of a gate of one's own (`own_kinds`) are checked
when the project's file is read, and where the gate is asked.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import yaml

from tidegate.domain.errors import InvalidInput, NotFound
from tidegate.domain.formats import Format, Unknown
from tidegate.domain.project import did_you_mean
from tidegate.domain.release import ReleaseManifest
from tidegate.domain.rules import UnknownKey, between, choice, read_section
from tidegate.files.release_folder import MONITOR, verified_bytes
from tidegate.gates.judged import KEYS, Judged, found_profile
from tidegate.gates.kinds import KINDS, load_kind
from tidegate.gates.own_kinds import OWN_FORM, load_own_kind, own_file
from tidegate.ports.gates import GateKind, GateStage, Slo

# what version 1 wrote is taken in people's files, too, so nothing is left to be upgraded
MONITOR_FORMAT = Format(MONITOR, Unknown.REFUSED, newest=2, upgrades={1: dict})
NAME = re.compile(r"[a-z]([a-z0-9-]{0,38}[a-z0-9])?")  # as charts and the gate service's addresses take it
SECTIONS = ("slo", "gates", "promotion", *KEYS)
BAKES_FOR = 12.0  # seconds, unless the file says otherwise
FORMER = {"parity": GateStage.VERIFY, "shadow": GateStage.SHADOW, "drift": GateStage.SHADOW, "bake": GateStage.BAKE}
OwnKind = Callable[[str], GateKind]


@dataclass(frozen=True)
class GateSpec:
    """One gate of a release. A PASS counts `min_seconds` after its stage began; without one `timeout_seconds` after that the
    rollout ends. `on_fail` freeze is for what is no harm, such as inputs that drifted. `rules` are those of its kind."""

    name: str
    kind: str
    stage: str = choice(*GateStage)
    on_fail: str = choice("rollback", "freeze", default="rollback")
    timeout_seconds: float = between(1, default=120.0)
    min_seconds: float = between(0, default=0.0)
    rules: Mapping[str, Any] = field(default_factory=dict)

    def read_rules(self, kind: GateKind, source: str) -> Any:
        """As the kind's `Rules`; raises InvalidInput."""
        return read_section(kind.Rules, self.rules, source, f"gates.{self.name}")


@dataclass(frozen=True)
class Margin:
    margin: float = between(0, 10)


@dataclass(frozen=True)
class Segments:
    max_worse: float = between(0, 10)
    min_rows: int = between(1)


@dataclass(frozen=True)
class PromotionRules:
    """Offline gates. Margins are shares of the other's summed loss; a segment below `min_rows` is not judged. `without_*`
    say what becomes of a version that has nothing of the kind to be compared with, or whose losses the platform cannot compute
    (`without_scores: pipeline` takes the word of the project's own pipelines, and of no other trainer). `min_spread` is the
    part of the champion's answers unlike its commonest one that a version must keep: one that says the same to everything is
    refused."""

    beats_baseline: Margin
    no_worse_than_champion: Margin
    segments: Segments
    min_rows: int = between(1)
    without_baseline: str = choice("pass", "fail", default="fail")
    without_champion: str = choice("pass", "fail", default="pass")
    without_segments: str = choice("pass", "fail", default="fail")
    without_scores: str = choice("pass", "pipeline", "fail", default="pipeline")
    min_spread: float = between(0, 1, default=0.1)

    def to_json(self) -> dict[str, Any]:
        """Without what was added since the first releases, where it has its default: what says the same has the same bytes."""
        later = ("without_baseline", "without_champion", "without_segments", "without_scores", "min_spread")
        added = {each.name: each.default for each in fields(self) if each.name in later}
        return {name: value for name, value in asdict(self).items() if name not in added or added[name] != value}


@dataclass(frozen=True)
class _Rest:
    slo: Slo
    promotion: PromotionRules


@dataclass(frozen=True)
class MonitorConfig:
    """`own` are the files of gates of one's own and of the profile, by their paths, of a file that was read from a project."""

    slo: Slo
    gates: tuple[GateSpec, ...]
    promotion: PromotionRules
    judged: Judged = field(default_factory=Judged)
    own: Mapping[str, bytes] = field(default_factory=dict, compare=False, repr=False)

    @property
    def before_switch(self) -> tuple[GateSpec, ...]:
        """In the order in which they are asked: by stage, and within one as the file has them."""
        return (*self._at(GateStage.VERIFY), *self._at(GateStage.SHADOW))

    @property
    def after_switch(self) -> tuple[GateSpec, ...]:
        return tuple(self._at(GateStage.BAKE))

    def gate(self, name: str, of: str = "the monitor file") -> GateSpec:
        """Raises NotFound."""
        found = next((gate for gate in self.gates if gate.name == name), None)
        if found is None:
            raise NotFound(f"{of} has no gate '{name}'; {did_you_mean(name, [gate.name for gate in self.gates])}")
        return found

    def rules_of(self, kind: str) -> Any:
        """Of the first gate of a kind of the platform; the kind's defaults where there is no such gate."""
        rules = next((gate.rules for gate in self.gates if gate.kind == kind), {})
        return read_section(load_kind(kind).Rules, rules, "the monitor file", f"gates of kind {kind}")

    def to_json(self) -> dict[str, Any]:
        gates = [asdict(gate) for gate in self.gates]
        return {"slo": asdict(self.slo), "gates": gates, "promotion": self.promotion.to_json(), **self.judged.to_json()}

    def release_copy(self) -> dict[str, Any]:
        """What a release carries as `monitor.json`."""
        return {"schema": MONITOR_FORMAT.newest, **self.to_json()}

    @classmethod
    def from_json(cls, value: Any, source: str = "monitor.json", own: OwnKind | None = None) -> MonitorConfig:
        """Raises InvalidInput naming `source`, key, observed and allowed. Without `own`, which gives a kind by its path, rules
        of gates of one's own are taken as they are."""
        if not isinstance(value, Mapping):
            raise InvalidInput(f"{source}: the file is {value!r}, allowed: a mapping with slo, gates, promotion")
        for key in value:
            if key not in SECTIONS:
                raise UnknownKey(source, str(key), did_you_mean(str(key), SECTIONS))
        if "gates" not in value:
            raise InvalidInput(f"{source}: key 'gates' is missing, required: a list of gates")
        rest = read_section(_Rest, {key: part for key, part in value.items() if key in ("slo", "promotion")}, source)
        return cls(rest.slo, _gates(value["gates"], source, own), rest.promotion, Judged.read(value, source))

    def _at(self, stage: GateStage) -> Iterator[GateSpec]:
        return (gate for gate in self.gates if gate.stage == stage)


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
    files: dict[str, bytes] = {}

    def own(file: str) -> GateKind:
        if not (path.parent / file).is_file():
            raise NotFound(
                f"{path}: there is no {path.parent / file}, which is the kind of a gate; write it or name another kind"
            )
        files.setdefault(file, (path.parent / file).read_bytes())
        return load_own_kind(file, files[file], path.parent, str(path))

    config = MonitorConfig.from_json(value, str(path), own)
    judged, profile = found_profile(config.judged, path)
    return replace(config, judged=judged, own=files | profile)


def monitor_of(folder: Path, manifest: ReleaseManifest) -> MonitorConfig:
    """The rules a release carries, digest verified. A rule that this version does not know is not left out: IntegrityError."""
    where = f"release {manifest.id}"
    value = MONITOR_FORMAT.parse(verified_bytes(folder, manifest, MONITOR), where)
    try:
        return MonitorConfig.from_json(value, f"{where}: {MONITOR}")
    except UnknownKey as error:
        MONITOR_FORMAT.refuse(iter([error.key]), where)
        raise


def _gates(value: Any, source: str, own: OwnKind | None) -> tuple[GateSpec, ...]:
    parts = _former(value, source) if isinstance(value, Mapping) else value
    if not isinstance(parts, list):
        raise InvalidInput(
            f"{source}: gates is {value!r}, allowed: a list of gates, each with name, kind, stage, on_fail and rules"
        )
    gates = tuple(_gate(part, number, source, own) for number, part in enumerate(parts))
    names = [gate.name for gate in gates]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InvalidInput(f"{source}: gates has '{twice}' {names.count(twice)} times, allowed: each gate a name of its own")
    for when, stages in (("before the switch", ("verify", "shadow")), ("after it", ("bake",))):
        if not any(gate.stage in stages for gate in gates):
            raise InvalidInput(
                f"{source}: gates has none of stage {' or '.join(stages)}, required: at least one that is asked {when}"
            )
    return gates


def _gate(value: Any, number: int, source: str, own: OwnKind | None) -> GateSpec:
    where = f"gates[{number}]"
    if not isinstance(value, Mapping):
        raise InvalidInput(f"{source}: {where} is {value!r}, allowed: a mapping with name, kind, stage, on_fail and rules")
    name, rules = value.get("name"), value.get("rules", {})
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise InvalidInput(f"{source}: {where}.name is {name!r}, allowed: small letters, digits and '-', at most 40")
    path = f"gates.{name}"
    spec = read_section(GateSpec, {key: part for key, part in value.items() if key != "rules"}, source, path)
    if not isinstance(rules, Mapping):
        raise InvalidInput(f"{source}: {path}.rules is {rules!r}, allowed: a mapping of the rules of kind {spec.kind}")
    if spec.stage == GateStage.BAKE and spec.on_fail != "rollback":
        raise InvalidInput(
            f"{source}: {path}.on_fail is '{spec.on_fail}', allowed in stage bake: rollback, for clients are served by then"
        )
    if spec.stage == GateStage.BAKE and "min_seconds" not in value:
        spec = replace(spec, min_seconds=BAKES_FOR)
    spec = replace(spec, rules=dict(rules))
    kind = _kind(spec, source, path, own)
    if kind is None:
        return spec
    allowed = tuple(getattr(kind, "STAGES", GateStage))
    if spec.stage not in allowed:
        raise InvalidInput(f"{source}: {path}.stage is '{spec.stage}', allowed for kind {spec.kind}: {' or '.join(allowed)}")
    return replace(spec, rules=asdict(spec.read_rules(kind, source)))


def _kind(spec: GateSpec, source: str, path: str, own: OwnKind | None) -> GateKind | None:
    """None for one of the user's own that is not to be loaded here."""
    if spec.kind in KINDS:
        return load_kind(spec.kind)
    file = own_file(spec.kind)
    if file is not None:
        return own(file) if own else None
    hint = f"allowed: {', '.join(KINDS)} or {OWN_FORM}, a file of your own beside this one"
    raise UnknownKey(source, f"{path}.kind: {spec.kind}", hint)


def _former(value: Mapping[Any, Any], source: str) -> list[dict[str, Any]]:
    """The gates of a file of version 1, which had each of these four with its rules beside what all gates have."""
    for name in value:
        if name not in FORMER:
            raise UnknownKey(source, f"gates.{name}", f"{did_you_mean(str(name), FORMER)}; more gates are written as a list")
    made = []
    for name, stage in FORMER.items():
        if not isinstance(value.get(name), Mapping):
            raise InvalidInput(
                f"{source}: gates.{name} is {value.get(name)!r}, allowed: a mapping with on_fail, timeout_seconds and its rules"
            )
        rules = dict(value[name])
        whole = {key: rules.pop(key) for key in ("on_fail", "timeout_seconds") if key in rules}
        if stage is GateStage.BAKE:
            whole |= {"min_seconds": rules.pop("min_seconds")} if "min_seconds" in rules else {}
            whole |= {"on_fail": "rollback"} if whole.get("on_fail") == "freeze" else {}  # which is what was done
        made.append({"name": name, "kind": name, "stage": stage.value, **whole, "rules": rules})
    return made
