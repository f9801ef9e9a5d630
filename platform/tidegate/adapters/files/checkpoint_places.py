"""Places for the ledger's checkpoint: a file on another disk or share, or a URL that answers GET and takes PUT.

For a URL, TIDEGATE_CHECKPOINT_TOKEN is sent as a bearer token where it is set. A place is asked with a short time-out, because
an append waits for it.
"""

from __future__ import annotations

import http.client
import os
import urllib.error
import urllib.request
from pathlib import Path

from tidegate.domain.errors import InvalidInput, NotFound, Unavailable
from tidegate.domain.signed_notes import MOST_BYTES
from tidegate.files.durable_files import replace_durably
from tidegate.ports.ledger import CheckpointPlace

TIMEOUT_SECONDS = 2.0
TOKEN = "TIDEGATE_CHECKPOINT_TOKEN"  # noqa: S105 - the variable's name


def checkpoint_place(setting: str, root: Path, state: Path) -> CheckpointPlace | None:
    """The place that a project's setting names, None for an empty one. A path is relative to `root`, the project's folder.

    Raises InvalidInput for a path below `state`: there it would go, and be replaced, with the ledger.
    """
    if not setting:
        return None
    if setting.startswith(("http://", "https://")):
        return UrlPlace(setting)
    path = (root / Path(setting).expanduser()).resolve()
    if path.is_relative_to(state.resolve()):
        raise InvalidInput(
            f"ledger.checkpoint names {path}, which lies in the state folder {state} that it is to watch over; name a file "
            "elsewhere"
        )
    return FilePlace(path)


class FilePlace:
    """A file. Its folder has to be there: where a share is not mounted, nothing is written in its place."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def name(self) -> str:
        return str(self._path)

    def read(self) -> bytes | None:
        try:
            with self._path.open("rb") as handle:
                return handle.read(MOST_BYTES + 1)
        except FileNotFoundError as error:
            if self._path.parent.is_dir():
                return None
            raise Unavailable(
                f"the checkpoint at {self._path} cannot be reached: there is no folder {self._path.parent}"
            ) from error
        except OSError as error:
            raise Unavailable(f"the checkpoint at {self._path} cannot be read: {error.strerror}") from error

    def write(self, content: bytes) -> None:
        if not self._path.parent.is_dir():
            raise Unavailable(f"the checkpoint at {self._path} cannot be written: there is no folder {self._path.parent}")
        replace_durably(self._path, content)


class UrlPlace:
    def __init__(self, url: str) -> None:
        self._url = url

    @property
    def name(self) -> str:
        return self._url

    def read(self) -> bytes | None:
        try:
            return self._ask("GET", None)
        except NotFound:
            return None

    def write(self, content: bytes) -> None:
        try:
            self._ask("PUT", content)
        except NotFound as error:
            raise Unavailable(str(error)) from error

    def _ask(self, method: str, content: bytes | None) -> bytes:
        headers = {"Content-Type": "text/plain; charset=utf-8"} if content is not None else {}
        if token := os.environ.get(TOKEN):
            headers["Authorization"] = f"Bearer {token}"
        request = urllib.request.Request(self._url, content, headers, method=method)  # noqa: S310 - http(s) by `checkpoint_place`
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:  # noqa: S310
                return bytes(answer.read(MOST_BYTES + 1))
        except urllib.error.HTTPError as error:
            kind = NotFound if error.code == 404 else Unavailable
            raise kind(f"the checkpoint at {self._url}: {method} was answered {error.code}") from error
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise Unavailable(f"the checkpoint at {self._url} cannot be reached: {error}") from error
