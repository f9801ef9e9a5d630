"""Opening a place for packed rows by its address; the vendor of a place is imported when such a place is opened."""

from __future__ import annotations

from pathlib import Path

from tidegate.adapters.packed.rows import PackedBackend, without_password
from tidegate.domain.errors import InvalidInput
from tidegate.files.feature_folder import REDIS_SCHEMES


def open_backend(address: str, writable: bool = False) -> PackedBackend:
    """The rows at `redis://...#MODEL`, `rediss://...#MODEL` or in the SQLite file at a path."""
    if address.startswith(REDIS_SCHEMES):
        url, _, model = address.partition("#")
        if not model:
            raise InvalidInput(f"online store: the address {without_password(url)} names no model; add it: #MODEL")
        from tidegate.adapters.packed.redis import RedisRows

        return RedisRows(url, model, writable)
    from tidegate.adapters.packed.sqlite import SqliteRows

    return SqliteRows(Path(address))
