"""How fresh the online rows of each view are, at the store's moment: what it was materialized until, and the time since."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tidegate.domain.contract import FeatureContract
    from tidegate.ports.features import Watermark

SECOND = 1e6


def freshness(contract: FeatureContract, mark: Watermark, now: float) -> list[dict[str, Any]]:
    """Of each view: how far it was brought and when, its newest row, that row's age at the store's moment, and whether all of
    its values are missing, since even the newest is older than the view's TTL."""
    clock = mark.clock
    views = []
    for view in contract.stored:
        each = mark.views.get(view)
        if each is None or clock is None:
            continue
        age = (clock.at(now) - each.newest) / SECOND if each.newest else None
        ttl = contract.ttl.get(view)
        views.append(
            {
                "view": view,
                "rows": each.rows,
                "until": _iso(each.until),
                "written_at": each.written_at,
                "newest": _iso(each.newest) if each.newest else None,
                "age_seconds": age,
                "ttl_seconds": ttl,
                "missing": ttl is not None and age is not None and age > ttl,
            }
        )
    return views


def missing_views(views: Sequence[Mapping[str, Any]]) -> list[str]:
    """A sentence for each view whose values are all missing."""
    return [
        f"view '{each['view']}': its newest row, of {each['newest'][:16].replace('T', ' ')}, is {span(each['age_seconds'])} "
        f"old at the store's moment, longer than its TTL of {span(each['ttl_seconds'])}: all its values are missing; build and "
        "materialize newer rows, or materialize --until a moment that they are of"
        for each in views
        if each["missing"]
    ]


def span(seconds: float) -> str:
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:,.0f} {unit}" if seconds >= 100 * size else f"{seconds / size:.3g} {unit}"
    return f"{seconds:.3g} s"


def _iso(microseconds: int) -> str:
    return datetime.fromtimestamp(microseconds / SECOND, UTC).isoformat()
