"""The one clock of a state folder, `target/clock.json`: what its rollouts, gates and records of requests are compared by."""

from __future__ import annotations

import json
from typing import Any

from tidegate.domain.clocks import SteadyClock
from tidegate.domain.errors import TidegateError, Unavailable
from tidegate.files.durable_files import locked, read_json, replace_durably
from tidegate.files.layout import StateFolder


def state_clock(state: StateFolder, renew: bool = False) -> SteadyClock:
    """The clock of this run of the machine, made when there is none; `renew` takes the wall clock's word anew, for when nothing
    runs whose times would have to be compared with it. On a disk that takes nothing it is this process' own."""
    if not renew and (kept := _read(state)) is not None:
        return kept
    try:
        with locked(state.target / "clock.lock"):
            kept = None if renew else _read(state)
            if kept is None:
                kept = SteadyClock.now()
                replace_durably(state.clock, json.dumps({"clock": kept.to_text()}).encode())
            return kept
    except Unavailable:
        return SteadyClock.now()


def _read(state: StateFolder) -> SteadyClock | None:
    try:
        return read_json(state.clock, "the clock", _clock, "it is made again")
    except TidegateError:
        return None


def _clock(value: Any) -> SteadyClock | None:
    return SteadyClock.from_text(value["clock"])
