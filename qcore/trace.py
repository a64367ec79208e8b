"""The one trace schema, for simulated and real nodes: JSON lines with a stable key order.

Every record is one line, one JSON object. The first three keys are always `t_us` (microseconds:
simulated time, or Unix time on real nodes), `kind`, and `node` (0 where no node is meant). The rest depends on
the kind, in the order of `RECORD_FIELDS`.

| kind | meaning |
|---|---|
| run | the header: schema version, what ran, with which seed and nodes |
| up, down | a server started (with its restored term, commit and last index); stopped, crashed or paused (`why`) |
| role | role, term or known leader changed |
| vote | the server gave its vote in a term |
| config | the configuration in force |
| commit | the commit index moved |
| apply | one entry was applied |
| send, recv, drop | a message left, arrived, was lost; `id` ties them together; `note` says why or what |
| fault | a fault began, ended, or acted; with the name `trace`: records are missing here |
| op | a client operation: invoke, then ok, refused or unknown |
| bad | a malformed or senseless message was ignored |
| violation | an invariant or the linearizability check failed |

The SHA-256 over all lines (each ending in a newline) is the trace hash of a run.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from qcore.errors import ConfigError

SCHEMA_VERSION: Final = 1

#: The keys of each kind after `t_us`, `kind` and `node`, in order.
RECORD_FIELDS: Final[Mapping[str, tuple[str, ...]]] = {
    "run": ("schema", "name", "seed", "nodes"),
    "up": ("term", "commit", "last_index"),
    "down": ("why",),
    "role": ("role", "term", "leader"),
    "vote": ("term", "candidate"),
    "config": ("index", "voters", "voters_outgoing", "learners"),
    "commit": ("index",),
    "apply": ("index", "term", "entry"),
    "send": ("to", "id", "message", "term", "note"),
    "recv": ("from", "id", "message"),
    "drop": ("from", "id", "message", "note"),
    "fault": ("phase", "fault", "nodes", "links", "note"),
    "op": ("phase", "client", "op_id", "op", "key", "value", "note"),
    "bad": ("from", "message", "note"),
    "violation": ("check", "note"),
}

#: The name in a record `fault` that says, in their place, that records of these nodes are missing.
RECORDS_MISSING_FAULT: Final = "trace"
#: Its note where a line was cut short.
TRUNCATED_NOTE: Final = "records are missing here: a line was cut short, by a kill or a full disk"

_BEGINNING: Final = '{"t_us":'
_FLUSH_LINES: Final = 512
_text = json.JSONEncoder(ensure_ascii=True, separators=(",", ":")).encode


@dataclass(slots=True, frozen=True)
class TraceRecord:
    """One line of a trace, read back. `fields` holds the keys of `RECORD_FIELDS[kind]`."""

    t_us: int
    kind: str
    node: int
    fields: Mapping[str, Any]  # JSON of a shape that depends on the kind


class TextSink(Protocol):
    """Where the lines go: a text file, as a rule."""

    def write(self, text: str, /) -> object:
        """Take some whole lines."""
        ...

    def flush(self) -> object:
        """Give what was taken to whoever reads it."""
        ...


class TraceWriter:
    """Writes records, hashes them, and keeps or forwards the lines.

    Args:
        stream: what to write to, or None.
        keep: keep the lines in memory, for `lines()`.

    The methods are on the simulator's hot path, so they format by hand; all texts that a caller passes
    as `note` go through the JSON encoder, and names are plain identifiers.
    """

    def __init__(self, stream: TextSink | None = None, *, keep: bool = False) -> None:
        self._stream = stream
        self._keep = keep
        self._kept: list[str] = []
        self._pending: list[str] = []
        self._hash = hashlib.sha256()

    # -- records ---------------------------------------------------------------------------------

    def run(self, t_us: int, name: str, seed: int, nodes: Sequence[int]) -> None:
        self._put(
            f'{{"t_us":{t_us},"kind":"run","node":0,"schema":{SCHEMA_VERSION},"name":{_text(name)},'
            f'"seed":{seed},"nodes":{_text(list(nodes))}}}'
        )

    def up(self, t_us: int, node: int, term: int, commit: int, last_index: int) -> None:
        self._put(
            f'{{"t_us":{t_us},"kind":"up","node":{node},"term":{term},"commit":{commit},'
            f'"last_index":{last_index}}}'
        )

    def down(self, t_us: int, node: int, why: str) -> None:
        self._put(f'{{"t_us":{t_us},"kind":"down","node":{node},"why":{_text(why)}}}')

    def role(self, t_us: int, node: int, role: str, term: int, leader: int | None) -> None:
        self._put(
            f'{{"t_us":{t_us},"kind":"role","node":{node},"role":"{role}","term":{term},'
            f'"leader":{"null" if leader is None else leader}}}'
        )

    def vote(self, t_us: int, node: int, term: int, candidate: int) -> None:
        self._put(
            f'{{"t_us":{t_us},"kind":"vote","node":{node},"term":{term},"candidate":{candidate}}}'
        )

    def config(
        self,
        t_us: int,
        node: int,
        index: int,
        voters: Sequence[int],
        voters_outgoing: Sequence[int],
        learners: Sequence[int],
    ) -> None:
        self._put(
            f'{{"t_us":{t_us},"kind":"config","node":{node},"index":{index},'
            f'"voters":{_text(list(voters))},"voters_outgoing":{_text(list(voters_outgoing))},'
            f'"learners":{_text(list(learners))}}}'
        )

    def commit(self, t_us: int, node: int, index: int) -> None:
        self._put(f'{{"t_us":{t_us},"kind":"commit","node":{node},"index":{index}}}')

    def apply(self, t_us: int, node: int, index: int, term: int, entry: str) -> None:
        self._put(
            f'{{"t_us":{t_us},"kind":"apply","node":{node},"index":{index},"term":{term},'
            f'"entry":"{entry}"}}'
        )

    def send(
        self, t_us: int, node: int, to: int, message_id: str, message: str, term: int, note: str
    ) -> None:
        """`note` here is a plain summary without quotes or backslashes, as `summary.note_of` makes it."""
        self._put(
            f'{{"t_us":{t_us},"kind":"send","node":{node},"to":{to},"id":"{message_id}",'
            f'"message":"{message}","term":{term},"note":"{note}"}}'
        )

    def recv(self, t_us: int, node: int, from_node: int, message_id: str, message: str) -> None:
        self._put(
            f'{{"t_us":{t_us},"kind":"recv","node":{node},"from":{from_node},"id":"{message_id}",'
            f'"message":"{message}"}}'
        )

    def drop(
        self, t_us: int, node: int, from_node: int, message_id: str, message: str, note: str
    ) -> None:
        """The message `message_id` from `from_node` will not reach `node`; `note` says why."""
        self._put(
            f'{{"t_us":{t_us},"kind":"drop","node":{node},"from":{from_node},"id":"{message_id}",'
            f'"message":"{message}","note":{_text(note)}}}'
        )

    def fault(
        self,
        t_us: int,
        phase: str,
        fault: str,
        nodes: Sequence[int] = (),
        links: Iterable[tuple[int, int]] = (),
        note: str = "",
    ) -> None:
        """`phase` is `begin`, `end` or `act`; `links` are the directed links that it cuts or spoils."""
        self._put(
            f'{{"t_us":{t_us},"kind":"fault","node":0,"phase":"{phase}","fault":{_text(fault)},'
            f'"nodes":{_text(list(nodes))},"links":{_text([list(link) for link in links])},'
            f'"note":{_text(note)}}}'
        )

    def op(
        self,
        t_us: int,
        node: int,
        phase: str,
        client: int,
        op_id: int,
        op: str,
        key: str,
        value: str | int | None,
        note: str = "",
    ) -> None:
        """`phase` is `invoke`, `ok`, `refused` or `unknown`; `value` is what was written or read."""
        value_text = str(value) if type(value) is int else _text(value)
        note_text = _text(note) if note else '""'
        self._put(
            f'{{"t_us":{t_us},"kind":"op","node":{node},"phase":"{phase}","client":{client},'
            f'"op_id":{op_id},"op":"{op}","key":{_text(key)},"value":{value_text},'
            f'"note":{note_text}}}'
        )

    def bad(self, t_us: int, node: int, from_node: int, message: str, note: str) -> None:
        self._put(
            f'{{"t_us":{t_us},"kind":"bad","node":{node},"from":{from_node},"message":"{message}",'
            f'"note":{_text(note)}}}'
        )

    def violation(self, t_us: int, node: int, check: str, note: str) -> None:
        self._put(
            f'{{"t_us":{t_us},"kind":"violation","node":{node},"check":"{check}",'
            f'"note":{_text(note)}}}'
        )

    # -- output ----------------------------------------------------------------------------------

    def sha256(self) -> str:
        """The hash over all lines so far, as hexadecimal text."""
        self.flush()
        return self._hash.hexdigest()

    def lines(self) -> list[str]:
        """All lines so far, without newlines. Empty unless made with `keep=True`."""
        self.flush()
        return self._kept

    def flush(self) -> None:
        """Hash, keep and write what is pending."""
        if not self._pending:
            return
        block = "\n".join(self._pending) + "\n"
        self._hash.update(block.encode())
        if self._keep:
            self._kept.extend(self._pending)
        if self._stream is not None:
            self._stream.write(block)
            self._stream.flush()
        self._pending.clear()

    def _put(self, line: str) -> None:
        pending = self._pending
        pending.append(line)
        if len(pending) >= _FLUSH_LINES:
            self.flush()


def parse_trace(lines: Iterable[str]) -> Iterator[TraceRecord]:
    """Read records back.

    In the place of a line that was cut short stands a record of kind `fault` that says so (`TRUNCATED_NOTE`).

    Raises:
        ConfigError: a line is not a record of this schema; names the line's number and what is wrong.
    """
    last_us: int | None = None
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        raw, is_truncated = _read_line(line, number)
        if is_truncated and last_us is not None:  # else nothing came before that could go on
            note = {
                "phase": "act",
                "fault": RECORDS_MISSING_FAULT,
                "nodes": [],
                "links": [],
                "note": TRUNCATED_NOTE,
            }
            yield TraceRecord(last_us, "fault", 0, note)
        if raw is None:
            continue
        if not isinstance(raw, dict):
            raise ConfigError(f"trace line {number} is not an object")
        try:
            kind = raw["kind"]
            keys = RECORD_FIELDS[kind]
            record = TraceRecord(raw["t_us"], kind, raw["node"], {key: raw[key] for key in keys})
        except (KeyError, TypeError) as error:
            raise ConfigError(f"trace line {number} lacks or does not know {error}") from None
        if kind == "run" and raw["schema"] != SCHEMA_VERSION:
            raise ConfigError(
                f"trace line {number}: schema {raw['schema']}, this qcore reads {SCHEMA_VERSION}"
            )
        last_us = record.t_us
        yield record


def is_truncated(line: str) -> bool:
    """Whether a line that is not JSON begins as a record does, or is the zeros that a power cut may leave."""
    text = line.strip().strip("\0")
    return text.startswith(_BEGINNING) or _BEGINNING.startswith(text)


def next_record_start(line: str) -> int:
    """Where the next record begins in a line that was cut short and then appended to, as 0.1.0 did; -1: nowhere."""
    return line.find(_BEGINNING, 1)


def _read_line(line: str, number: int) -> tuple[object, bool]:
    """The JSON value in a line, None if there is no whole one, and whether the line was cut short.

    Raises:
        ConfigError: it is no part of a trace.
    """
    try:
        return json.loads(line), False
    except (ValueError, RecursionError) as error:
        if not is_truncated(line):
            raise ConfigError(f"trace line {number} is not JSON: {error}") from None
    start = next_record_start(line)
    return (None if start < 0 else _read_line(line[start:], number)[0]), True


def read_trace(path: Path | str) -> list[TraceRecord]:
    """All records of a trace file.

    Raises:
        ConfigError: the file cannot be read or holds a bad line; names both.
    """
    try:
        # What is not UTF-8 is no record either: the parser says in which line.
        with open(path, encoding="utf-8", errors="replace") as stream:
            return list(parse_trace(stream))
    except OSError as error:
        raise ConfigError(f"cannot read the trace {path}: {error.strerror}") from None
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
