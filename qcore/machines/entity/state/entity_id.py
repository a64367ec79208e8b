"""The identifier of an entity."""

from __future__ import annotations

from typing import NamedTuple


class EntityId(NamedTuple):
    """An entity's type, and a number that is unique among all types."""

    typ: str
    id: int

    def __str__(self) -> str:
        return f"{self.typ}${self.id}"
