"""Between the predictions and their online store: a store that hangs or is away costs one time-out, and nobody waits for it.

A reader gives up by itself (within half a second). After the first time it did, every read is refused at once, and a thread
of ours asks the store until it answers again: no client's request is the one that tries. A row that is damaged is that
request's matter, not the store's.

`quick` says whether the next read may run on the event loop: of a store on this machine's disk, as long as its reads are
quick. What is behind a network, and what was slow lately, is read in another thread (`http_app` sees to that), since
liveness must never wait for it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from tidegate.domain.errors import IntegrityError, TidegateError, Unavailable

if TYPE_CHECKING:
    from tidegate.ports.features import OnlineFeatureReader, OnlineRows

SLOW_SECONDS = 0.02
QUICK_READS = 50  # so many in a row, and the store is trusted again
PAUSES = (0.05, 0.1, 0.25, 0.5, 1.0)  # between two questions to a store that is away; the last one for good

logger = logging.getLogger("tidegate.serving")


class StoreGuard:
    """An OnlineFeatureReader around another. `remote`: its store is behind a network."""

    def __init__(self, reader: OnlineFeatureReader, remote: bool = False, clock: Callable[[], float] = time.monotonic) -> None:
        self._reader, self._remote, self._clock = reader, remote, clock
        self._lock = threading.Lock()
        self._away = ""  # why, when it is
        self._wary = 0  # quick reads that are still to come before the store is trusted
        self._closed = threading.Event()

    @property
    def quick(self) -> bool:
        return not self._remote and not self._wary

    def read(self, entities: Sequence[str]) -> OnlineRows:
        """Raises Unavailable at once while the store is known to be away."""
        rows: OnlineRows = self._guarded(lambda: self._reader.read(entities))
        return rows

    def ping(self) -> None:
        self._guarded(self._reader.ping)

    def close(self) -> None:
        self._closed.set()
        self._reader.close()

    def __getattr__(self, name: str) -> Any:
        """What else a reader tells without asking its store."""
        return getattr(self._reader, name)

    def _guarded(self, ask: Callable[[], Any]) -> Any:
        if self._away:
            raise Unavailable(f"{self._away} (asked again in the background)")
        started = self._clock()
        try:
            answer = ask()
        except IntegrityError as error:
            raise Unavailable(str(error)) from error
        except Unavailable as error:
            self._opened(error)
            raise
        finally:
            slow = self._clock() - started > SLOW_SECONDS
            self._wary = QUICK_READS if slow else max(0, self._wary - 1)
        return answer

    def _opened(self, error: Unavailable) -> None:
        with self._lock:
            if self._away or self._closed.is_set():
                return
            self._away = str(error)
        logger.warning("%s; predictions are refused until it answers", error)
        threading.Thread(target=self._ask_until_it_answers, name="online-store", daemon=True).start()

    def _ask_until_it_answers(self) -> None:
        attempt = 0
        while not self._closed.wait(PAUSES[min(attempt, len(PAUSES) - 1)]):
            attempt += 1
            try:
                self._reader.ping()
            except TidegateError as error:
                self._away = str(error)
            except Exception:
                logger.exception("asking the online store failed")
            else:
                self._away = ""
                logger.warning("the online store answers again")
                return
