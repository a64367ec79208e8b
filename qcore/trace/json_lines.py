"""Traces as JSON lines: formats records as lines, and parses lines into records."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from json.encoder import encode_basestring_ascii as _quoted
from typing import Any, Final

from qcore.errors import ConfigError
from qcore.release import unknown_format
from qcore.trace.record_details import DETAIL_FIELDS, DETAIL_KINDS, DETAIL_VERSION, DETAILS_MARK
from qcore.trace.trace_record import ALL_FIELDS, KINDS, SCHEMA_VERSION, TraceRecord, cut_note

#: The cells of one record: the time, the node, and the values of its fields in order.
Row = Sequence[Any]  # the types depend on the kind

_BEGINNING: Final = '{"t_us":'
_text = json.JSONEncoder(ensure_ascii=True, separators=(",", ":")).encode


def _commit(row: Row) -> str:
    t_us, node, index = row
    return f'{{"t_us":{t_us},"kind":"commit","node":{node},"index":{index}}}'


def _apply(row: Row) -> str:
    t_us, node, index, term, entry = row
    return (
        f'{{"t_us":{t_us},"kind":"apply","node":{node},"index":{index},"term":{term},'
        f'"entry":{_quoted(entry)}}}'
    )


def _send(row: Row) -> str:
    t_us, node, to, message_id, message, term, note = row
    return (
        f'{{"t_us":{t_us},"kind":"send","node":{node},"to":{to},"id":{_quoted(message_id)},'
        f'"message":"{message}","term":{term},"note":{_quoted(note)}}}'
    )


def _recv(row: Row) -> str:
    t_us, node, from_node, message_id, message = row
    return (
        f'{{"t_us":{t_us},"kind":"recv","node":{node},"from":{from_node},"id":{_quoted(message_id)},'
        f'"message":"{message}"}}'
    )


def _op(row: Row) -> str:
    t_us, node, phase, client, op_id, op, key, value, note = row
    return (
        f'{{"t_us":{t_us},"kind":"op","node":{node},"phase":"{phase}","client":{client},'
        f'"op_id":{op_id},"op":"{op}","key":{_quoted(key)},'
        f'"value":{value if type(value) is int else _text(value)},"note":{_quoted(note)}}}'
    )


def _any_kind(kind: str) -> Callable[[Row], str]:
    keys = ("t_us", "kind", "node", *ALL_FIELDS[kind])

    def line(row: Row) -> str:
        return _text(dict(zip(keys, (row[0], kind, *row[1:]), strict=True)))

    return line


_HOT: Final = {"commit": _commit, "apply": _apply, "send": _send, "recv": _recv, "op": _op}

#: For each kind, in the order of `KINDS`: formats a row as a line without newline. The frequent kinds are formatted by
#: hand, which takes a third of the time.
LINE_OF_ROW: Final[tuple[Callable[[Row], str], ...]] = tuple(
    _HOT.get(kind) or _any_kind(kind) for kind in KINDS
)

#: The same for each kind of details, in the order of `DETAIL_KINDS`.
LINE_OF_DETAIL: Final[tuple[Callable[[Row], str], ...]] = tuple(map(_any_kind, DETAIL_KINDS))

_LINE_OF_KIND: Final = dict(
    zip((*KINDS, *DETAIL_KINDS), (*LINE_OF_ROW, *LINE_OF_DETAIL), strict=True)
)


def as_line(record: TraceRecord) -> str:
    """A record as a line, without newline."""
    return _LINE_OF_KIND[record.kind]((record.t_us, record.node, *record.values))


def details_mark(t_us: int) -> str:
    """The line before the first detail."""
    return _text({"t_us": t_us, "kind": DETAILS_MARK, "node": 0, "version": DETAIL_VERSION})


def parse_trace(lines: Iterable[str], *, details: bool = False) -> Iterator[TraceRecord]:
    """Parse the lines of a trace into records.

    A truncated line yields a record of kind `fault` with the note `TRUNCATED_NOTE`.

    Args:
        lines: the lines.
        details: yield the details too.

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
            yield cut_note(last_us)
        if raw is None:
            continue
        if not isinstance(raw, dict):
            raise ConfigError(f"trace line {number} is not an object")
        if raw.get("kind") == DETAILS_MARK:
            _check_details(raw.get("version"), number)
            continue
        if not details and raw.get("kind") in DETAIL_FIELDS:
            continue
        try:
            record = TraceRecord(raw["t_us"], raw["kind"], raw["node"], raw)
        except (KeyError, TypeError) as error:
            raise ConfigError(
                f"trace line {number}: missing key or unknown value: {error}"
            ) from None
        if record.kind == "run" and raw["schema"] != SCHEMA_VERSION:
            raise ConfigError(
                f"trace line {number}: the schema of the trace {unknown_format(raw['schema'], SCHEMA_VERSION)}"
            )
        last_us = record.t_us
        yield record


def _check_details(version: object, number: int) -> None:
    if version != DETAIL_VERSION:
        found = version if isinstance(version, int) else 0
        raise ConfigError(
            f"trace line {number}: the details of the trace {unknown_format(found, DETAIL_VERSION)}"
        )


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
            foreign = "; it is no compact trace either" if number == 1 else ""
            raise ConfigError(f"trace line {number} is not JSON{foreign}: {error}") from None
    start = next_record_start(line)
    return (None if start < 0 else _read_line(line[start:], number)[0]), True
