"""The deliveries of a project, one a target: the only place that knows which target has which."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from tidegate.apps import wiring
from tidegate.apps.guard import GuardedDelivery
from tidegate.domain.release import ReleaseManifest
from tidegate.ports.delivery import Delivery

if TYPE_CHECKING:
    from tidegate.apps.platform import Platform


def _local(platform: Platform) -> Delivery:
    from tidegate.apps.local_delivery import LocalDelivery

    return LocalDelivery(platform)


def _argo(platform: Platform) -> Delivery:
    from tidegate.adapters.kubernetes.argo_delivery import Supplies
    from tidegate.apps.charts import decided_values

    settings = platform.project.targets.kubernetes

    def push(manifest: ReleaseManifest) -> None:
        store = wiring.artifacts(settings.store)
        store.push_release(platform.releases.folder(manifest.digest))
        store.push_tables(manifest.model, platform.feature_folder(manifest.model).tables)

    def values(model: str) -> Mapping[str, Any]:
        return decided_values(platform.project, model)

    supplies = Supplies(platform.to_roll_out, platform.admit, push, values, platform.whoami)
    return wiring.argo_delivery(settings, supplies)


DELIVERIES: Mapping[str, Callable[[Platform], Delivery]] = {"local": _local, "kubernetes": _argo}


def open_delivery(platform: Platform, target: str) -> Delivery:
    """`target` is one of those of the project file's `targets`. Orders are taken from those who may give them."""
    return GuardedDelivery(DELIVERIES[target](platform), platform.guard)
