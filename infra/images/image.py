"""What an image is called, and where its archive lies."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

NONROOT = "65532:65532"


@dataclass(frozen=True)
class Image:
    """A built image: its archive and digest. `tag` is its name with a tag."""

    name: str
    tag: str
    digest: str
    archive: Path

    @property
    def repository(self) -> str:
        return f"localhost/tidegate/{self.name}"

    @property
    def pinned(self) -> str:
        return f"{self.repository}@{self.digest}"

    @property
    def tagged(self) -> str:
        return f"{self.repository}:{self.tag}"
