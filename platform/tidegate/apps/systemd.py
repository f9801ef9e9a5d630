"""Telling systemd how a service of `Type=notify` is: ready, alive, stopping. Nothing happens where systemd is not."""

from __future__ import annotations

import os
import socket
from contextlib import suppress


def notify(state: str) -> None:
    """`state` as sd_notify(3) has it: READY=1, WATCHDOG=1, STOPPING=1."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
        sender.sendto(state.encode(), "\0" + address[1:] if address.startswith("@") else address)


def is_watching() -> bool:
    """Whether systemd restarts us when we die or hang."""
    return bool(os.environ.get("NOTIFY_SOCKET") and os.environ.get("WATCHDOG_USEC"))
