"""What the watch has seen of windows that are past, a file a model: derived data, which is made again where it is lost."""

from __future__ import annotations

import json
from collections.abc import Iterator, MutableMapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from tidegate.domain.errors import Unavailable
from tidegate.files.durable_files import replace_durably

KEPT = 500  # windows, the latest ones that were judged


class WatchedWindows(MutableMapping[str, Any]):
    """Read once. A file that cannot be read is none, and what cannot be written is done without: looking needs no disk."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            found = json.loads(path.read_bytes())
        except (OSError, ValueError):
            found = {}
        self._windows: dict[str, Any] = found if isinstance(found, dict) else {}

    def __getitem__(self, key: str) -> Any:
        return self._windows[key]

    def __setitem__(self, key: str, value: Any) -> None:
        self._windows[key] = value
        while len(self._windows) > KEPT:
            del self._windows[next(iter(self._windows))]
        self._write()

    def __delitem__(self, key: str) -> None:
        del self._windows[key]
        self._write()

    def __iter__(self) -> Iterator[str]:
        return iter(self._windows)

    def __len__(self) -> int:
        return len(self._windows)

    def _write(self) -> None:
        with suppress(OSError, Unavailable):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            replace_durably(self._path, json.dumps(self._windows).encode())
