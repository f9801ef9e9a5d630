"""The ledger as a file of lines, with an Ed25519-signed head kept apart from it.

    FOLDER/ledger.jsonl     one entry a line (see tidegate.ledger.chain)
    FOLDER/lock             an flock that makes appends of several processes take turns
    KEYS/head.json          sequence, hash and size of what is acknowledged, and its signature
    KEYS/ledger.key         private key, mode 0600;   KEYS/ledger.pub: public key, all that verification needs

An append, under the lock: sign the intent (hash of the entry to come) into the head; write the line and fsync it; sign the head
that covers it; return. After a crash the next append finds either no line, a torn line (it was never acknowledged: cut off)
or the whole announced line (kept). Bytes after the head that were not announced are someone else's: they are refused, not cut.
The head is written before the key on first use, so a key without a head means that the head was taken away.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from tidegate.domain.errors import IntegrityError, Unavailable
from tidegate.ledger.chain import Head, check_chain, from_line, next_entry, split_lines, to_line
from tidegate.ports.ledger import Entry, Verification

ADVICE = "run 'tidegate ledger verify', and restore the ledger and its keys from a backup if it was changed"


class FileLedger:
    """Implements `tidegate.ports.ledger.Ledger`. `clock` gives seconds since the epoch."""

    def __init__(self, folder: Path, keys: Path, clock: Callable[[], float] = time.time) -> None:
        self._path = folder / "ledger.jsonl"
        self._lock_path = folder / "lock"
        self._head_path = keys / "head.json"
        self._key_path = keys / "ledger.key"
        self._public_path = keys / "ledger.pub"
        self._clock = clock

    def append(self, action: str, subject: str, body: Mapping[str, Any], actor: str = "tidegate") -> Entry:
        """Durable when it returns. Raises InvalidInput (body), IntegrityError (tampering), Unavailable (disk)."""
        try:
            with self._locked():
                key = self._key()
                head = self._recovered(self._read_head(key.public_key()), key)
                entry = next_entry(head, self._clock(), actor, action, subject, body)
                line = to_line(entry)
                self._write_head(replace(head, pending=entry.hash), key)
                self._write_line(line, head.size)
                self._write_head(Head(entry.sequence, entry.hash, head.size + len(line)), key)
                return entry
        except OSError as error:
            raise Unavailable(
                f"ledger: cannot record '{action}' of {subject} in {self._path} ({error.strerror or error}); nothing "
                "was recorded, free space or fix the permissions and try again"
            ) from error

    def entries(self) -> Iterator[Entry]:
        """Acknowledged entries, oldest first; raises IntegrityError at a line that is none."""
        content, head = self._snapshot()
        lines, _ = split_lines(content)
        for number, line in enumerate(lines[: head.sequence], start=1):
            yield from_line(line, number)

    def verify(self) -> Verification:
        try:
            content, head = self._snapshot()
        except IntegrityError as error:
            return Verification(False, 0, "", str(error))
        return check_chain(content, head)

    @contextmanager
    def _locked(self, exclusive: bool = True) -> Iterator[None]:
        self._lock_path.parent.mkdir(parents=True, exist_ok=True)
        with self._lock_path.open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH)
            yield

    def _snapshot(self) -> tuple[bytes, Head]:
        """The file and its verified head as of one moment."""
        if not self._path.exists() and not self._head_path.exists() and not self._key_path.exists():
            return b"", Head()
        with self._locked(exclusive=False):
            content = self._path.read_bytes() if self._path.exists() else b""
            if not self._public_path.exists() and not content and not self._key_path.exists() and self._head_is_empty():
                return b"", Head()  # the very first append was interrupted
            return content, self._read_head(self._public_key())

    def _head_is_empty(self) -> bool:
        """Whether the head, signed or not, claims no entry."""
        try:
            return int(json.loads(self._head_path.read_bytes())["sequence"]) == 0
        except (OSError, ValueError, KeyError, TypeError):
            return not self._head_path.exists()

    def _public_key(self) -> Ed25519PublicKey:
        if not self._public_path.exists():
            raise IntegrityError(f"ledger: the public key {self._public_path} is missing; {ADVICE}")
        try:
            key = load_pem_public_key(self._public_path.read_bytes())
        except ValueError as error:
            raise IntegrityError(f"ledger: {self._public_path} is no public key ({error}); {ADVICE}") from error
        if not isinstance(key, Ed25519PublicKey):
            raise IntegrityError(f"ledger: {self._public_path} is no Ed25519 public key; {ADVICE}")
        return key

    def _key(self) -> Ed25519PrivateKey:
        """The signing key; created with an empty signed head on first use."""
        if self._key_path.exists():
            try:
                key = load_pem_private_key(self._key_path.read_bytes(), password=None)
            except ValueError as error:
                raise IntegrityError(f"ledger: {self._key_path} is no private key ({error}); {ADVICE}") from error
            if not isinstance(key, Ed25519PrivateKey):
                raise IntegrityError(f"ledger: {self._key_path} is no Ed25519 key; {ADVICE}")
            return key
        if not self._head_is_empty() or (self._path.exists() and self._path.stat().st_size):
            raise IntegrityError(f"ledger: {self._path} has entries but the key {self._key_path} is missing; {ADVICE}")
        self._key_path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        key = Ed25519PrivateKey.generate()
        self._write_head(Head(), key)
        public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        _replace_file(self._public_path, public, 0o644)
        _replace_file(self._key_path, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), 0o600)
        return key

    def _read_head(self, public: Ed25519PublicKey) -> Head:
        if not self._head_path.exists():
            raise IntegrityError(f"ledger: the signed head {self._head_path} is missing; {ADVICE}")
        try:
            value = json.loads(self._head_path.read_bytes())
            signature = base64.b64decode(value.pop("signature"))
            head = Head(**value)
            public.verify(signature, head.to_bytes())
        except (ValueError, KeyError, TypeError, AttributeError, InvalidSignature) as error:
            reason = "its signature does not match" if isinstance(error, InvalidSignature) else str(error)
            raise IntegrityError(f"ledger: the head {self._head_path} cannot be trusted: {reason}; {ADVICE}") from error
        return head

    def _write_head(self, head: Head, key: Ed25519PrivateKey) -> None:
        signature = base64.b64encode(key.sign(head.to_bytes())).decode()
        _replace_file(self._head_path, json.dumps({**asdict(head), "signature": signature}).encode(), 0o644)

    def _recovered(self, head: Head, key: Ed25519PrivateKey) -> Head:
        """The head after what a crash may have left was settled; raises IntegrityError when the end is not ours."""
        content_size = self._path.stat().st_size if self._path.exists() else 0
        if content_size < head.size:
            raise IntegrityError(
                f"ledger: {self._path} has {content_size} bytes, the signed head covers {head.size}: entries are "
                f"missing; {ADVICE}"
            )
        if head.sequence and _last_line(self._path, head.size).hash != head.hash:
            raise IntegrityError(f"ledger: entry {head.sequence} is not the one the signed head names; {ADVICE}")
        if content_size == head.size:
            return head
        with self._path.open("rb") as handle:
            handle.seek(head.size)
            lines, rest = split_lines(handle.read())
        if not head.pending:
            raise IntegrityError(f"ledger: {content_size - head.size} bytes follow entry {head.sequence} unannounced; {ADVICE}")
        if lines and (len(lines) > 1 or rest or from_line(lines[0], head.sequence + 1).hash != head.pending):
            raise IntegrityError(f"ledger: what follows entry {head.sequence} is not the entry that was announced; {ADVICE}")
        if lines:
            adopted = Head(head.sequence + 1, head.pending, content_size)
            self._write_head(adopted, key)
            return adopted
        os.truncate(self._path, head.size)  # a torn line that nobody was told about
        return replace(head, pending=None)

    def _write_line(self, line: bytes, size: int) -> None:
        created = not self._path.exists()
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            written = 0
            try:
                while written < len(line):
                    written += os.write(descriptor, line[written:])
                os.fsync(descriptor)
            except OSError:
                os.ftruncate(descriptor, size)
                raise
        finally:
            os.close(descriptor)
        if created:
            _sync_folder(self._path.parent)


def _last_line(path: Path, size: int) -> Entry:
    """The entry whose line ends at byte `size`."""
    with path.open("rb") as handle:
        step = 4096
        while True:
            start = max(0, size - step)
            handle.seek(start)
            lines, rest = split_lines(handle.read(size - start))
            if rest or not lines:
                raise IntegrityError(f"ledger: no entry of {path} ends at byte {size}, where the signed head ends; {ADVICE}")
            if len(lines) > 1 or start == 0:
                return from_line(lines[-1], len(lines))
            step *= 4


def _replace_file(path: Path, content: bytes, mode: int) -> None:
    """Atomically and durably replace `path`; a reader sees the old or the new content."""
    temporary = path.with_name(f".{path.name}.new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "wb") as handle:
        os.fchmod(descriptor, mode)
        handle.write(content)
        handle.flush()
        os.fsync(descriptor)
    temporary.replace(path)
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
