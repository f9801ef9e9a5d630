"""Where pods run, whoever provides the nodes: a pool gives labels to select, and taints to tolerate.

The only provider is `existing`: nodes that are there already, labelled and tainted by whoever made them; it registers nothing.
A provider that creates nodes of a cloud needs that cloud's Pulumi package, and none is among our dependencies.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from .settings import SettingError


class NodePool(Protocol):
    """`region` is where its nodes lie; the rest is what a pod's spec gets."""

    @property
    def region(self) -> str: ...

    def node_selector(self) -> dict[str, str]: ...

    def tolerations(self) -> list[dict[str, str]]: ...


@dataclass(frozen=True)
class ExistingNodes:
    region: str
    labels: Mapping[str, str]
    taints: tuple[str, ...]  # keys of NoSchedule taints

    def node_selector(self) -> dict[str, str]:
        return {"topology.kubernetes.io/region": self.region} | dict(self.labels)

    def tolerations(self) -> list[dict[str, str]]:
        return [{"key": key, "operator": "Exists", "effect": "NoSchedule"} for key in self.taints]


def node_pool(stack: str, name: str, settings: Mapping[str, Any]) -> NodePool:
    if settings["provider"] != "existing":
        raise SettingError(
            f"stack '{stack}', node pool '{name}': there is no provider '{settings['provider']}'; there is: existing"
        )
    return ExistingNodes(settings["region"], settings["labels"], tuple(settings.get("taints", ())))
