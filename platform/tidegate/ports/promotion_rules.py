"""What promotion reads of a monitor file, whatever read that file."""

from __future__ import annotations

from typing import Protocol


class HasMargin(Protocol):
    @property
    def margin(self) -> float: ...


class SegmentRules(Protocol):
    @property
    def max_worse(self) -> float: ...
    @property
    def min_rows(self) -> int: ...


class PromotionRules(Protocol):
    """The `promotion` section of a monitor file."""

    @property
    def min_rows(self) -> int: ...
    @property
    def beats_baseline(self) -> HasMargin: ...
    @property
    def no_worse_than_champion(self) -> HasMargin: ...
    @property
    def without_baseline(self) -> str:
        """`pass` or `fail`: what becomes of a version that was evaluated against no baseline."""

    @property
    def without_champion(self) -> str:
        """`pass` or `fail`: what becomes of a model's first version."""

    @property
    def without_scores(self) -> str:
        """`pass`, `pipeline` or `fail`: whose losses are taken where the platform cannot compute them."""

    @property
    def min_spread(self) -> float:
        """The part of the champion's answers unlike the commonest one that a version has to keep."""

    @property
    def without_segments(self) -> str:
        """`pass` or `fail`: what becomes of a version whose evaluation names no segments."""

    @property
    def segments(self) -> SegmentRules: ...
