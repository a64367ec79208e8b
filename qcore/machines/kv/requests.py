"""The commands and queries of the key-value machine, parsed. `docs/reference/kv.md` lists their fields.

A key is text, or `{"base64": text}` for bytes (`qcore.machines.kv.texts`), and so is a value. A range is one key; or
`key` and `end`, the first key behind the range; or `prefix`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, get_args

from pydantic import JsonValue
from pydantic_core import from_json

from qcore.errors import KeyTooLong, StoreError, TooManyOperations
from qcore.machines.kv.leases import MAX_TTL_MS, MIN_TTL_MS
from qcore.machines.kv.texts import end_of_prefix, read_bytes
from qcore.machines.limits import KIB, MAX_VALUE_BYTES

MAX_KEY_BYTES: Final = 4 * KIB
#: The most operations and comparisons of one transaction and of those in it; and how deep transactions nest.
MAX_TXN_PARTS: Final = 1000
MAX_TXN_DEPTH: Final = 8
_INT_LIMIT: Final = 2**63
#: The bounds that every revision is within.
ANY_REVISION: Final = (0, _INT_LIMIT - 1)
#: How many unknown fields an error shows, and how many characters of each.
_SHOWN_NAMES: Final = 3
_SHOWN_CHARS: Final = 80

SortBy = Literal["key", "version", "create_revision", "mod_revision", "value"]
Relation = Literal["=", "!=", "<", ">"]
Target = Literal["value", "version", "create_revision", "mod_revision", "lease", "exists"]
_SORTS: Final = get_args(SortBy)
_RELATIONS: Final = get_args(Relation)
_TARGETS: Final = get_args(Target)

JsonObject = dict[str, JsonValue]


@dataclass(slots=True, frozen=True)
class KeyRange:
    """Keys from `begin` on and before `end`; None for no upper bound.

    Attributes:
        single: it is the range of one key.
    """

    begin: bytes
    end: bytes | None
    single: bool

    def overlaps(self, other: KeyRange) -> bool:
        """Whether a key is in both."""
        return (self.end is None or other.begin < self.end) and (
            other.end is None or self.begin < other.end
        )

    def __contains__(self, key: bytes) -> bool:
        return (
            key == self.begin
            if self.single
            else self.begin <= key and (self.end is None or key < self.end)
        )


@dataclass(slots=True, frozen=True)
class Put:
    """Set a key. A value or lease of None stays as it is; then the key must exist."""

    key: bytes
    value: bytes | None
    lease: int | None
    prev: bool


@dataclass(slots=True, frozen=True)
class Delete:
    """Delete the keys of a range."""

    keys: KeyRange
    prev: bool


@dataclass(slots=True, frozen=True)
class Range:
    """Read the keys of a range.

    Attributes:
        keys: the range.
        revision: as of this revision; None for now.
        limit: at most so many keys; 0 for as many as a page holds.
        sort_by, descending: the order.
        keys_only, count_only: leave out the values, or the keys, too.
        mod_revisions, create_revisions: only keys whose revision is within these bounds.
    """

    keys: KeyRange
    revision: int | None = None
    limit: int = 0
    sort_by: SortBy = "key"
    descending: bool = False
    keys_only: bool = False
    count_only: bool = False
    mod_revisions: tuple[int, int] = ANY_REVISION
    create_revisions: tuple[int, int] = ANY_REVISION


@dataclass(slots=True, frozen=True)
class Comparison:
    """What must be true of each key of a range. A key that does not exist has the numbers 0, and no value."""

    keys: KeyRange
    target: Target
    relation: Relation
    number: int = 0
    value: bytes = b""


@dataclass(slots=True, frozen=True)
class Txn:
    """If all comparisons hold, do the operations of `then`, else those of `otherwise`."""

    comparisons: Sequence[Comparison]
    then: Sequence[Operation]
    otherwise: Sequence[Operation]


Operation = Put | Delete | Range | Txn


@dataclass(slots=True, frozen=True)
class Grant:
    """Grant a lease; without a number, that of the log entry."""

    ttl_ms: int
    lease_id: int | None


@dataclass(slots=True, frozen=True)
class LeaseRequest:
    """Keep a lease alive, revoke it, or read it."""

    op: Literal["keep", "revoke", "lease"]
    lease_id: int


@dataclass(slots=True, frozen=True)
class Expire:
    """Delete the leases that have ended. The leader proposes it."""


@dataclass(slots=True, frozen=True)
class Compact:
    """Make the revisions below this one unreadable."""

    revision: int


@dataclass(slots=True, frozen=True)
class History:
    """Keep a history of at most this many changes, and of this many bytes."""

    max_changes: int
    max_bytes: int


@dataclass(slots=True, frozen=True)
class Leases:
    """Read the numbers of all leases, in pages: those behind `after`."""

    after: int
    limit: int


@dataclass(slots=True, frozen=True)
class Status:
    """Read the revisions and sizes."""


Request = Operation | Grant | LeaseRequest | Expire | Compact | History | Leases | Status
OPS: Final = (
    *("put", "delete", "range", "txn", "grant", "keep", "revoke", "lease"),
    *("leases", "expire", "compact", "history", "status"),
)


def parse_request(text: str) -> Request:
    """The command or query of a text.

    Raises:
        StoreError: it is neither; the text of the error names the field.
    """
    try:
        value = from_json(text)
    except (ValueError, TypeError):  # TypeError: text with lone surrogates
        raise StoreError("not JSON") from None  # the parser's own text may change with its version
    if not isinstance(value, dict):
        raise StoreError("a request must be a JSON object")
    fields = Fields(value, "")
    op = fields.choice("op", OPS)
    if op in ("put", "delete", "range", "txn"):
        request: Request = _operation(fields, op, _Budget(), 1)
    else:
        request = _other(fields, op)
    fields.end()
    return request


class Fields:
    """The fields of one JSON object. Each is taken once; `end` rejects those that were not."""

    def __init__(self, value: JsonObject, where: str) -> None:
        self._left = dict(value)
        self._where = where

    def path(self, name: str) -> str:
        """The name of a field, for errors."""
        return f"{self._where}{name}"

    def has(self, name: str) -> bool:
        """Whether the field is there."""
        return name in self._left

    def raw(self, name: str) -> JsonValue:
        """The field's value, which must be there."""
        if name not in self._left:
            raise StoreError(f"{self.path(name)} is missing")
        return self._left.pop(name)

    def choice(self, name: str, of: Sequence[str]) -> str:
        """One of these texts."""
        value = self.raw(name)
        if not isinstance(value, str) or value not in of:
            raise StoreError(f"{self.path(name)} must be one of {', '.join(of)}")
        return value

    def choices(self, name: str, of: Sequence[str]) -> tuple[str, ...]:
        """Some of these texts, at least one."""
        value = self.raw(name)
        if not isinstance(value, list) or not value or any(item not in of for item in value):
            raise StoreError(f"{self.path(name)} must be a list of {' or '.join(of)}")
        return tuple(text for text in of if text in value)

    def flag(self, name: str) -> bool:
        """True or false; false without the field."""
        value = self._left.pop(name, False)
        if not isinstance(value, bool):
            raise StoreError(f"{self.path(name)} must be true or false")
        return value

    def number(self, name: str, low: int, high: int, default: int | None = None) -> int:
        """An integer within these bounds."""
        value = self.raw(name) if default is None else self._left.pop(name, default)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise StoreError(f"{self.path(name)} must be an integer from {low} to {high}")
        return value

    def key(self, name: str, *, empty: bool = False) -> bytes:
        """A key."""
        key = read_bytes(self.raw(name), self.path(name), _INT_LIMIT)
        if len(key) > MAX_KEY_BYTES or not (key or empty):
            raise KeyTooLong(
                f"{self.path(name)} has {len(key)} bytes; a key has 1 to {MAX_KEY_BYTES}"
            )
        return key

    def keys(self) -> KeyRange:
        """The range that `key` or `prefix` names."""
        if self.has("prefix"):
            prefix = self.key("prefix", empty=True)
            return KeyRange(prefix, end_of_prefix(prefix), False)
        if not self.has("end"):
            key = self.key("key")
            return KeyRange(key, key + b"\0", True)
        begin, end = self.key("key", empty=True), self._left["end"]
        if end is None:
            del self._left["end"]
            return KeyRange(begin, None, False)
        return KeyRange(begin, self.key("end", empty=True), False)

    def objects(self, name: str) -> list[Fields]:
        """A list of objects; empty without the field."""
        value = self._left.pop(name, [])
        if not isinstance(value, list):
            raise StoreError(f"{self.path(name)} must be a list")
        found: list[Fields] = []
        for at, item in enumerate(value):
            where = f"{self.path(name)}[{at}]"
            if not isinstance(item, dict):
                raise StoreError(f"{where} must be a JSON object")
            found.append(Fields(item, f"{where}."))
        return found

    def end(self) -> None:
        """Reject the fields that were not taken."""
        if self._left:
            names = [name[:_SHOWN_CHARS] for name in sorted(self._left)[:_SHOWN_NAMES]]
            raise StoreError(f"unknown fields: {', '.join(map(self.path, names))}")


class _Budget:
    """Counts the parts of one transaction."""

    def __init__(self) -> None:
        self._left = MAX_TXN_PARTS

    def take(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise TooManyOperations(
                f"a transaction has at most {MAX_TXN_PARTS} operations and comparisons"
            )


def _operation(fields: Fields, op: str, budget: _Budget, depth: int) -> Operation:
    budget.take()
    match op:
        case "put":
            return _put(fields)
        case "delete":
            return Delete(fields.keys(), fields.flag("prev"))
        case "range":
            return _range(fields)
    if depth > MAX_TXN_DEPTH:
        raise TooManyOperations(f"transactions nest at most {MAX_TXN_DEPTH} deep")
    comparisons: list[Comparison] = []
    for item in fields.objects("if"):
        budget.take()
        comparisons.append(_comparison(item))
        item.end()
    branches: list[list[Operation]] = []
    for name in ("then", "else"):
        branch: list[Operation] = []
        for item in fields.objects(name):
            inner = item.choice("op", OPS[:4])
            branch.append(_operation(item, inner, budget, depth + 1))
            item.end()
        branches.append(branch)
    return Txn(comparisons, *branches)


def _put(fields: Fields) -> Put:
    key, value, lease = fields.key("key"), None, None
    if not fields.flag("keep_value"):
        value = read_bytes(fields.raw("value"), fields.path("value"), MAX_VALUE_BYTES)
    if not fields.flag("keep_lease"):
        lease = fields.number("lease", 0, _INT_LIMIT - 1, 0)
    return Put(key, value, lease, fields.flag("prev"))


def _range(fields: Fields) -> Range:
    keys = fields.keys()
    if fields.has("after"):
        after = fields.key("after", empty=True) + b"\0"
        keys = KeyRange(max(after, keys.begin), keys.end, False)
    revision = fields.number("revision", 1, _INT_LIMIT - 1) if fields.has("revision") else None
    sort_by = fields.choice("sort_by", _SORTS) if fields.has("sort_by") else "key"
    return Range(
        keys,
        revision,
        fields.number("limit", 0, _INT_LIMIT - 1, 0),
        _sort(sort_by),
        fields.flag("descending"),
        fields.flag("keys_only"),
        fields.flag("count_only"),
        _bounds(fields, "mod_revision"),
        _bounds(fields, "create_revision"),
    )


def _sort(text: str) -> SortBy:
    return next(name for name in _SORTS if name == text)


def _bounds(fields: Fields, name: str) -> tuple[int, int]:
    low = fields.number(f"min_{name}", 0, _INT_LIMIT - 1, 0)
    return low, fields.number(f"max_{name}", 0, _INT_LIMIT - 1, _INT_LIMIT - 1)


def _comparison(fields: Fields) -> Comparison:
    keys = fields.keys()
    named = [name for name in _TARGETS if fields.has(name)]
    if len(named) != 1:
        raise StoreError(f"{fields.path('')}a comparison has one of {', '.join(_TARGETS)}")
    target: Target = named[0]
    if target == "exists":
        return Comparison(keys, target, "=", int(fields.flag("exists")))
    text = fields.choice("is", _RELATIONS) if fields.has("is") else "="
    relation: Relation = next(name for name in _RELATIONS if name == text)
    if target == "value":
        value = read_bytes(fields.raw("value"), fields.path("value"), MAX_VALUE_BYTES)
        return Comparison(keys, target, relation, value=value)
    return Comparison(keys, target, relation, fields.number(target, 0, _INT_LIMIT - 1))


def _other(fields: Fields, op: str) -> Request:
    match op:
        case "grant":
            ttl_ms = fields.number("ttl_ms", MIN_TTL_MS, MAX_TTL_MS)
            named = fields.has("id")
            return Grant(ttl_ms, fields.number("id", 1, _INT_LIMIT - 1) if named else None)
        case "keep" | "revoke" | "lease":
            return LeaseRequest(op, fields.number("id", 1, _INT_LIMIT - 1))
        case "leases":
            after = fields.number("after", 0, _INT_LIMIT - 1, 0)
            return Leases(after, fields.number("limit", 0, _INT_LIMIT - 1, 0))
        case "expire":
            return Expire()
        case "compact":
            return Compact(fields.number("revision", 1, _INT_LIMIT - 1))
        case "history":
            changes = fields.number("max_changes", 0, 10_000_000)
            return History(changes, fields.number("max_bytes", 0, 1 << 34))
        case _:
            return Status()
