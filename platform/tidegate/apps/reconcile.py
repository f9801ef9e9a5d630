"""Registry, ledger and live release compared, and the registry mended: aliases follow the traffic.

What is live is the truth, then what the ledger recorded; the registry's aliases follow. While a rollout has switched and is
not decided, nothing is due: its end says who the champion is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tidegate.domain.actor import PLATFORM, Actor
from tidegate.domain.errors import Conflict, TidegateError
from tidegate.domain.release import ReleaseManifest

if TYPE_CHECKING:
    from tidegate.apps.opened import OpenedProject

RECONCILED = "registry.reconciled"


@dataclass(frozen=True)
class Reconciliation:
    """`live` is the release that answers, `version` the champion that it makes; `registry` and `ledger` are the champions that
    these name. `differences` are sentences; `mended` says whether the registry was updated."""

    model: str
    live: str | None
    version: str | None
    ledger: str | None
    registry: str | None
    differences: tuple[str, ...] = ()
    mended: bool = False


def live_version(platform: OpenedProject, model: str) -> ReleaseManifest | None:
    """The release whose version is champion by what is live; of a rollout that switched and is undecided, the one before."""
    under_way = platform.rollouts.unfinished(model)
    if under_way is not None and under_way.switched:
        digest = under_way.plan.previous
    else:
        digest = platform.target.desired(model).active_release
    return platform.releases.open(digest)[0] if digest else None


def lacking(model: str, version: str, live: str | None) -> Conflict:
    return Conflict(
        f"champion of {model}: version {version} is {f'live as {live}' if live else 'what the ledger names'}, but the registry "
        "has no such version; it is another one or was emptied, restore it from a backup"
    )


def settle(platform: OpenedProject, model: str) -> None:
    """Have the aliases follow what is live before something is compared with them, unless a rollout is undecided."""
    under_way = platform.rollouts.unfinished(model)
    if under_way is None or not under_way.switched:
        reconcile(platform, model)


def apply_pending(platform: OpenedProject, model: str) -> None:
    """Update the registry if an update is pending; raises Unavailable when it cannot be, and the note says why."""
    due = platform.pending.due(model)
    if due is None:
        return
    try:
        reconcile(platform, model)
    except TidegateError as error:
        if (now := platform.pending.due(model)) is not None:
            platform.pending.note(model, now.release, now.version, str(error))
        raise


def note_what_is_due(platform: OpenedProject, model: str) -> None:
    """Leave a note when another version is live than the ledger names: a rollout went back after it had been recorded."""
    from tidegate.registry.promotion import recorded_champion

    if platform.pending.due(model) is not None:
        return  # and its note says why
    live, recorded = live_version(platform, model), recorded_champion(platform.ledger, model)
    if live is not None and recorded is not None and recorded.version != live.version:
        platform.pending.note(
            model, live.id, live.version, f"version {recorded.version} was recorded, and is not live any more"
        )


def reconcile(platform: OpenedProject, model: str, dry_run: bool = False, actor: Actor = PLATFORM) -> Reconciliation:
    """Compare, and unless `dry_run` make the registry's aliases follow what is live. Can be repeated.

    Raises Unavailable (registry), Conflict (the registry lacks the version, or a rollout under way is undecided).
    """
    from tidegate.registry.promotion import activate

    platform.registry.versions(model)  # asked before the lock is taken: a registry that is away must not hold up a rollback
    with platform.rollouts.lock(model):
        found = _compared(platform, model)
        if dry_run:
            return found
        under_way = platform.rollouts.unfinished(model)
        if under_way is not None and under_way.switched:
            raise Conflict(
                f"reconciling {model}: rollout {under_way.id} has switched and is not decided; its end updates the registry"
            )
        if found.version is None:
            platform.pending.done(model)
            return found
        if found.version not in {each.version for each in platform.registry.versions(model)}:
            raise lacking(model, found.version, found.live)
        if found.differences:
            platform.ledger.append(RECONCILED, f"{model}/{found.version}", {"differences": list(found.differences)}, actor)
        try:
            activate(platform.registry, platform.ledger, model, found.version)
        except TidegateError as error:
            platform.pending.note(model, found.live or "", found.version, str(error))
            raise
        platform.pending.done(model)
        return Reconciliation(
            model, found.live, found.version, found.version, found.version, found.differences, bool(found.differences)
        )


def _compared(platform: OpenedProject, model: str) -> Reconciliation:
    from tidegate.registry.promotion import CANDIDATE, CHAMPION, PREVIOUS, aliased, recorded_champion

    live, recorded = live_version(platform, model), recorded_champion(platform.ledger, model)
    champion, previous, candidate = (aliased(platform.registry, model, alias) for alias in (CHAMPION, PREVIOUS, CANDIDATE))
    version = live.version if live else recorded.version if recorded else None
    differences = []
    if live and (recorded is None or recorded.version != live.version):
        named = f"version {recorded.version}" if recorded else "no version"
        differences.append(f"{live.id} of version {live.version} is live, the ledger names {named} as champion")
    if version is not None and (champion is None or champion.version != version):
        named = f"version {champion.version}" if champion else "no version"
        differences.append(f"champion is version {version}, the registry names {named}")
    before = recorded.previous if recorded and recorded.version == version else None
    if before is not None and (previous is None or previous.version != before):
        named = f"version {previous.version}" if previous else "no version"
        differences.append(f"previous is version {before}, the registry names {named}")
    if candidate is not None and candidate.version == version:
        differences.append(f"version {version} is champion, and the registry still names it candidate")
    return Reconciliation(
        model,
        live.id if live else None,
        version,
        recorded.version if recorded else None,
        champion.version if champion else None,
        tuple(differences),
    )
