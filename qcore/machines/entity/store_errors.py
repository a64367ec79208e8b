"""The kinds of `StoreError`. Their texts are results, so they are equal on every replica and in any process.

The `code` of a kind is its class name. Clients receive it beside the text (`detail`).
"""

from __future__ import annotations

from json import JSONEncoder

from qcore.errors import StoreError

_encode = JSONEncoder(ensure_ascii=False).encode
_SHOWN_CHARS = 80


def quoted(text: str) -> str:
    """Prepare a client's text for an error: in double quotes, escaped and cut to a bounded length.

    Not `repr`: its escapes depend on the Unicode tables of the interpreter.
    """
    return _encode(text if len(text) <= _SHOWN_CHARS else text[: _SHOWN_CHARS - 3] + "...")


class BadRequest(StoreError):
    """The request does not have the shape of `Perform` (docs/reference/wire.md); the text names the field."""


class EntityNotFound(StoreError):
    """No entity has this id."""


class TypeNotFound(StoreError):
    """No schema is set for this entity type."""


class FieldNotFound(StoreError):
    """The entity's complete schema does not have this field."""


class KindMismatch(StoreError):
    """The value's kind is not the kind in the field's schema."""


class ValueOutOfRange(StoreError):
    """The value cannot be stored: integer or float overflow, or a choice that does not exist."""


class NotAdjustable(StoreError):
    """`Add` or `Subtract` is not defined for values of this kind."""


class BadPath(StoreError):
    """An indirection path has an empty segment, or ends before it names a field."""


class EmptyReference(StoreError):
    """A path follows a reference that is null."""


class DanglingReference(StoreError):
    """A path follows a reference to an entity that does not exist or no longer exists."""


class NotAReference(StoreError):
    """A path follows a field that is neither a reference nor a list of entities."""


class IndexMissing(StoreError):
    """A path goes through a list of entities without an index."""


class IndexNegative(StoreError):
    """A path indexes a list of entities with a negative number."""


class IndexOutOfBounds(StoreError):
    """A path indexes a list of entities beyond its end."""


class SchemaInvalid(StoreError):
    """A schema contradicts itself or the rules of names and built-in fields."""


class UnknownParentType(StoreError):
    """A schema inherits from a type that has no schema."""


class InheritanceCycle(StoreError):
    """A schema inherits, directly or not, from itself."""


class AlreadyLoaded(StoreError):
    """A topology was loaded before. It is loaded once in the life of a cluster."""


class ResponseTooLarge(StoreError):
    """The values that one request reads are too large for one response."""


class NameTooLong(StoreError):
    """The name of a type or a field exceeds the limit."""


class ValueTooLarge(StoreError):
    """A value exceeds the limit for one field."""


class SchemaTooLarge(StoreError):
    """A schema, or all schemas together, would exceed a limit."""


class TooManyOperations(StoreError):
    """One request takes more steps than a replica does for one entry."""
