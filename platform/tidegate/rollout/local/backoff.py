"""How soon a part is started again."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Backoff:
    """Waits longer after each start in a row that came to nothing: 0.2 s doubling to 10 s. A part that was ready, or ran for
    30 s, is started again at once."""

    failures: dict[str, int] = field(default_factory=dict)
    last: dict[str, float] = field(default_factory=dict)

    def may_start(self, name: str, now: float) -> bool:
        last = self.last.get(name)
        if last is None or now - last > 30.0:
            self.failures.pop(name, None)
            return True
        failures = self.failures.get(name, 0)
        wait = min(10.0, 0.2 * 2 ** max(0, failures - 2)) if failures else 0.0
        return now - last >= wait

    def started(self, name: str, now: float) -> None:
        self.failures[name] = self.failures.get(name, 0) + 1
        self.last[name] = now

    def lasted(self, name: str) -> None:
        self.failures.pop(name, None)
