"""Port to where a serving process' records of requests go."""

from __future__ import annotations

from typing import Protocol


class LogSink(Protocol):
    """Where records go. Called from one thread."""

    names: list[str]  # of what was written to, for the summary

    def append(self, lines: list[bytes]) -> int:
        """Take whole lines, each with its end; how many were taken, the first ones. Raises OSError for none."""

    def close(self) -> None: ...
