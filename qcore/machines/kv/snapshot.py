"""The snapshot of the key-value machine: a header, the leases, the versions before the history, and the history.

| line | meaning |
|---|---|
| 1 | a JSON object: format, version, the numbers of the state, and how many lines of each kind follow |
| `[id, ttl_ms, expires_us]` | a lease |
| `[key, revision, sequence, created, number, lease, value]` | a version of a key; a deletion has the number 0 |
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from pydantic import JsonValue
from pydantic_core import from_json

from qcore.errors import StoreError
from qcore.machines.kv.leases import Lease, LeaseTable
from qcore.machines.kv.texts import encode, read_bytes
from qcore.machines.kv.versions import Version, VersionedKeys
from qcore.machines.snapshot_chunks import to_chunks, to_lines
from qcore.release import unknown_format

_FORMAT: Final = "qcore-keys"
#: Of `qcore.machines.register`.
_REGISTER_FORMAT: Final = "qcore-kv"
_VERSION: Final = 1
#: Limits of the work before each item of a gradual restore.
LINES_PER_STEP: Final = 500
CHARS_PER_STEP: Final = 256 * 1024
_INT_LIMIT: Final = 2**63


class KeyValueState:
    """The whole state.

    Attributes:
        keys, leases: see their classes.
        offset: what is added to a log index to get a revision; not 0 only if the state came from a longer log.
        clock_us: the cluster clock at the last command.
    """

    def __init__(self, max_changes: int, max_bytes: int) -> None:
        self.keys = VersionedKeys(max_changes, max_bytes)
        self.leases = LeaseTable()
        self.offset = 0
        self.clock_us = 0


def snapshot_chunks(state: KeyValueState) -> Iterator[str]:
    """The state as of this call."""
    before, history = state.keys.kept()
    leases = [lease.text() for lease in state.leases]
    header = {
        "format": _FORMAT,
        "version": _VERSION,
        "revision": state.keys.revision,
        "compacted": state.keys.compacted,
        "offset": state.offset,
        "clock_us": state.clock_us,
        "max_changes": state.keys.max_changes,
        "max_bytes": state.keys.max_bytes,
        "leases": len(leases),
        "versions": len(before),
        "history": len(history),
    }

    def lines() -> Iterator[str]:
        yield encode(header)
        yield from leases
        for version in before:
            yield version.text()
        for version in history:
            yield version.text()

    return to_chunks(lines())


def read_state(chunks: Iterable[str]) -> Iterator[KeyValueState | None]:
    """Read a snapshot: a bounded part of it before each None, and at the end the state.

    Raises:
        StoreError: the text is not a whole snapshot of this machine.
    """
    lines = to_lines(chunks)
    try:
        header = _Header(next(lines, "null"))
        state = KeyValueState(header.number("max_changes"), header.number("max_bytes"))
        keys = state.keys
        state.offset, state.clock_us = header.number("offset"), header.number("clock_us")
        leases, versions, history = map(header.number, ("leases", "versions", "history"))
        number = characters = 0
        for number, line in enumerate(lines, start=1):
            if number <= leases:
                state.leases.add(Lease(*_integers(from_json(line), 3)))
            else:
                version = _version(from_json(line))
                keys.add_kept(version, in_history=number > leases + versions)
            characters += len(line)
            if number % LINES_PER_STEP == 0 or characters >= CHARS_PER_STEP:
                characters = 0
                keys.digest()
                yield None
        if number != leases + versions + history:
            raise StoreError(
                f"restore: the snapshot is cut short: {number} of {leases + versions + history} lines"
            )
        keys.revision, keys.compacted = header.number("revision"), header.number("compacted")
        for held in keys.scan(b"", None):
            lease = state.leases.get(held.lease) if held.lease else None
            if lease is not None:
                lease.keys[held.key] = None
        yield state
    except (ValueError, TypeError) as error:
        raise StoreError(f"restore: a line of the snapshot is malformed: {error}") from error


class _Header:
    def __init__(self, line: str) -> None:
        value = from_json(line)
        if isinstance(value, dict) and value.get("format") == _REGISTER_FORMAT:
            raise StoreError(
                "restore: the snapshot is of the register machine, which was called `kv` in 0.1.0: "
                "give --machine register"
            )
        if not isinstance(value, dict) or value.get("format") != _FORMAT:
            raise StoreError(f"restore: line 1 is not the header of a {_FORMAT} snapshot")
        if value.get("version") != _VERSION:
            raise StoreError(
                f"restore: the snapshot {unknown_format(value.get('version'), _VERSION)}"
            )
        self._fields = value

    def number(self, name: str) -> int:
        return _integers([self._fields.get(name)], 1)[0]


def _version(line: JsonValue) -> Version:
    if not isinstance(line, list) or len(line) != 7:
        raise ValueError("not a version of a key")
    revision, sequence, created, number, lease = _integers(line[1:6], 5)
    value = None if line[6] is None else read_bytes(line[6], "value", _INT_LIMIT)
    key = read_bytes(line[0], "key", _INT_LIMIT)
    if (value is None) != (number == 0):
        raise ValueError("a version without a value is a deletion")
    return Version(key, revision, sequence, created, number, value, lease, None)


def _integers(values: JsonValue, length: int) -> list[int]:
    if isinstance(values, list) and len(values) == length:
        numbers = [value for value in values if type(value) is int and 0 <= value < _INT_LIMIT]
        if len(numbers) == length:
            return numbers
    raise ValueError(f"not {length} numbers")
