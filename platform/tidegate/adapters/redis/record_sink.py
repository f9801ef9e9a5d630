"""The inference log of pods, written to a Redis stream: light enough for a serving process.

One stream a model, `tidegate:inference:<model>`, each entry one record as a line of the log. It holds about the latest
`RECORDS` records and forgets older ones, so that Redis' memory is bounded: gates look at minutes, not days. Writing is all or
nothing for each batch; a batch that Redis did not confirm counts as dropped, though it may have arrived.
`tidegate.adapters.redis.records` reads it.
"""

from __future__ import annotations

from typing import Any

from tidegate.domain.errors import Unavailable

RECORDS = 100_000
TIMEOUT_S = 5.0
FIELD = b"line"


def stream(model: str) -> str:
    return f"tidegate:inference:{model}"


def connect(url: str) -> Any:
    import redis

    try:
        return redis.Redis.from_url(url, socket_timeout=TIMEOUT_S, socket_connect_timeout=TIMEOUT_S)
    except ValueError as error:
        raise Unavailable(f"inference log: '{url}' is no Redis URL ({error}); write redis://HOST:PORT/DATABASE") from error


class RedisSink:
    """A `LogSink` (`tidegate.serving.runtime.inference_log`). Connects at the first write."""

    def __init__(self, url: str, model: str, records: int = RECORDS) -> None:
        self.names = [stream(model)]
        self._client, self._records = connect(url), records

    def append(self, lines: list[bytes]) -> int:
        import redis

        if not lines:
            return 0
        try:
            with self._client.pipeline(transaction=True) as pipe:
                for line in lines:
                    pipe.xadd(self.names[0], {FIELD: line.rstrip(b"\n")}, maxlen=self._records, approximate=True)
                pipe.execute()
        except redis.RedisError as error:
            raise OSError(f"Redis does not take records: {error}") from error
        return len(lines)

    def close(self) -> None:
        self._client.close()
