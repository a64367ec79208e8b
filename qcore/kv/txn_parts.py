"""The operations of the key-value machine, and the conditions of transactions.

    await kv.txn(
        [Condition.exists("lock", False)],
        [Put("lock", "me", lease=lease)],
        [Range("lock")],
    )

`docs/reference/kv.md` says what each means.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, Self

from qcore.errors import ConfigError
from qcore.kv.key_values import Data, data_json

Relation = Literal["=", "!=", "<", ">"]
NumberTarget = Literal["version", "create_revision", "mod_revision", "lease"]
SortBy = Literal["key", "version", "create_revision", "mod_revision", "value"]


def range_json(key: Data | None, prefix: Data | None, end: Data | None) -> dict[str, object]:
    """The fields that name keys: one key, those from `key` on and before `end`, or those with a prefix.

    Raises:
        ConfigError: the arguments do not go together.
    """
    if prefix is not None:
        if key is not None or end is not None:
            raise ConfigError("give `prefix` alone, or `key`, or `key` and `end`")
        return {"prefix": data_json(prefix)}
    if key is None:
        raise ConfigError("give `key` or `prefix`")
    if end is None:
        return {"key": data_json(key)}
    return {"key": data_json(key), "end": data_json(end)}


@dataclass(frozen=True, slots=True)
class Put:
    """Set a key.

    Attributes:
        key: the key.
        value: the value; None keeps the one that it has.
        lease: the lease that deletes it when it ends, 0 for none; None keeps the one that it has.
        previous: return the key as it was before.
    """

    key: Data
    value: Data | None
    lease: int | None = 0
    previous: bool = False

    def to_json(self) -> dict[str, object]:
        """As the machine reads it."""
        request: dict[str, object] = {"op": "put", "key": data_json(self.key)}
        request |= {"keep_value": True} if self.value is None else {"value": data_json(self.value)}
        if self.lease is None:
            request["keep_lease"] = True
        elif self.lease:
            request["lease"] = self.lease
        if self.previous:
            request["prev"] = True
        return request


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete a key, those from `key` on and before `end`, or those with a prefix.

    Attributes:
        key, end, prefix: which keys.
        previous: return the keys as they were before.
    """

    key: Data | None = None
    end: Data | None = None
    prefix: Data | None = None
    previous: bool = False

    def to_json(self) -> dict[str, object]:
        """As the machine reads it."""
        request = {"op": "delete", **range_json(self.key, self.prefix, self.end)}
        return {**request, "prev": True} if self.previous else request


@dataclass(frozen=True, slots=True)
class Range:
    """Read a key, those from `key` on and before `end`, or those with a prefix.

    Attributes:
        key, end, prefix: which keys.
        after: only keys behind this one.
        limit: at most so many; 0 for as many as a page holds.
        revision: as of this revision; None for now.
        sort_by, descending: the order.
        keys_only: leave out the values.
        count_only: leave out the keys, too.
    """

    key: Data | None = None
    end: Data | None = None
    prefix: Data | None = None
    after: Data | None = None
    limit: int = 0
    revision: int | None = None
    sort_by: SortBy = "key"
    descending: bool = False
    keys_only: bool = False
    count_only: bool = False

    def to_json(self) -> dict[str, object]:
        """As the machine reads it."""
        request = {"op": "range", **range_json(self.key, self.prefix, self.end)}
        if self.after is not None:
            request["after"] = data_json(self.after)
        if self.revision is not None:
            request["revision"] = self.revision
        if self.sort_by != "key":
            request["sort_by"] = self.sort_by
        if self.limit:
            request["limit"] = self.limit
        for name in ("descending", "keys_only", "count_only"):
            if getattr(self, name):
                request[name] = True
        return request


@dataclass(frozen=True, slots=True)
class Condition:
    """What must be true of a key, or of each key of a range. Make one with the class methods.

    A key that does not exist has the numbers 0. A comparison of its value is never true.
    """

    fields: dict[str, object]

    @classmethod
    def exists(cls, key: Data, whether: bool = True) -> Self:
        """The key exists, or does not."""
        return cls({"key": data_json(key), "exists": whether})

    @classmethod
    def value(cls, key: Data, relation: Relation, value: Data) -> Self:
        """The value of the key compares so with this one, as bytes."""
        return cls({"key": data_json(key), "is": relation, "value": data_json(value)})

    @classmethod
    def number(cls, target: NumberTarget, key: Data, relation: Relation, number: int) -> Self:
        """A number of the key compares so with this one."""
        return cls({"key": data_json(key), "is": relation, target: number})

    def for_prefix(self) -> Condition:
        """The same for each key that begins with the key of this condition."""
        fields = dict(self.fields)
        return Condition({"prefix": fields.pop("key"), **fields})

    def to_json(self) -> dict[str, object]:
        """As the machine reads it."""
        return self.fields


@dataclass(frozen=True, slots=True)
class Txn:
    """If all conditions hold, the operations of `then`, else those of `otherwise`. All of them happen, or none."""

    conditions: Sequence[Condition]
    then: Sequence[TxnOperation] = field(default=())
    otherwise: Sequence[TxnOperation] = field(default=())

    def to_json(self) -> dict[str, object]:
        """As the machine reads it."""
        return {
            "op": "txn",
            "if": [each.to_json() for each in self.conditions],
            "then": [each.to_json() for each in self.then],
            "else": [each.to_json() for each in self.otherwise],
        }


TxnOperation = Put | Delete | Range | Txn
"""An operation of a transaction."""
