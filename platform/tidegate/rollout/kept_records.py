"""Records of rollouts that their disk did not take, kept in memory by whoever drives one: a way back goes on without a disk."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from tidegate.domain.errors import Unavailable
from tidegate.rollout.state import Rollout, RolloutStore


@dataclass(frozen=True)
class KeptRecords:
    store: RolloutStore
    unsaved: dict[str, Rollout] = field(default_factory=dict)

    def save(self, rollout: Rollout, back: bool = True) -> Rollout:
        """Where the disk does not take the record, a way back goes on from memory; a step forward raises Unavailable."""
        try:
            self.store.save(rollout)
        except Unavailable:
            if not back:
                raise
            self.unsaved[rollout.id] = rollout
        else:
            self.unsaved.pop(rollout.id, None)
        return rollout

    def load(self, model: str, id: str) -> Rollout:
        """The record as it would be had its disk taken it, tried once more; with what people ordered meanwhile."""
        stored = self.store.load(model, id)
        if id not in self.unsaved:
            return stored
        kept = self.unsaved[id]
        ordered = replace(kept, request=stored.request, overrides=stored.overrides) if kept.undo is None else kept
        return self.save(ordered)
