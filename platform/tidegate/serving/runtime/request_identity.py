"""Who a request is: the id that the gateway gave it, the client's own beside it, and whether it was mirrored.

The gateway names itself by the host it asks for, `<model>.tidegate`, or `<model>.tidegate-shadow` for what it mirrors, which
no client behind it can choose. Without it the process makes the id, and whatever a client calls its request is the
client's. A client's id is kept for people: cut, with what is not printable escaped, and never a reason to refuse.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable
from dataclasses import dataclass

CLIENT_ID_LENGTH = 128
_GATEWAY = re.compile(r"[a-z][a-z0-9_-]{0,63}\.tidegate(-shadow)?(:\d+)?")
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass(frozen=True)
class RequestIdentity:
    """`id` is unique to the request (a mirrored one shares it); `client_id` is "" when the client gave none."""

    id: str
    client_id: str
    shadow: bool

    def headers(self) -> list[tuple[bytes, bytes]]:
        """What an answer says of it."""
        own = [(b"x-request-id", self.id.encode())]
        return [*own, (b"x-client-request-id", self.client_id.encode())] if self.client_id else own


def identify(headers: Iterable[tuple[bytes, bytes]]) -> RequestIdentity:
    given, client, host = [], [], ""
    for name, value in headers:
        match name.lower():
            case b"x-request-id":
                given.append(value.decode("latin-1"))
            case b"x-client-request-id":
                client.append(value.decode("latin-1"))
            case b"host":
                host = value.decode("latin-1")
    if _GATEWAY.fullmatch(host) and len(given) == 1 and _UUID.fullmatch(given[0]):
        return RequestIdentity(given[0], printable(",".join(client)), is_shadow(host))
    return RequestIdentity(str(uuid.uuid4()), printable(",".join(given or client)), is_shadow(host))


def printable(text: str, length: int = CLIENT_ID_LENGTH) -> str:
    """`text` in printable ASCII, at most `length` characters; what is not is escaped as Python does."""
    return text[:length].strip().encode("unicode_escape").decode("ascii")[:length]


def is_shadow(host: str) -> bool:
    """Whether a request was mirrored: Envoy appends `-shadow` to the host of what it mirrors, before or after the port."""
    name, _, port = host.rpartition(":")
    return host.endswith("-shadow") or (port.isdigit() and name.endswith("-shadow"))
