"""The ledger as a file of lines, with an Ed25519-signed head kept apart from it.

    FOLDER/ledger.jsonl     one entry a line (see tidegate.ledger.chain)
    FOLDER/lock             an flock that makes appends of several processes take turns
    KEYS/head.json          sequence, hash and size of what is acknowledged, and its signature
    KEYS/ledger.key, .pub   see tidegate.adapters.files.ledger_keys

An append, under the lock: check what is there; sign the intent (hash of the entry to come) into the head; write the line and
fsync it; sign the head that covers it; tell the checkpoint's place; return. After a crash the next append finds either no line,
a torn line (it was never acknowledged: cut off) or the whole announced line (kept). Anything else is someone else's: nothing is
appended to a ledger that does not verify. The head is written before the key on first use, so a key without a head means that
the head was taken away. Reading changes nothing, and needs no more than leave to read.
"""

from __future__ import annotations

import base64
import fcntl
import hashlib
import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from tidegate.adapters.files.ledger_checkpoints import Checkpoints
from tidegate.adapters.files.ledger_keys import ADVICE, private_pem, public_pem, read_private, read_public
from tidegate.domain.errors import IntegrityError, Unavailable
from tidegate.files.durable_files import sync_folder
from tidegate.ledger.audit import absent, unrecorded
from tidegate.ledger.chain import Head, check_chain, from_line, marked_lines, next_entry, signed_bytes, split_lines, to_line
from tidegate.ports.ledger import CheckpointPlace, Entry, Line, Verification


class FileLedger:
    """Implements `tidegate.ports.ledger.Ledger`. `clock` gives seconds since the epoch; `rollouts` the ids of those that the
    state folder has, which the ledger must know; `checkpoints` is where its checkpoint lies, None for nowhere."""

    def __init__(
        self,
        folder: Path,
        keys: Path,
        clock: Callable[[], float] = time.time,
        rollouts: Callable[[], Sequence[str]] = lambda: (),
        checkpoints: CheckpointPlace | None = None,
    ) -> None:
        self.folder = folder
        self._path = folder / "ledger.jsonl"
        self._lock_path = folder / "lock"
        self._head_path = keys / "head.json"
        self._key_path = keys / "ledger.key"
        self._public_path = keys / "ledger.pub"
        self._clock = clock
        self._rollouts = rollouts
        self._checkpoints = Checkpoints(checkpoints) if checkpoints else None
        self._sound = (Head(), hashlib.sha256().digest())  # how far it was found sound, and the digest of those bytes
        self._audited = False
        self._mutex = threading.Lock()  # of threads that share this object: what was sound may not run ahead of what is read

    @property
    def begun(self) -> bool:
        """Whether anything of a ledger is there."""
        return any(path.exists() for path in (self._path, self._head_path, self._key_path, self._public_path))

    def append(self, action: str, subject: str, body: Mapping[str, Any], actor: str = "tidegate") -> Entry:
        """Durable when it returns. Raises InvalidInput (body), IntegrityError (tampering), Unavailable (disk)."""
        try:
            with self._mutex, self._locked():
                return self._append(action, subject, body, actor)
        except OSError as error:
            raise Unavailable(
                f"ledger: cannot record '{action}' of {subject} in {self._path} ({error.strerror or error}); nothing "
                "was recorded, free space or fix the permissions and try again"
            ) from error

    def entries(self) -> Iterator[Entry]:
        """Acknowledged entries, oldest first; raises IntegrityError, before the first, when the ledger does not verify."""
        with self._mutex:
            content, head = self._snapshot()
            if problem := self._problem_of(content, head):
                raise IntegrityError(f"ledger: {problem}; {ADVICE}")
        lines, _ = split_lines(content)
        for number, line in enumerate(lines[: head.sequence], start=1):
            yield from_line(line, number)

    def lines(self) -> Iterator[Line]:
        try:
            content, head = self._snapshot()
        except IntegrityError:
            yield from marked_lines(self._content(), None)
        else:
            yield from marked_lines(content, head)

    def verify(self) -> Verification:
        """Raises Unavailable for what cannot be read."""
        said = ""
        with self._mutex:
            try:
                content, head = self._snapshot()
            except IntegrityError as error:
                return Verification(False, 0, "", str(error).removeprefix("ledger: "))
            problem = self._problem_of(content, head)
        if not problem and self._checkpoints and head.sequence:
            problem, said = self._checkpoints.compare(content, head, read_public(self._public_path))
        elif not problem and self._checkpoints:
            problem = self._checkpoints.forbids_to_begin()
        return Verification(not problem, head.sequence, head.hash, problem, said)

    # --- appending, under the lock ----------------------------------------------------------------------------------

    def _append(self, action: str, subject: str, body: Mapping[str, Any], actor: str) -> Entry:
        key = self._key()
        head, content = self._read_head(read_public(self._public_path)), self._content()
        problem = self._problem_of(content, head)
        if not problem and self._checkpoints:
            problem, _ = self._checkpoints.compare(content, head, key.public_key())
        if not problem and key.public_key() != read_public(self._public_path):
            problem = f"{self._key_path} and {self._public_path} are not of one pair: one was replaced"
        if problem:
            raise IntegrityError(f"ledger: {problem}; '{action}' of {subject} was not recorded, {ADVICE}")
        head = self._settled(content, head, key)
        entry = next_entry(head, self._clock(), actor, action, subject, body)
        line = to_line(entry)
        covered = Head(entry.sequence, entry.hash, head.size + len(line))
        self._write_head(replace(head, pending=entry.hash), key)
        self._write_line(line, head.size)
        try:
            self._write_head(covered, key)
        except OSError:  # nobody is told of the entry, so it must not be found there later
            with suppress(OSError):
                os.truncate(self._path, head.size)
            raise
        if self._checkpoints:
            self._checkpoints.write(covered, key)
        return entry

    def _settled(self, content: bytes, head: Head, key: Ed25519PrivateKey) -> Head:
        """The head once it is settled what a crash left after it: sound content has nothing there but what was announced."""
        lines, _ = split_lines(content[head.size :])
        if lines:
            adopted = Head(head.sequence + 1, from_line(lines[0], head.sequence + 1).hash, len(content))
            self._write_head(adopted, key)
            return adopted
        if len(content) > head.size:
            os.truncate(self._path, head.size)  # a torn line that nobody was told about
        return replace(head, pending=None)

    def _key(self) -> Ed25519PrivateKey:
        """The signing key; created with an empty signed head on first use."""
        if self._key_path.exists():
            return read_private(self._key_path)
        if not self._head_is_empty() or (self._path.exists() and self._path.stat().st_size):
            raise IntegrityError(f"ledger: {self._path} has entries but the key {self._key_path} is missing; {ADVICE}")
        if problem := absent(self._rollouts()):
            raise IntegrityError(f"ledger: {self._path}: {problem}; {ADVICE}")
        if self._checkpoints and (problem := self._checkpoints.forbids_to_begin()):
            raise IntegrityError(f"ledger: {self._path}: {problem}; {ADVICE}")
        self._key_path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        key = Ed25519PrivateKey.generate()
        self._write_head(Head(), key)
        _replace_file(self._public_path, public_pem(key), 0o644)
        _replace_file(self._key_path, private_pem(key), 0o600)
        return key

    def _write_head(self, head: Head, key: Ed25519PrivateKey) -> None:
        value = head.to_json()
        signature = base64.b64encode(key.sign(signed_bytes(value))).decode()
        _replace_file(self._head_path, json.dumps({**value, "signature": signature}).encode(), 0o644)

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
            sync_folder(self._path.parent)

    # --- reading ----------------------------------------------------------------------------------------------------

    def _problem_of(self, content: bytes, head: Head) -> str:
        """Why the ledger does not verify, empty where it does. What was found sound before is only hashed again."""
        known, digest = self._sound
        begun = hashlib.sha256(memoryview(content)[: known.size])
        unchanged = len(content) >= known.size and begun.digest() == digest
        covers = replace(head, pending=None)
        found = check_chain(content, head, known if unchanged and (known.sequence < head.sequence or known == covers) else None)
        if not found.ok:
            return found.problem
        if not unchanged:
            return (
                f"its first {known.sequence} entries are not those that this process read before: it was cut or replaced; "
                "after a restore from a backup, start the process again"
            )
        if not self._audited and (rollouts := self._rollouts()):
            lines, _ = split_lines(content)
            entries = (from_line(line, number) for number, line in enumerate(lines, start=1))
            if problem := unrecorded(rollouts, entries) if self.begun else absent(rollouts):
                return problem
        begun.update(memoryview(content)[known.size : head.size])  # a head that is sound covers what was found sound before
        self._sound, self._audited = (covers, begun.digest()), True
        return ""

    def _snapshot(self) -> tuple[bytes, Head]:
        """The file and its verified head as of one moment. Raises IntegrityError, or Unavailable for what cannot be read."""
        if not self.begun:
            return b"", Head()
        with self._shared():
            content = self._content()
            if not self._public_path.exists() and not content and not self._key_path.exists() and self._head_is_empty():
                return b"", Head()  # the very first append was interrupted
            try:
                return content, self._read_head(read_public(self._public_path))
            except OSError as error:
                raise Unavailable(f"ledger: {self._public_path.parent} cannot be read: {error.strerror}") from error

    def _content(self) -> bytes:
        try:
            return self._path.read_bytes()
        except FileNotFoundError:
            return b""
        except OSError as error:
            raise Unavailable(f"ledger: {self._path} cannot be read: {error.strerror}") from error

    def _head_is_empty(self) -> bool:
        """Whether the head, signed or not, claims no entry."""
        try:
            return int(json.loads(self._head_path.read_bytes())["sequence"]) == 0
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return not self._head_path.exists()

    def _read_head(self, public: Ed25519PublicKey) -> Head:
        try:
            value = json.loads(self._head_path.read_bytes())
            signature = base64.b64decode(value.pop("signature"))
            public.verify(signature, signed_bytes(value))
            return Head.from_json(value)
        except FileNotFoundError as error:
            raise IntegrityError(f"ledger: the signed head {self._head_path} is missing; {ADVICE}") from error
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError, InvalidSignature) as error:
            reason = "its signature does not match" if isinstance(error, InvalidSignature) else str(error)
            raise IntegrityError(f"ledger: the head {self._head_path} cannot be trusted: {reason}; {ADVICE}") from error

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self._lock_path.parent.mkdir(parents=True, exist_ok=True)
        with self._lock_path.open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    @contextmanager
    def _shared(self) -> Iterator[None]:
        """No append meanwhile. A copy that lies where nothing can be written, or has no lock, has no writer either."""
        try:
            lock = self._lock_path.open("rb")
        except OSError:
            yield
            return
        with lock:
            with suppress(OSError):  # a file system that has no locks
                fcntl.flock(lock, fcntl.LOCK_SH)
            yield


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
    sync_folder(path.parent)
