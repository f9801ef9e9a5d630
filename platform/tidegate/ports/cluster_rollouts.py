"""Port to the rollouts of a cluster, whose own engine moves the traffic: what is under way, and orders left by people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from tidegate.domain.slots import Slot


@dataclass(frozen=True)
class UnderWay:
    """One model's rollout at one look. Releases are digests, times seconds since the epoch.

    `candidate` is the release that is wanted; once it is live and judged, nothing is under way and it is also `live`.
    `judged_since` is when the cluster began to ask for verdicts about the candidate at this stage, None while it does not.
    """

    model: str
    candidate: str
    slot: Slot  # of the candidate
    live: str | None  # what clients reach
    live_slot: Slot | None
    previous: str | None  # what the cluster goes back to: the last release that passed everything
    judged_since: float | None = None
    asked: tuple[str, ...] = ()  # gates whose verdicts it asks for at this stage, so that only a PASS counts
    stopped: str = ""  # why the cluster gave the candidate up; empty while it has not
    hold: Mapping[str, Any] | None = None  # a person's freeze: actor, reason, at
    overrides: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # by gate: actor, reason, at; of this candidate
    orders: Sequence[Mapping[str, Any]] = ()  # what people ordered, oldest first: id, order, actor, reason, at, perhaps release
    trusted_keys: tuple[str, ...] = ()  # public keys that the candidate's pods were given by whoever deployed it
    past_gates: bool = False  # a person went back to the candidate: it becomes live without verdicts

    @property
    def switched(self) -> bool:
        """Whether clients reach the candidate."""
        return self.live == self.candidate

    @property
    def done(self) -> bool:
        """Whether the candidate is live and has passed everything."""
        return self.switched and self.previous == self.candidate

    @property
    def mirrors(self) -> bool:
        """Whether live traffic is to be mirrored to the candidate: while it is judged, and only before the switch."""
        return self.judged_since is not None and not self.switched and not self.stopped


class ClusterRollouts(Protocol):
    """Raises NotFound for a model that the cluster has not, Unavailable when the cluster does not answer."""

    def under_way(self, model: str) -> UnderWay: ...

    def mirror(self, model: str, on: bool) -> None:
        """Mirror live traffic to the candidate's pods, or to none. Can be repeated."""

    def show_registry(self, model: str, due: Mapping[str, Any] | None) -> None:
        """Say beside the model what the registry does not have of what is live, with None that it has all. Can be repeated."""
