"""Slots and routing of one model: what is wanted, as a value that can be stored and compared with what is."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from tidegate.domain.formats import Format, Unknown, document

DESIRED_FORMAT = Format("desired state", Unknown.REFUSED)  # whoever changes it would drop what it does not know


class Slot(StrEnum):
    BLUE = "blue"
    GREEN = "green"

    @property
    def other(self) -> Slot:
        return Slot.GREEN if self is Slot.BLUE else Slot.BLUE


@dataclass(frozen=True)
class Desired:
    """What one model should look like on a target.

    `active` takes the live traffic; `mirror` says whether live traffic is mirrored to the other slot. A slot whose
    release is None is empty. `generation` grows by one at each change, so that observers can tell old from new.
    """

    model: str
    blue: str | None = None  # release digest
    green: str | None = None
    active: Slot | None = None
    mirror: bool = False
    generation: int = 0

    def release_of(self, slot: Slot) -> str | None:
        return self.blue if slot is Slot.BLUE else self.green

    @property
    def active_release(self) -> str | None:
        return self.release_of(self.active) if self.active else None

    def to_json(self) -> dict[str, Any]:
        value: dict[str, Any] = document(self)
        return value

    @classmethod
    def from_json(cls, value: Any, where: str = "desired state") -> Desired:
        """Raises IntegrityError that names `where`."""
        return DESIRED_FORMAT.read(value, cls, where)
