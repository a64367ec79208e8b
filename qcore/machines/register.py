"""The register machine (`register`): a small, fast key-value state machine for simulations and examples."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from json.encoder import encode_basestring  # what `encode` does with a text
from typing import ClassVar, Final, SupportsIndex

from pydantic import JsonValue
from pydantic_core import from_json

from qcore.compiled_build import mypyc_attr, reduce_machine
from qcore.core.text_size import utf8_length
from qcore.errors import StoreError
from qcore.machines.interface import ApplyContext, Change
from qcore.machines.limits import BOUNDED_RULES
from qcore.machines.register_commands import (
    ABSENT,
    RegisterChanged,
    RegisterCommand,
    encode,
    parse_command,
    parse_request,
)
from qcore.machines.snapshot_chunks import to_chunks, to_lines
from qcore.machines.state_digest import StateDigest
from qcore.release import unknown_format

#: Limits of the work before each item of a gradual restore (some milliseconds): registers, and roughly their
#: characters.
REGISTERS_PER_STEP = 1000
CHARS_PER_STEP = 256 * 1024
_INT_MIN: Final = -(2**63)
_INT_MAX: Final = 2**63 - 1
_INT_CHARS: Final = 20  # the longest integer of 64 bits, with its sign
#: What a line of a snapshot has besides key and value: brackets, quotes, comma, line end.
_LINE_BYTES: Final = 6
_VERSION: Final = 1
_HEADER: Final = {"format": "qcore-kv", "version": _VERSION}


@mypyc_attr(allow_interpreted_subclasses=True)
class RegisterMachine:
    """Registers by key, each with a JSON value. A register that was never set has the value null.

    Commands (JSON text):

    - `{"op": "set", "key": k, "value": v}`. Setting null is the same as deleting.
    - `{"op": "cas", "key": k, "old": a, "new": b}`: set to `b` if the value is `a`. The comparison is of JSON values,
      so 1, 1.0 and true differ.
    - `{"op": "add", "key": k, "amount": n}`: integers of 64 bits; null counts as 0.
    - `{"op": "delete", "key": k}`.

    Query: `{"op": "get", "key": k}`.

    Results: `{"ok": true, "value": v}` with the register's value after the command, or `{"ok": false, "error": text}`
    if the command failed and changed nothing. A failed `cas` also has `value`, the register's actual value.
    """

    name: ClassVar[str] = "register"
    versions: ClassVar[tuple[int, int]] = (1, 1)

    def __reduce_ex__(self, protocol: SupportsIndex) -> str | tuple[object, ...]:
        """Copies and pickles: in the pure build only."""
        return reduce_machine(self, protocol)

    def __init__(self) -> None:
        self._registers: dict[str, str] = {}  # key -> canonical JSON text; null is not stored
        #: See `SupportsStateSize`.
        self.state_bytes = 0
        self._digest: StateDigest[str] = StateDigest()
        self._changes: Sequence[Change] = ()

    def apply(self, command: str, context: ApplyContext) -> str:
        """Apply a command; see the class for the forms. Never raises."""
        bounded = context.rules >= BOUNDED_RULES
        self._changes = ()
        try:
            parsed = parse_command(command, bounded=bounded)
            if parsed.op == "set":
                self._put(parsed.key, parsed.text)
                return parsed.answer
            return self._execute(parsed, bounded=bounded)
        except StoreError as error:
            return f'{{"ok":false,"error":{encode(str(error))}}}'

    def last_changes(self) -> Sequence[Change]:
        """See `SupportsChanges`. The topic is the key, and the body `{"key": k, "value": v}`.

        A command that leaves the value as it is changes nothing.
        """
        return self._changes

    def may_grow(self, command: str) -> bool:
        """See `SupportsStateSize`. A `delete` does not add, and neither does a command that sets null."""
        try:
            request = parse_request(command)
        except StoreError:
            return True
        return request["op"] == "add" or request.get("value", request.get("new")) is not None

    def recognises(self, command: str) -> bool:
        """Whether the text has the form of a command."""
        try:
            parse_request(command)
        except StoreError:
            return False
        return True

    def query(self, query: str) -> str:
        """Execute a `get`.

        Raises:
            StoreError: the query is not a well-formed `get`.
        """
        request = parse_request(query)
        if request["op"] != "get":
            raise StoreError(f"op {request['op']!r} changes the state: send it as a command")
        return self._value(str(request["key"]))

    def snapshot(self) -> Iterable[str]:
        """Return the registers as of this call, in chunks."""
        registers = self._registers.copy()
        header = encode({**_HEADER, "registers": len(registers)})
        lines = (f"[{encode(key)},{text}]" for key, text in registers.items())
        return to_chunks(chain((header,), lines))

    def restore(self, chunks: Iterable[str]) -> None:
        """Replace the whole state.

        Raises:
            StoreError: the text is not a whole snapshot of this machine; the state is unchanged.
        """
        for _ in self.restore_gradually(chunks):
            pass

    def restore_gradually(self, chunks: Iterable[str]) -> Iterator[None]:
        """Like `restore`, with a bounded number of registers before each item. The state changes at the end.

        Raises:
            StoreError: see `restore`.
        """
        registers: dict[str, str] = {}
        digest: StateDigest[str] = StateDigest()
        pending = size = 0
        for number, key in enumerate(_read_snapshot(to_lines(chunks), registers), start=1):
            digest.touch(key)
            pending += len(registers[key])
            size += _register_bytes(key, registers[key])
            if number % REGISTERS_PER_STEP == 0 or pending >= CHARS_PER_STEP:
                pending = 0
                digest.hexdigest(lambda key: _register_text(key, registers))
                yield
        old, self._registers, self._digest = self._registers, registers, digest
        self.state_bytes = size
        # Freeing a large state in one step would also take long.
        while old:
            for _ in range(min(len(old), REGISTERS_PER_STEP)):
                old.popitem()
            yield

    def state_hash(self) -> str:
        """Return a digest of the registers. It costs time only for those that changed since the last call."""
        registers = self._registers
        return self._digest.hexdigest(lambda key: _register_text(key, registers))

    def _execute(self, command: RegisterCommand, *, bounded: bool) -> str:
        key = command.key
        match command.op:
            case "cas":
                actual = self._registers.get(key, ABSENT)
                if actual != command.old:
                    error = encode("cas: the value is not the old one")
                    return f'{{"ok":false,"error":{error},"value":{actual}}}'
                self._put(key, command.text)
                return command.answer
            case "add":
                self._put(key, self._sum(key, command.amount, bounded=bounded))
            case "delete":
                self._put(key, ABSENT)
        return self._value(key)

    def _value(self, key: str) -> str:
        return f'{{"ok":true,"value":{self._registers.get(key, ABSENT)}}}'

    def _put(self, key: str, text: str) -> None:
        registers = self._registers
        old = registers.get(key, ABSENT)
        if old == text:
            return
        self._changes = (RegisterChanged(key, text),)
        if text == ABSENT:
            self.state_bytes -= _register_bytes(key, old)
            del registers[key]
            self._digest.drop(key)
            return
        if old == ABSENT:
            self.state_bytes += _register_bytes(key, text)
        else:
            self.state_bytes += utf8_length(text) - utf8_length(old)
        registers[key] = text
        self._digest.touch(key)

    def _sum(self, key: str, amount: JsonValue, *, bounded: bool) -> str:
        text = self._registers.get(key, "0")
        # A long text is not an integer of 64 bits, so do not parse it.
        current = None if bounded and len(text) > _INT_CHARS else json.loads(text)
        if type(current) is not int:
            raise StoreError("add: the register does not hold an integer")
        if type(amount) is not int:
            raise StoreError("add: amount must be an integer")
        total = current + amount
        if not _INT_MIN <= total <= _INT_MAX:
            raise StoreError("add: the sum does not fit into 64 bits")
        return str(total)


def _register_bytes(key: str, text: str) -> int:
    return utf8_length(key) + utf8_length(text) + _LINE_BYTES


def _register_text(key: str, registers: dict[str, str]) -> str:
    return f"{encode_basestring(key)}:{registers[key]}"


def _read_snapshot(lines: Iterator[str], registers: dict[str, str]) -> Iterator[str]:
    """Fill `registers`, and yield each key."""
    try:
        header = from_json(next(lines, "null"))
        if not isinstance(header, dict) or header.get("format") != _HEADER["format"]:
            raise StoreError(f"restore: line 1 is not the header of a {_HEADER['format']} snapshot")
        if header.get("version") != _VERSION:
            raise StoreError(
                f"restore: the snapshot {unknown_format(header.get('version'), _VERSION)}"
            )
        for line in lines:
            key, value = from_json(line)
            registers[str(key)] = encode(value)
            yield str(key)
    except (ValueError, TypeError) as error:
        raise StoreError(f"restore: a line of the snapshot is malformed: {error}") from error
    if len(registers) != header.get("registers"):
        raise StoreError(
            f"restore: the snapshot is cut short: {len(registers)} of {header.get('registers')} registers"
        )
