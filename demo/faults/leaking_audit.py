"""An audit trail around the service that takes a handle for each live request and forgets to give it back.

Mirrored requests are not audited, so shadow traffic cannot show the fault; live traffic does as soon as the handles are
used up. It becomes `serving/middleware.py` of a release.
"""

from typing import Any

HANDLES = 60  # of each process


class LeakingAudit:
    def __init__(self, app: Any) -> None:
        self.app = app
        self.free = HANDLES

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] == "http" and scope["path"] == "/predict" and not _mirrored(scope):
            self.free -= 1
            if self.free < 0:
                raise RuntimeError("audit trail: no free handle")
        await self.app(scope, receive, send)


def _mirrored(scope: dict[str, Any]) -> bool:
    hosts = [value for name, value in scope["headers"] if name == b"host"]
    return any(b"-shadow" in host for host in hosts)


def wrap(app: Any) -> LeakingAudit:
    return LeakingAudit(app)
