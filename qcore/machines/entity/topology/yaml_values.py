"""Reads field values of a topology file: tagged as on the wire, or in the shorter forms that the file allows."""

from __future__ import annotations

import re
from collections.abc import Container
from datetime import UTC, datetime, timedelta
from typing import get_args

from qcore.errors import ConfigError
from qcore.machines.entity.quoted_text import quoted
from qcore.machines.entity.state.entity_id import EntityId
from qcore.machines.entity.state.value import Kind, Value
from qcore.machines.entity.state.wire.value_json import INT_MAX, INT_MIN
from qcore.yaml_reader import MappingNode, Node, ScalarNode, SequenceNode

_KINDS: tuple[Kind, ...] = get_args(Kind)
_ENTITY_ID = re.compile(r"(?P<typ>[^$]+)\$(?P<id>[0-9]{1,19})", re.ASCII)
_RFC3339 = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?(?:[Zz]|([+-])(\d\d):(\d\d))",
    re.ASCII,
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NANOS_PER_SECOND = 1_000_000_000


class ValueReader:
    """Reads values.

    Args:
        types: the entity types that a `Type$id` may refer to.
    """

    def __init__(self, types: Container[str]) -> None:
        self._types = types

    def value(self, node: Node, expected: Kind | None, choices: tuple[str, ...]) -> Value:
        """Read a tagged value, or a bare Bool, Int or Float.

        Args:
            expected: the field's kind, if known. With it, a bare 5 may be a Float.
            choices: the names of the field's choices.

        Raises:
            ConfigError: it is not such a value, or it is out of range.
        """
        if isinstance(node, ScalarNode):
            return self._bare(node, expected)
        if not isinstance(node, MappingNode) or len(node.entries) != 1:
            raise self._fail(node, 'a value is a map with one key, its kind: {String: "text"}')
        tag, inner = next(iter(node.texts().items()))
        if tag not in _KINDS:
            raise self._fail(node, f"unknown kind {quoted(tag)}; known kinds: {', '.join(_KINDS)}")
        return self._tagged(tag, inner, choices)

    def integer(self, node: Node, what: str) -> int:
        """Read an integer of 64 bits."""
        value = node.value if isinstance(node, ScalarNode) else None
        if type(value) is not int:
            raise self._fail(node, f"{what} must be a whole number")
        if not INT_MIN <= value <= INT_MAX:
            raise self._fail(node, f"{what} does not fit into 64 bits")
        return value

    def reference(self, node: Node) -> EntityId | None:
        """Read a `Type$id` or null."""
        if isinstance(node, ScalarNode) and node.value is None:
            return None
        return self._entity_id(node)

    def _bare(self, node: ScalarNode, expected: Kind | None) -> Value:
        match node.value:
            case bool() as flag:
                return Value("Bool", flag)
            case int() if expected == "Float":
                return self._tagged("Float", node, ())
            case int():
                return Value("Int", self.integer(node, "an Int"))
            case float():
                return self._tagged("Float", node, ())
            case _:
                kind = expected or "String"
                raise self._fail(
                    node, f"only Bool, Int and Float may be bare; write {{{kind}: ...}}"
                )

    def _tagged(self, kind: Kind, node: Node, choices: tuple[str, ...]) -> Value:
        match kind:
            case "Bool":
                return Value(kind, self._bool(node))
            case "Int":
                return Value(kind, self.integer(node, "an Int"))
            case "Float":
                return Value(kind, self._float(node))
            case "String":
                return Value(kind, self._string(node))
            case "Choice":
                return Value(kind, self._choice(node, choices))
            case "EntityReference":
                return Value(kind, self.reference(node))
            case "EntityList":
                return Value(kind, tuple(self._entity_id(item) for item in self._items(node, kind)))
            case "Timestamp":
                return Value(kind, self._timestamp(node))
            case "Blob":
                return Value(kind, bytes(self._byte(item) for item in self._items(node, kind)))

    def _bool(self, node: Node) -> bool:
        if not isinstance(node, ScalarNode) or not isinstance(node.value, bool):
            raise self._fail(node, "a Bool must be true or false")
        return node.value

    def _float(self, node: Node) -> float:
        value = node.value if isinstance(node, ScalarNode) else None
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self._fail(node, "a Float must be a number")
        number = float(value)
        if number in (float("inf"), float("-inf")):
            raise self._fail(node, "the number exceeds the range of a Float")
        return number

    def _string(self, node: Node) -> str:
        if not isinstance(node, ScalarNode) or not isinstance(node.value, str):
            raise self._fail(node, "a String must be a text; quote it")
        return node.value

    def _choice(self, node: Node, choices: tuple[str, ...]) -> int:
        if isinstance(node, ScalarNode) and isinstance(node.value, str):
            if node.value in choices:
                return choices.index(node.value)
            raise self._fail(
                node, f"unknown choice {quoted(node.value)}; known choices: {', '.join(choices)}"
            )
        if isinstance(node, ScalarNode) and isinstance(node.value, bool):
            raise self._fail(
                node,
                f"{str(node.value).lower()} is no choice, but what other programs make of an unquoted On, Off, Yes or "
                f"No: write one of {', '.join(map(quoted, choices))}, in quotes",
            )
        return self.integer(node, "a Choice is one of the choices, or its position, which")

    def _items(self, node: Node, kind: Kind) -> list[Node]:
        if not isinstance(node, SequenceNode):
            raise self._fail(node, f"{kind} must be a list")
        return node.items

    def _byte(self, node: Node) -> int:
        value = self.integer(node, "a byte of a Blob")
        if not 0 <= value <= 255:
            raise self._fail(node, "a byte of a Blob must be from 0 to 255")
        return value

    def _entity_id(self, node: Node) -> EntityId:
        text = node.value if isinstance(node, ScalarNode) else None
        found = _ENTITY_ID.fullmatch(text) if isinstance(text, str) else None
        if found is None:
            raise self._fail(node, "an entity is named by a text such as User$123")
        if found["typ"] not in self._types:
            raise self._fail(
                node, f"{quoted(found[0])} names the unknown type {quoted(found['typ'])}"
            )
        return EntityId(found["typ"], int(found["id"]))

    def _timestamp(self, node: Node) -> int:
        if isinstance(node, MappingNode) and sorted(node.texts()) == [
            "nanos_since_epoch",
            "secs_since_epoch",
        ]:
            seconds = self.integer(node.entries["secs_since_epoch"], "secs_since_epoch")
            nanos = self.integer(node.entries["nanos_since_epoch"], "nanos_since_epoch")
            if seconds < 0 or not 0 <= nanos < _NANOS_PER_SECOND:
                raise self._fail(
                    node, "seconds must not be negative, nanoseconds from 0 to 999999999"
                )
            return seconds * _NANOS_PER_SECOND + nanos
        text = node.value if isinstance(node, ScalarNode) else None
        time_ns = parse_rfc3339(text) if isinstance(text, str) else None
        if time_ns is None:
            raise self._fail(
                node, 'a Timestamp is a text such as "2024-01-01T12:00:00Z", not before 1970'
            )
        return time_ns

    def _fail(self, node: Node, reason: str) -> ConfigError:
        return node.error(reason)


def parse_rfc3339(text: str) -> int | None:
    """Return nanoseconds since the Unix epoch; None if the text is not a time since then (RFC 3339, 5.6)."""
    found = _RFC3339.fullmatch(text)
    if found is None:
        return None
    *numbers, fraction, sign, hours, minutes = found.groups()
    year, month, day, hour, minute, second = (int(number) for number in numbers)
    if sign is not None and (int(hours) > 23 or int(minutes) > 59):
        return None
    try:
        local = datetime(year, month, day, hour, minute, second, tzinfo=UTC)
    except ValueError:  # the 30th of February
        return None
    ahead = timedelta(hours=int(hours or 0), minutes=int(minutes or 0))
    since = local - _EPOCH + (ahead if sign == "-" else -ahead)
    seconds = since.days * 86_400 + since.seconds
    return (
        None if seconds < 0 else seconds * _NANOS_PER_SECOND + int((fraction or "").ljust(9, "0"))
    )
