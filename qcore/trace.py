"""The trace format of simulated and real nodes, its writer and its reader: JSON lines with a stable key order.

Every record is one JSON object on one line. The first three keys are always `t_us` (microseconds: simulated time, or
Unix time on real nodes), `kind`, and `node` (0 if the record concerns no single node). The remaining keys depend on the
kind; `RECORD_FIELDS` gives their order.

| kind | meaning |
|---|---|
| run | the header: schema version, name, seed and nodes |
| up, down | a node started (with restored term, commit and last index); stopped, crashed or paused (`why`) |
| role | the role, the term or the known leader changed |
| vote | the node gave its vote in a term |
| config | the effective configuration changed |
| commit | the commit index moved |
| apply | an entry was applied |
| send, recv, drop | a message was sent, received, lost (one `id`); `note` summarises it, or states why it was lost |
| fault | a fault began, ended or acted; with the name `trace`: records are missing here |
| op | a client operation: `invoke`, then `ok`, `refused` or `unknown` |
| watch | a watcher at this node: `invoke`, `ok` (the watch begins after this position), `notice`, `ended` |
| program | a client program: `began`, `record` (what it recorded), then `ended`, `failed`, `stopped` or `waiting` |
| bad | a malformed or invalid message was ignored |
| violation | an invariant or the linearizability check failed |

On real nodes several responses may share one `id`, because each has the one of the newest request.

The trace hash of a run is the SHA-256 of all lines, each with its newline.
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
    "watch": ("phase", "client", "topic", "index", "sequence", "note"),
    "program": ("phase", "client", "name", "note"),
    "bad": ("from", "message", "note"),
    "violation": ("check", "note"),
}

#: The fault name of a record that stands in the place of missing records.
RECORDS_MISSING_FAULT: Final = "trace"
#: The note of such a record in the place of a truncated line.
TRUNCATED_NOTE: Final = "records are missing here: a line was cut short, by a kill or a full disk"

_BEGINNING: Final = '{"t_us":'
_FLUSH_LINES: Final = 512
_text = json.JSONEncoder(ensure_ascii=True, separators=(",", ":")).encode


@dataclass(slots=True, frozen=True)
class TraceRecord:
    """One parsed line of a trace. `fields` holds the keys of `RECORD_FIELDS[kind]`."""

    t_us: int
    kind: str
    node: int
    fields: Mapping[str, Any]  # the JSON types depend on the kind


class TextSink(Protocol):
    """The output of a `TraceWriter`, usually a text file."""

    def write(self, text: str, /) -> object:
        """Accept one or more complete lines."""
        ...

    def flush(self) -> object:
        """Make the accepted lines visible to readers."""
        ...


class TraceWriter:
    """Formats and hashes records, and keeps their lines or writes them to a stream.

    Args:
        stream: the output, or None.
        keep: keep the lines in memory for `lines()`.

    The methods are on the simulator's hot path, so they format JSON by hand. Unless a docstring says otherwise, a
    `note` passes through the JSON encoder; names must be plain identifiers.
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
        """`note` must be a plain summary without quotes or backslashes. It bypasses the JSON encoder."""
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
        """The message `message_id` from `from_node` does not reach `node`; `note` states why."""
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
        """`phase` is `begin`, `end` or `act`; `links` are the directed links that the fault affects."""
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
        """`phase` is `invoke`, `ok`, `refused` or `unknown`; `value` is the value written or read."""
        value_text = str(value) if type(value) is int else _text(value)
        note_text = _text(note) if note else '""'
        self._put(
            f'{{"t_us":{t_us},"kind":"op","node":{node},"phase":"{phase}","client":{client},'
            f'"op_id":{op_id},"op":"{op}","key":{_text(key)},"value":{value_text},'
            f'"note":{note_text}}}'
        )

    def watch(
        self,
        t_us: int,
        node: int,
        phase: str,
        client: int,
        topic: str,
        index: int,
        sequence: int,
        note: str = "",
    ) -> None:
        """`phase` is `invoke`, `ok`, `notice` or `ended`; `client` is the number of the watcher."""
        self._put(
            f'{{"t_us":{t_us},"kind":"watch","node":{node},"phase":"{phase}","client":{client},'
            f'"topic":{_text(topic)},"index":{index},"sequence":{sequence},"note":{_text(note)}}}'
        )

    def program(self, t_us: int, client: int, phase: str, name: str, note: str = "") -> None:
        """`phase` is `began`, `record`, `ended`, `failed`, `stopped` or `waiting`."""
        self._put(
            f'{{"t_us":{t_us},"kind":"program","node":0,"phase":"{phase}","client":{client},'
            f'"name":{_text(name)},"note":{_text(note)}}}'
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
        """The trace hash of all lines written until now, in hexadecimal."""
        self.flush()
        return self._hash.hexdigest()

    def lines(self) -> list[str]:
        """All lines written until now, without newlines. Empty unless `keep` is true."""
        self.flush()
        return self._kept

    def flush(self) -> None:
        """Hash, keep and write the pending lines."""
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
    """Parse the lines of a trace into records.

    A truncated line yields a record of kind `fault` with the note `TRUNCATED_NOTE`.

    Raises:
        ConfigError: a line is not a record of this schema. The message names the line number and the fault.
    """
    last_us: int | None = None
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        raw, truncated = _read_line(line, number)
        if (
            truncated and last_us is not None
        ):  # without a previous record there is no time for this one
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
            raise ConfigError(
                f"trace line {number}: missing key or unknown value: {error}"
            ) from None
        if kind == "run" and raw["schema"] != SCHEMA_VERSION:
            raise ConfigError(
                f"trace line {number}: schema {raw['schema']}, this qcore reads {SCHEMA_VERSION}"
            )
        last_us = record.t_us
        yield record


def is_truncated(line: str) -> bool:
    """Whether a line that is not JSON is the beginning of a record, or the zeros that a power loss may leave."""
    text = line.strip().strip("\0")
    return text.startswith(_BEGINNING) or _BEGINNING.startswith(text)


def next_record_start(line: str) -> int:
    """The offset of the next record in a truncated line that was appended to, as 0.1.0 did; -1 if there is none."""
    return line.find(_BEGINNING, 1)


def _read_line(line: str, number: int) -> tuple[object, bool]:
    """The JSON value in a line (None if it holds no complete one), and whether the line is truncated.

    Raises:
        ConfigError: the line is not part of a trace.
    """
    try:
        return json.loads(line), False
    except (ValueError, RecursionError) as error:
        if not is_truncated(line):
            raise ConfigError(f"trace line {number} is not JSON: {error}") from None
    start = next_record_start(line)
    return (None if start < 0 else _read_line(line[start:], number)[0]), True


def read_trace(path: Path | str) -> list[TraceRecord]:
    """Return all records of a trace file.

    Raises:
        ConfigError: the file cannot be read or holds a bad line. The message names the file and the line.
    """
    try:
        # Text that is not UTF-8 is not a record either: the parser reports its line.
        with open(path, encoding="utf-8", errors="replace") as stream:
            return list(parse_trace(stream))
    except OSError as error:
        raise ConfigError(f"cannot read the trace {path}: {error.strerror}") from None
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
