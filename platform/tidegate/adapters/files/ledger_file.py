"""The ledger as segments of lines, with an Ed25519-signed head kept apart from them.

    FOLDER/ledger*.jsonl    see tidegate.adapters.files.ledger_segments
    FOLDER/lock             an flock that makes appends of several processes take turns
    KEYS/head.json          sequence, hash and size of what is acknowledged, which segments are closed, and its signature
    KEYS/ledger.key, .pub   see tidegate.adapters.files.ledger_keys

An append of one entry or of a batch, under the lock: check what is there; sign the intent (hash of the last entry to come) into
the head; write the lines and fsync them; sign the head that covers them; tell the checkpoint's place; return. After a crash the
next append finds either nothing, a part (it was never acknowledged: cut off) or all that was announced (kept). Anything else is
someone else's: nothing is appended to a ledger that does not verify. A segment that is full is closed by the head that
announces the first entry of the next. The head is written before the key on first use, so a key without a head means that the
head was taken away. Reading changes nothing, and needs no more than leave to read.

A check costs the open segment, hashed, and what is new in it, parsed; of closed segments it asks whether their files are the
same. The first append of a process reads all of them once.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tidegate.adapters.files.ledger_checkpoints import Checkpoints
from tidegate.adapters.files.ledger_head import claims_nothing, read_head, replace_file, write_head
from tidegate.adapters.files.ledger_keys import ADVICE, private_pem, public_pem, read_private, read_public
from tidegate.adapters.files.ledger_segments import SegmentFiles, not_those_read, read_segments
from tidegate.domain.actor import PLATFORM, Actor
from tidegate.domain.errors import IntegrityError, Unavailable
from tidegate.ledger.audit import absent, started, unrecorded
from tidegate.ledger.chain import Head, marked_lines, next_entries, read_chain, to_line
from tidegate.ledger.segments import segment_name
from tidegate.ports.ledger import ALL, CheckpointPlace, Draft, Entry, Line, Query, Verification

SEGMENT_BYTES = 512 * 1024


class FileLedger:
    """Implements `tidegate.ports.ledger.Ledger`. `clock` gives seconds since the epoch; `rollouts` the ids of those that the
    state folder has, which the ledger must know; `checkpoints` is where its checkpoint lies, None for nowhere. A segment that
    has `segment_bytes` is closed by the next append. `by` is the identity of this process."""

    def __init__(
        self,
        folder: Path,
        keys: Path,
        clock: Callable[[], float] = time.time,
        rollouts: Callable[[], Sequence[str]] = lambda: (),
        checkpoints: CheckpointPlace | None = None,
        segment_bytes: int = SEGMENT_BYTES,
        by: Actor | None = None,
    ) -> None:
        self.folder = folder
        self._lock_path = folder / "lock"
        self._head_path = keys / "head.json"
        self._key_path = keys / "ledger.key"
        self._public_path = keys / "ledger.pub"
        self._clock = clock
        self._rollouts = rollouts
        self._checkpoints = Checkpoints(checkpoints) if checkpoints else None
        self._segment_bytes = segment_bytes
        self._by = by
        self._segments = SegmentFiles(folder)
        self._sound = Head()  # how far it was found sound
        self._start = 0  # how many bytes were in closed segments then
        self._digest = hashlib.sha256().digest()  # of the bytes, so far, of the segment that was open
        self._open: tuple[Entry, ...] = ()  # and its acknowledged entries
        self._audited = False
        self._mutex = threading.Lock()  # of threads that share this object: what was sound may not run ahead of what is read

    @property
    def begun(self) -> bool:
        """Whether anything of a ledger is there."""
        return bool(self._segments.paths()) or any(p.exists() for p in (self._head_path, self._key_path, self._public_path))

    def append(self, action: str, subject: str, body: Mapping[str, Any], actor: Actor = PLATFORM) -> Entry:
        """Durable when it returns. Raises InvalidInput (body), IntegrityError (tampering), Unavailable (disk)."""
        return self.append_many([Draft(action, subject, body, actor)])[0]

    def append_many(self, drafts: Sequence[Draft]) -> Sequence[Entry]:
        if not drafts:
            return ()
        more = f" and {len(drafts) - 1} more" if len(drafts) > 1 else ""
        what = f"'{drafts[0].action}' of {drafts[0].subject}{more}"
        try:
            with self._mutex, self._locked():
                return self._append(drafts, what)
        except OSError as error:
            raise Unavailable(
                f"ledger: cannot record {what} in {error.filename or self._segments.open} ({error.strerror or error}); nothing "
                "was recorded, free space or fix the permissions and try again"
            ) from error

    def entries(self, query: Query = ALL, *, newest_first: bool = False) -> Iterator[Entry]:
        """Acknowledged entries that match; raises IntegrityError, before the first, when the ledger is not sound as far as
        `check` looks, and where a closed segment that has to be read was changed."""
        with self._mutex:
            _, problem = self._look()
            if problem:
                raise IntegrityError(f"ledger: {problem}; {ADVICE}")
            closed, last = [each for each in self._segments.seals if each.may_hold(query)], self._open
        older = (self._segments.entries_of(each) for each in (reversed(closed) if newest_first else closed))
        found = chain([last], older) if newest_first else chain(older, [last])
        for entries in found:
            yield from filter(query.matches, reversed(entries) if newest_first else entries)

    def lines(self) -> Iterator[Line]:
        with self._shared():
            *older, newest = self._segments.paths() or [self._segments.open]
            content = b"".join(read_segments([newest]))
            try:
                head = self._signed_head()
            except IntegrityError:
                head = None
        yield from marked_lines(chain(read_segments(older), [content]), head)

    def check(self) -> Verification:
        """Raises Unavailable for what cannot be read."""
        return self._verify(whole=False)

    def verify(self) -> Verification:
        """Raises Unavailable for what cannot be read."""
        return self._verify(whole=True)

    def _verify(self, *, whole: bool) -> Verification:
        said = ""
        with self._mutex:
            try:
                head, problem = self._look()
            except IntegrityError as error:
                return Verification(False, 0, "", str(error).removeprefix("ledger: "))
            if whole:
                problem = self._segments.problem_of_all() or problem
            if not problem and self._checkpoints and head.sequence:
                problem, said = self._checkpoints.compare(self._hash_of, head, read_public(self._public_path))
            elif not problem and self._checkpoints:
                problem = self._checkpoints.forbids_to_begin()
        return Verification(not problem, head.sequence, head.hash, problem, said)

    # --- appending, under the lock ----------------------------------------------------------------------------------

    def _append(self, drafts: Sequence[Draft], what: str) -> Sequence[Entry]:
        key = self._key()
        head = self._signed_head()
        problem = self._problem_of(head) or self._segments.changed(all_read=True)
        if not problem and self._checkpoints:
            problem, _ = self._checkpoints.compare(self._hash_of, head, key.public_key())
        if not problem and key.public_key() != read_public(self._public_path):
            problem = f"{self._key_path} and {self._public_path} are not of one pair: one was replaced"
        if problem:
            raise IntegrityError(f"ledger: {problem}; {what} was not recorded, {ADVICE}")
        head = self._settled(head, key)
        entries = next_entries(head, self._clock, drafts, self._by)
        lines, path, size = b"".join(map(to_line, entries)), self._segments.open, head.size - self._segments.end.size
        if size >= self._segment_bytes:
            head = self._segments.close(head, self._open, path.read_bytes())
            path, size = self.folder / segment_name(head.sequence + 1), 0
        covered = replace(head, sequence=entries[-1].sequence, hash=entries[-1].hash, size=head.size + len(lines))
        self._write_head(replace(head, pending=covered.hash, batch=len(entries)), key)
        self._write_lines(path, lines, size)
        try:
            self._write_head(covered, key)
        except OSError:  # nobody is told of the entries, so they must not be found there later
            with suppress(OSError):
                os.truncate(path, size)
            raise
        if self._checkpoints:
            self._checkpoints.write(covered, key)
        return entries

    def _settled(self, head: Head, key: Ed25519PrivateKey) -> Head:
        """The head once it is settled what a crash left after it: sound content has nothing there but what was announced."""
        path, size = self._segments.open, head.size - self._segments.end.size
        try:
            content = path.read_bytes()[size:]
        except FileNotFoundError:
            content = b""
        left = read_chain(content, head, Head(head.sequence, head.hash, head.size)).entries
        if left and len(left) == head.batch and left[-1].hash == head.pending:
            sequence, hash = left[-1].sequence, left[-1].hash
            adopted = replace(head.settled(), sequence=sequence, hash=hash, size=head.size + len(content))
            self._write_head(adopted, key)
            self._problem_of(adopted)
            return adopted
        if content:
            os.truncate(path, size)  # a part that nobody was told about
        return head.settled()

    def _key(self) -> Ed25519PrivateKey:
        """The signing key; created with an empty signed head on first use."""
        if self._key_path.exists():
            return read_private(self._key_path)
        if not claims_nothing(self._head_path) or any(path.stat().st_size for path in self._segments.paths()):
            raise IntegrityError(f"ledger: {self.folder} has entries but the key {self._key_path} is missing; {ADVICE}")
        if problem := absent(self._rollouts()):
            raise IntegrityError(f"ledger: {self.folder}: {problem}; {ADVICE}")
        if self._checkpoints and (problem := self._checkpoints.forbids_to_begin()):
            raise IntegrityError(f"ledger: {self.folder}: {problem}; {ADVICE}")
        self._key_path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        key = Ed25519PrivateKey.generate()
        self._write_head(Head(), key)
        replace_file(self._public_path, public_pem(key), 0o644)
        replace_file(self._key_path, private_pem(key), 0o600)
        return key

    def _write_head(self, head: Head, key: Ed25519PrivateKey) -> None:
        write_head(self._head_path, head, key)

    def _write_lines(self, path: Path, lines: bytes, size: int) -> None:
        self._segments.write(path, lines, size)

    # --- reading ----------------------------------------------------------------------------------------------------

    def _look(self) -> tuple[Head, str]:
        """The signed head and why the ledger is not sound, empty where it is, as of one moment. Raises IntegrityError for a
        head that cannot be trusted, Unavailable for what cannot be read."""
        if not self.begun:
            return Head(), self._problem_of(Head())
        with self._shared():
            keys = self._public_path.exists() or self._key_path.exists()
            broke_off = not keys and not any(map(_has_content, self._segments.paths())) and claims_nothing(self._head_path)
            head = Head() if broke_off else self._signed_head()  # by the very first append
            return head, self._problem_of(head)

    def _problem_of(self, head: Head) -> str:
        """Why the ledger is not sound, empty where it is; what was found sound is then taken up."""
        problem = self._segments.follow(head) or self._segments.changed(all_read=False)
        if problem:
            return problem
        end, known, entries = self._segments.end, self._sound, self._open
        content = b"".join(read_segments([self._segments.open]))
        if self._start < end.size:  # the segment that was open at the last look is closed
            unchanged, known, entries = self._was_sealed(known), end, ()
            begun = hashlib.sha256()
        else:
            begun = hashlib.sha256(memoryview(content)[: known.size - end.size])
            unchanged = known.size - end.size <= len(content) and begun.digest() == self._digest
        if not unchanged or known.sequence > head.sequence or (known.sequence == head.sequence and known.hash != head.hash):
            known, entries, begun = end, (), hashlib.sha256()
        found = read_chain(content[known.size - end.size :], head, known)
        if found.problem:
            return found.problem
        if not unchanged:
            return not_those_read(self._sound.sequence)
        entries = (*entries, *found.entries[: head.sequence - known.sequence])
        rollouts = () if self._audited else self._rollouts()
        if problem := unrecorded(rollouts, self._starts(entries)) if self.begun else absent(rollouts):
            return problem
        begun.update(memoryview(content)[known.size - end.size : head.size - end.size])
        self._sound, self._start = Head(head.sequence, head.hash, head.size), end.size
        self._digest, self._open = begun.digest(), entries
        self._audited = True
        return ""

    def _was_sealed(self, known: Head) -> bool:
        """Whether the bytes that were read of a segment that was open then are still those that begin it."""
        if not known.sequence:
            return True
        of = next(each for each in self._segments.seals if each.last > self._sound.sequence - len(self._open))
        content = self._segments.content_of(of)
        return hashlib.sha256(memoryview(content)[: known.size - self._start]).digest() == self._digest

    def _starts(self, entries: Sequence[Entry]) -> Callable[[str], bool]:
        recent = {started(entry) for entry in entries}
        return lambda rollout: rollout in recent or any(each.may_start(rollout) for each in self._segments.seals)

    def _hash_of(self, sequence: int) -> str:
        """Of an acknowledged entry. Raises IntegrityError where its segment was changed."""
        if sequence > self._segments.end.sequence:
            return self._open[sequence - self._segments.end.sequence - 1].hash
        of = next(each for each in self._segments.seals if each.last >= sequence)
        return of.hash if of.last == sequence else self._segments.entries_of(of)[sequence - of.first].hash

    def _signed_head(self) -> Head:
        try:
            return read_head(self._head_path, read_public(self._public_path))
        except OSError as error:
            raise Unavailable(f"ledger: {error.filename} cannot be read: {error.strerror}") from error

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


def _has_content(path: Path) -> bool:
    return path.stat().st_size > 0
