"""What a training may be told; the values stand in the pipeline's definition."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from tidegate.api.training import InvalidInput, parameters_of

from .network import Schedule, Size


@dataclass(frozen=True)
class Parameters:
    epochs: int
    batch: int
    rate: float
    damage_emphasis: float  # times the loss of the category
    dropout: float
    draws: int  # of damage to each item that is trained on
    channels: tuple[int, int, int]
    dense: int
    wanted: float  # share of answers that are right where no person looks
    most_reviewed: float  # share of returns that people look at where that cannot be had
    single_task: bool  # also train a model for each answer alone, to compare
    items: int  # at most so many; 0: all
    seed: int

    def __post_init__(self) -> None:
        whole = min(self.epochs, self.draws, self.dense, *self.channels) >= 1 and self.batch >= 2 and self.items >= 0
        shares = (
            0 <= self.dropout < 1
            and 0.5 < self.wanted < 1
            and 0 < self.most_reviewed < 1
            and 0 < self.rate < 1
            and self.damage_emphasis > 0
        )
        if not (whole and shares):
            raise InvalidInput(f"pipeline parameters are {self}; counts are 1 or more, shares between 0 and 1")

    @property
    def size(self) -> Size:
        return Size(*self.channels, self.dense)

    @property
    def schedule(self) -> Schedule:
        return Schedule(epochs=self.epochs, batch=self.batch, rate=self.rate, dropout=self.dropout, seed=self.seed)

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Parameters:
        read = parameters_of(cls, settings)
        return replace(read, channels=tuple(read.channels))
