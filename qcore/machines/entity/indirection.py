"""Resolves paths such as `Parent->Name`, `Children->0->Email`, and parts of a list: `Children->0:100`."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from qcore.errors import (
    BadPath,
    DanglingReference,
    EmptyReference,
    IndexMissing,
    IndexNegative,
    IndexOutOfBounds,
    NotAReference,
)
from qcore.machines.entity.permission_checks import check_read, check_see
from qcore.machines.entity.quoted_text import quoted
from qcore.machines.entity.state.child_list import ChildList, slice_of
from qcore.machines.entity.state.entity import Entity
from qcore.machines.entity.state.entity_id import EntityId
from qcore.machines.entity.transaction import Transaction

SEPARATOR: Final = "->"
_PART: Final = re.compile(r"([0-9]{1,18}):([0-9]{1,18})", re.ASCII)


class Target(NamedTuple):
    """The end of a path: a field of an entity (which may lack it), or a part of the list in that field.

    `part` has the first index and the index after the last; None means the whole field.
    """

    entity: Entity
    field_type: str
    part: tuple[int, int] | None = None


def resolve(view: Transaction, start: EntityId, path: str) -> Target:
    """Follow a path to the field that it names.

    Each segment but the last is a reference, a list of entities, or an index into the list before it, counted from 0.
    The last segment is a field, or a part of the list before it: `first:end`.

    The user must be able to read what the path follows; the caller checks the field at its end.

    Raises:
        PermissionDenied: the user may not follow it.
        EntityNotFound: the start does not exist.
        FieldNotFound: a segment names a field that its entity does not have.
        TooManyOperations: the request takes too many steps.
        EmptyReference, DanglingReference, NotAReference, IndexMissing, IndexNegative,
        IndexOutOfBounds, BadPath: see these classes.
    """
    check_see(view, start.typ)
    entity = view.get(start)
    if SEPARATOR not in path:
        return Target(entity, path)
    segments = path.split(SEPARATOR)
    if "" in segments:
        raise BadPath(f"path {quoted(path)} has an empty segment")
    position, last = 0, len(segments) - 1
    while position < last:
        view.count(1)
        segment = segments[position]
        where = f"{quoted(segment)} of {quoted(str(entity.entity_id))}"
        check_read(view, entity.entity_id.typ, segment)
        match view.field(entity, segment).value.data:
            case EntityId() as target:
                position += 1
            case (tuple() | ChildList()) as targets:
                part = _PART.fullmatch(segments[position + 1]) if view.sparse else None
                if part is not None and position + 1 == last:
                    return Target(entity, segment, (int(part[1]), int(part[2])))
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


def _pick(targets: tuple[EntityId, ...] | ChildList, segment: str, where: str) -> EntityId:
    digits = segment.removeprefix("-")
    if not (digits.isascii() and digits.isdigit()):
        raise IndexMissing(
            f"{where} is a list: an index must follow it, such as 0, not {quoted(segment)}"
        )
    if segment.startswith("-"):
        raise IndexNegative(f"{where} is indexed by {quoted(segment)}; indexes begin at 0")
    # int() only after the check: Python refuses to convert thousands of digits.
    if len(digits.lstrip("0")) > 18 or int(digits.lstrip("0") or "0") >= len(targets):
        raise IndexOutOfBounds(
            f"{where} is indexed by {quoted(segment)} and has {len(targets)} entries"
        )
    index = int(digits.lstrip("0") or "0")
    return slice_of(targets, index, index + 1)[0]
