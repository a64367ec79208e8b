"""Indirection paths: `Parent->Name`, `Children->0->Email`."""

from __future__ import annotations

from typing import NamedTuple

from qcore.store.errors import (
    BadPath,
    DanglingReference,
    EmptyReference,
    IndexMissing,
    IndexNegative,
    IndexOutOfBounds,
    NotAReference,
    quoted,
)
from qcore.store.records import Entity, Transaction
from qcore.store.values import EntityId

SEPARATOR = "->"


class Target(NamedTuple):
    """Where a path ends: a field of an entity (which need not have it)."""

    entity: Entity
    field_type: str


def resolve(view: Transaction, start: EntityId, path: str) -> Target:
    """Follow a path to the field it names.

    Each segment but the last is a reference, which is followed, or a list of entities, whose next
    segment is an index from 0. The last segment is a field.

    Raises:
        EntityNotFound: the start does not exist.
        FieldNotFound: a segment names a field that its entity does not have.
        EmptyReference, DanglingReference, NotAReference, IndexMissing, IndexNegative,
        IndexOutOfBounds, BadPath: see these.
    """
    entity = view.get(start)
    if SEPARATOR not in path:
        return Target(entity, path)
    segments = path.split(SEPARATOR)
    if "" in segments:
        raise BadPath(f"path {quoted(path)} has an empty segment")
    position, last = 0, len(segments) - 1
    while position < last:
        where = f"{quoted(segments[position])} of {quoted(str(entity.entity_id))}"
        match entity.field(segments[position]).value.data:
            case EntityId() as target:
                position += 1
            case tuple() as targets:
                target = _pick(targets, segments[position + 1], where)
                position += 2
            case None:
                raise EmptyReference(f"path {quoted(path)}: {where} refers to nothing")
            case _:
                raise NotAReference(
                    f"path {quoted(path)}: {where} is neither a reference nor a list of entities"
                )
        found = view.find(target)
        if found is None:
            raise DanglingReference(
                f"path {quoted(path)}: {where} leads to {quoted(str(target))}, which does not exist"
            )
        entity = found
    if position > last:
        raise BadPath(
            f"path {quoted(path)} ends with an index; name a field of the entity after it"
        )
    return Target(entity, segments[last])


def _pick(targets: tuple[EntityId, ...], segment: str, where: str) -> EntityId:
    digits = segment.removeprefix("-")
    if not (digits.isascii() and digits.isdigit()):
        raise IndexMissing(
            f"{where} is a list: an index must follow it, such as 0, not {quoted(segment)}"
        )
    if segment.startswith("-"):
        raise IndexNegative(f"{where} is indexed by {quoted(segment)}; indexes begin at 0")
    # Not int() at once: Python refuses to convert thousands of digits.
    if len(digits.lstrip("0")) > 18 or int(digits.lstrip("0") or "0") >= len(targets):
        raise IndexOutOfBounds(
            f"{where} is indexed by {quoted(segment)} and has {len(targets)} entries"
        )
    return targets[int(digits.lstrip("0") or "0")]
