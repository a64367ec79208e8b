"""`RecordQuery`: says at which record to stop: `kind=role node=2 role=leader`."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from qcore.errors import ConfigError

_FORM: Final = "write KEY=VALUE pairs, such as 'kind=role node=2 role=leader'"


@dataclass(slots=True, frozen=True)
class RecordQuery:
    """What a record must have.

    Attributes:
        text: the query as it was given.
        values: key -> value as text. The keys are `kind`, `node`, and the fields of the kind.
    """

    text: str
    values: Mapping[str, str]

    @property
    def kind(self) -> str:
        """The kind of the record."""
        return self.values["kind"]

    def matches(self, kind: str, node: int, fields: Mapping[str, object]) -> bool:
        """Whether a record has everything that the query names."""
        if kind != self.values["kind"]:
            return False
        found = {**fields, "kind": kind, "node": node}
        return all(
            key in found and value_text(found[key]) == value for key, value in self.values.items()
        )


def parse_query(text: str) -> RecordQuery:
    """Read a query.

    Raises:
        ConfigError: it is no list of `KEY=VALUE` pairs, or has no `kind`.
    """
    try:
        pairs = [pair.partition("=") for pair in shlex.split(text)]
    except ValueError as error:
        raise ConfigError(f"--at {text!r}: {error}; {_FORM}") from None
    if any(not key or not equals for key, equals, _ in pairs):
        raise ConfigError(f"--at {text!r}: {_FORM}")
    values = {key: value for key, _, value in pairs}
    if "kind" not in values:
        raise ConfigError(f"--at {text!r}: it names no kind; {_FORM}")
    return RecordQuery(text, values)


def value_text(value: object) -> str:
    """A value as a query writes it."""
    return value if isinstance(value, str) else json.dumps(value, default=str)
