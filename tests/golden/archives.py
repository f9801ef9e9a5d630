"""Golden state folders, unpacked where a test wants them."""

from __future__ import annotations

import json
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

STATES = Path(__file__).parent / "states"
RELEASES = Path(__file__).parent / "releases"
NAMES = sorted(path.name.removesuffix(".tar.xz") for path in STATES.glob("*.tar.xz"))


@dataclass(frozen=True)
class GoldenState:
    """`state` as the commit left it, the `project` it was made with (without its raw files), and answers that it gave."""

    root: Path

    @property
    def state(self) -> Path:
        return self.root / "state"

    @property
    def project(self) -> Path:
        return self.root / "project"

    def requests(self) -> list[dict[str, Any]]:
        """`id`, `body` and `answer` of requests that the release which is live answered."""
        return json.loads((self.root / "requests.json").read_bytes())

    def releases(self) -> list[Path]:
        """The oldest first."""
        return sorted((self.state / "releases").iterdir(), key=lambda folder: folder.stat().st_mtime)


def unpack(name: str, root: Path) -> GoldenState:
    with tarfile.open(STATES / f"{name}.tar.xz") as archive:
        archive.extractall(root, filter="data")
    return GoldenState(root)
