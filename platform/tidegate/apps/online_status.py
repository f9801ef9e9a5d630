"""How old the online features of a live release are, for status."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from tidegate.apps.freshness import freshness, missing_views
from tidegate.domain.errors import IntegrityError
from tidegate.domain.release import ReleaseManifest

if TYPE_CHECKING:
    from tidegate.apps.opened import OpenedProject


def online_status(platform: OpenedProject, manifest: ReleaseManifest) -> dict[str, Any] | None:
    """`until` (ISO): all that was known then is in the rows; `written_at`: when; `rows`: the fewest of a view
    with the whole key; `views`: how fresh each is, and `missing`, a sentence for each whose values are all older than its TTL.

    The oldest of the contract's views counts. None when the release stores no features; `until` is None for a store of an
    earlier version, which does not say. Raises Unavailable or IntegrityError when the store cannot be read as it was written.
    """
    from tidegate.adapters.packed.online import open_online_reader
    from tidegate.files.release_folder import read_contract

    contract = read_contract(platform.releases.folder(manifest.digest), manifest)
    if not contract.stored:
        return None
    address = platform.feature_folder(manifest.model).online_address(platform.project.local.online_store)
    reader = open_online_reader(address, contract)
    try:
        reader.ping()
        mark = reader.watermark()
    finally:
        reader.close()
    if mark is None:
        return {"until": None, "written_at": None, "rows": None, "views": [], "missing": []}
    if missing := [view for view in contract.stored if view not in mark.views]:
        raise IntegrityError(
            f"online features of {manifest.id}: the watermark lacks view '{missing[0]}'; run 'tidegate features materialize'"
        )
    views = mark.views.values()
    whole = [view for view in contract.stored if view not in contract.view_keys] or list(contract.stored)
    fresh = freshness(contract, mark, platform.clock())
    until = datetime.fromtimestamp(min(view.until for view in views) / 1e6, UTC)
    return {
        "until": until.isoformat(),
        "written_at": min(view.written_at for view in views),
        "rows": min(mark.views[view].rows for view in whole),
        "views": fresh,
        "missing": missing_views(fresh),
    }
