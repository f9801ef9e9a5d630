"""Error budgets in plain numbers, for status."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ErrorBudget:
    """`observed` is the share of good requests, None without any; `left` the share of the budget that is not spent (negative
    when overspent); `burn` how many times faster than allowed it is being spent."""

    target: float
    requests: int
    bad: int
    observed: float | None
    left: float
    burn: float


def error_budget(requests: int, bad: int, target: float) -> ErrorBudget:
    """The budget of `requests` of which `bad` missed an objective that a share `target` has to meet."""
    if requests <= 0:
        return ErrorBudget(target, 0, 0, None, 1.0, 0.0)
    allowed = (1.0 - target) * requests
    burn = bad / allowed if allowed > 0 else float(bad > 0) * requests
    return ErrorBudget(target, requests, bad, 1.0 - bad / requests, 1.0 - burn, burn)
