"""What a monitor file says about how a model's answers and traffic are looked at: `outputs`, `profile`, `watch`.

    outputs: {quantiles: quantity, label: label, probabilities: distribution, score: score, embedding: embedding}
    profile: monitoring/returns_profile.py:profile    # function(tensors) -> {column: [n]}
    watch: {every: 7d}

An output that is not named is a quantity where it has fractions, and a label otherwise. The profile's file is named from the
project's folder, or from that of the monitor file; a release carries it as `profile/NAME.py`, and it runs from verified bytes.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from tidegate.domain.errors import InvalidInput, NotFound
from tidegate.domain.project import did_you_mean
from tidegate.domain.release import ReleaseManifest
from tidegate.domain.rules import UnknownKey
from tidegate.files.release_folder import MONITOR, verified_bytes
from tidegate.files.source_code import Sources
from tidegate.statistics.disagreement import KINDS

KEYS = ("outputs", "profile", "watch")
WEEK = 7 * 86_400
UNITS = {"m": 60, "h": 3_600, "d": 86_400, "w": WEEK}
ProfileFunction = Callable[[Mapping[str, np.ndarray]], Mapping[str, np.ndarray]]
_PROFILE = re.compile(r"([\w./-]*[A-Za-z_]\w*\.py):([A-Za-z_]\w*)")
_EVERY = re.compile(r"([1-9][0-9]{0,4})([mhdw])")


@dataclass(frozen=True)
class Judged:
    """`outputs` maps an output to its kind; `profile` is `FILE.py:function` or empty; a window of the watch is `every`
    seconds long, written as `watch_every`."""

    outputs: Mapping[str, str] = field(default_factory=dict)
    profile: str = ""
    watch_every: str = ""

    @property
    def every(self) -> int:
        match = _EVERY.fullmatch(self.watch_every)
        return int(match[1]) * UNITS[match[2]] if match else WEEK

    @property
    def profile_file(self) -> str:
        return self.profile.partition(":")[0]

    def to_json(self) -> dict[str, Any]:
        """What was said, and nothing else: a file without these keys has the same bytes as before they were there."""
        said: dict[str, Any] = {"outputs": dict(self.outputs)} if self.outputs else {}
        said |= {"profile": self.profile} if self.profile else {}
        return said | ({"watch": {"every": self.watch_every}} if self.watch_every else {})

    @classmethod
    def read(cls, value: Mapping[str, Any], source: str) -> Judged:
        """Of the keys of a monitor file; raises InvalidInput."""
        outputs, profile, watch = value.get("outputs", {}), value.get("profile", ""), value.get("watch", {})
        if not isinstance(outputs, Mapping) or not all(isinstance(part, str) for pair in outputs.items() for part in pair):
            raise InvalidInput(f"{source}: outputs is {outputs!r}, allowed: a mapping OUTPUT: {' | '.join(KINDS)}")
        for name, kind in outputs.items():
            if kind not in KINDS:
                raise InvalidInput(f"{source}: outputs.{name} is '{kind}', allowed: {', '.join(KINDS)}")
        if profile and (not isinstance(profile, str) or not _PROFILE.fullmatch(profile) or ".." in profile):
            raise InvalidInput(f"{source}: profile is {profile!r}, allowed: FILE.py:function, a path within the project")
        if not isinstance(watch, Mapping):
            raise InvalidInput(f"{source}: watch is {watch!r}, allowed: a mapping with every")
        for key in watch:
            if key != "every":
                raise UnknownKey(source, f"watch.{key}", did_you_mean(str(key), ("every",)))
        every = watch.get("every", "")
        if every and not (isinstance(every, str) and _EVERY.fullmatch(every)):
            raise InvalidInput(f"{source}: watch.every is {every!r}, allowed: a whole number and m, h, d or w, such as 7d")
        return cls(dict(outputs), profile, every)


def judged_of(folder: Path, manifest: ReleaseManifest) -> Judged:
    """As the release's copy of its monitor file says, digest verified."""
    where = f"release {manifest.id}: {MONITOR}"
    value = json.loads(verified_bytes(folder, manifest, MONITOR))
    return Judged.read(value if isinstance(value, Mapping) else {}, where)


def found_profile(judged: Judged, monitor: Path) -> tuple[Judged, dict[str, bytes]]:
    """`judged` as a release has it, and the profile's file by its path there; raises NotFound. A file is looked for beside
    the monitor file and then in the folders around it."""
    if not judged.profile:
        return judged, {}
    file, function = judged.profile.split(":")
    path = next((folder / file for folder in monitor.absolute().parents if (folder / file).is_file()), None)
    if path is None:
        raise NotFound(
            f"{monitor}: there is no file {file}, which profile names; write it, or name it from the project's folder"
        )
    carried, content = f"profile/{path.name}", path.read_bytes()
    load_profile(f"{carried}:{function}", content, path.parent, str(monitor))
    return replace(judged, profile=f"{carried}:{function}"), {carried: content}


def load_profile(profile: str, content: bytes, folder: Path, where: str) -> ProfileFunction:
    """The function that `profile` names, of the file's `content`; raises InvalidInput that names `where`."""
    file, name = profile.split(":")
    label = f"tidegate_profile_{hashlib.sha256(content).hexdigest()[:32]}"
    try:
        module = Sources(label, {file: content}, folder).module(file)
    except (Exception, SystemExit) as error:
        raise InvalidInput(f"{where}: {file} cannot be loaded: {type(error).__name__}: {error}") from error
    function: Any = getattr(module, name, None)
    if not callable(function):
        raise InvalidInput(f"{where}: {file} has no function '{name}(tensors)' that returns columns by name")
    made: ProfileFunction = function
    return made
