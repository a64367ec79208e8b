"""The errors of the entity store and of watches."""

from __future__ import annotations

from qcore.errors.error_registry import QcoreError, count

# -- the entity store --------------------------------------------------------------------------------


class StoreError(QcoreError, code="StoreError"):
    """The entity store rejects a command. Text and detail are part of the result, so they are equal on all replicas."""


class BadRequest(StoreError, code="BadRequest"):
    """The request does not have the shape of `Perform` (docs/reference/wire.md); the text names the field."""


class EntityNotFound(StoreError, code="EntityNotFound"):
    """No entity has this id."""


class TypeNotFound(StoreError, code="TypeNotFound"):
    """No schema is set for this entity type."""


class FieldNotFound(StoreError, code="FieldNotFound"):
    """The entity's complete schema does not have this field."""


class KindMismatch(StoreError, code="KindMismatch"):
    """The value's kind is not the kind in the field's schema."""


class ValueOutOfRange(StoreError, code="ValueOutOfRange"):
    """The value cannot be stored: integer or float overflow, or a choice that does not exist."""


class NotAdjustable(StoreError, code="NotAdjustable"):
    """`Add` or `Subtract` is not defined for values of this kind."""


class BadPath(StoreError, code="BadPath"):
    """An indirection path has an empty segment, or ends before it names a field."""


class EmptyReference(StoreError, code="EmptyReference"):
    """A path follows a reference that is null."""


class DanglingReference(StoreError, code="DanglingReference"):
    """A path follows a reference to an entity that does not exist or no longer exists."""


class NotAReference(StoreError, code="NotAReference"):
    """A path follows a field that is neither a reference nor a list of entities."""


class IndexMissing(StoreError, code="IndexMissing"):
    """A path goes through a list of entities without an index."""


class IndexNegative(StoreError, code="IndexNegative"):
    """A path indexes a list of entities with a negative number."""


class IndexOutOfBounds(StoreError, code="IndexOutOfBounds"):
    """A path indexes a list of entities beyond its end."""


class SchemaInvalid(StoreError, code="SchemaInvalid"):
    """A schema contradicts itself or the rules of names and built-in fields."""


class UnknownParentType(StoreError, code="UnknownParentType"):
    """A schema inherits from a type that has no schema."""


class InheritanceCycle(StoreError, code="InheritanceCycle"):
    """A schema inherits, directly or not, from itself."""


class AlreadyLoaded(StoreError, code="AlreadyLoaded"):
    """A topology was loaded before. It is loaded once in the life of a cluster."""


class ResponseTooLarge(StoreError, code="ResponseTooLarge"):
    """The values that one request reads are too large for one response."""


class NameTooLong(StoreError, code="NameTooLong"):
    """The name of a type or a field exceeds the limit."""


class ValueTooLarge(StoreError, code="ValueTooLarge"):
    """A value exceeds the limit for one field."""


class SchemaTooLarge(StoreError, code="SchemaTooLarge"):
    """A schema, or all schemas together, would exceed a limit."""


class TooManyOperations(StoreError, code="TooManyOperations"):
    """One request takes more steps than a replica does for one entry."""


class KindChangeRejected(StoreError, code="KindChangeRejected"):
    """A schema changes the kind of a field that entities have. Remove the field first, which drops its values."""


class ParentCycle(StoreError, code="ParentCycle"):
    """An entity would become its own descendant."""


class PathNotFound(StoreError, code="PathNotFound"):
    """No entity has this path of names. The text names the first segment that leads nowhere."""


class PathAmbiguous(StoreError, code="PathAmbiguous"):
    """Several entities have the same path of names. The text names some of them."""


class BadCursor(StoreError, code="BadCursor"):
    """A page's cursor does not come from an earlier page of the same request."""


class BadFilter(StoreError, code="BadFilter"):
    """A filter is not valid CEL, names an unknown field, or cannot be evaluated. The text names the position."""


class PermissionDenied(StoreError, code="PermissionDenied"):
    """The user may not do this, according to its roles. It had no effect, and repeating it changes nothing."""


class SnapshotInvalid(StoreError, code="SnapshotInvalid"):
    """The snapshot to restore has a wrong checksum, an unknown version, or contradicts itself."""


# -- watches -----------------------------------------------------------------------------------------


class WatchError(QcoreError, code="WatchError"):
    """A watch cannot begin or go on."""


class WatchCompacted(WatchError, code="WatchCompacted", fields={"first_index": count}):
    """The node no longer has the changes after the requested position. Read the state, and watch from now on.

    Attributes:
        first_index: the first log index whose changes the node still has.
    """

    def __init__(self, text: str, first_index: int = 0) -> None:
        super().__init__(text)
        self.first_index = first_index


class WatchOverflow(WatchError, code="WatchOverflow", fields={"first_index": count}):
    """The client reads its notifications too slowly. Watch again after the last one that arrived.

    Attributes:
        first_index: the first log index whose changes the node still has.
    """

    def __init__(self, text: str, first_index: int = 0) -> None:
        super().__init__(text)
        self.first_index = first_index
