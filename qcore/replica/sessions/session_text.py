"""The session table as part of a snapshot's text: written and read in parts of bounded size.

The table comes first, the state machine's text follows. There are two forms, which differ in the first character:

- Rules 1 and 2: one line of JSON as qcore 0.1.0 writes it, a list of
  `[id, lifetime_ms, last_used_us, acknowledged_through, replies]`.
- From rules 3 on: a line `{"sessions": N}`. Then for each session a line
  `[id, lifetime_ms, last_used_us, acknowledged_through, R]`, and lines with lists of replies until there are R. The
  session of a user has one more number, `Session.owner`.

A reply is `[number, text]`. An error that replaces a result (`qcore.replica.machine_results`) is
`[number, text, code]` in the new form. The old form has no room for the code, and 0.1.0 must be able to read it, so
`[-number, code]` follows there. No command has a number below 1, and 0.1.0 forgets such replies at the session's next
command.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Final

from pydantic_core import from_json

from qcore.core.log.compressed_text import SnapshotText
from qcore.errors import PermissionDenied, ResultInvalid, ResultTooLarge
from qcore.replica.machine_results import Result, result_of_command
from qcore.replica.sessions.client_session import Session

#: How many characters one part has, approximately. A single reply may be longer.
PART_CHARS: Final = 32 * 1024

_ERRORS: Final = {error.code: error for error in (ResultInvalid, ResultTooLarge, PermissionDenied)}
#: A text as JSON, with as few escapes as possible.
_quoted = json.encoder.encode_basestring
_row_at = json.JSONDecoder().raw_decode

#: Receives each session that was read, with its id.
Add = Callable[[int, Session], None]


def table_text(rows: Sequence[tuple[int, Session]], rules: int) -> Iterator[str]:
    """The table in parts.

    Args:
        rows: the sessions by id, least recently used first. They must not change until the last part was read.
        rules: the apply rules, which decide the form.
    """
    return _in_parts(_new_form(rows) if rules >= 3 else _old_form(rows))


def read_table(text: SnapshotText, add: Add, at: int = 0) -> Generator[None, None, int]:
    """Read the table at this position of a snapshot's text; each item is a bounded part of the work.

    Returns:
        the position at which the state machine's text begins.

    Raises:
        ValueError: there is no table.
    """
    if at == 0 and text[:1] == "[":
        return (yield from _read_old_form(_first_line(text), add))
    return (yield from _read_new_form(text, at, add))


def _in_parts(pieces: Iterator[str]) -> Iterator[str]:
    held: list[str] = []
    size = 0
    for piece in pieces:
        held.append(piece)
        size += len(piece)
        if size >= PART_CHARS:
            yield "".join(held)
            held, size = [], 0
    if held:
        yield "".join(held)


# -- from rules 3 on ---------------------------------------------------------------------------------


def _new_form(rows: Sequence[tuple[int, Session]]) -> Iterator[str]:
    yield f'{{"sessions":{len(rows)}}}\n'
    for key, held in rows:
        times = f"{held.lifetime_ms},{held.last_used_us}"
        owner = f",{held.owner}" if held.owner else ""
        yield f"[{key},{times},{held.acknowledged_through},{len(held.replies)}{owner}]\n"
        size = 0
        for number, reply in held.replies.items():
            comma = "," if size else "["
            if isinstance(reply, str):
                piece = f"{comma}[{number},{_quoted(reply)}]"
            else:
                piece = f'{comma}[{number},{_quoted(str(reply))},"{reply.code}"]'
            yield piece
            size += len(piece)
            if size >= PART_CHARS:
                yield "]\n"
                size = 0
        if size:
            yield "]\n"


def _read_new_form(text: SnapshotText, at: int, add: Add) -> Generator[None, None, int]:
    line, at = _line(text, at)
    match line:
        case {"sessions": int() as sessions}:
            pass
        case _:
            raise ValueError("it does not begin with a table of sessions")
    paused_at = at
    for _ in range(sessions):
        line, at = _line(text, at)
        match line:
            case [
                int() as key,
                int() as life,
                int() as used,
                int() as acknowledged_through,
                int() as count,
                *rest,
            ]:
                owner = _owner(rest)
            case _:
                raise ValueError("a line of the session table is not a session")
        session = Session(life, used, acknowledged_through=acknowledged_through, owner=owner)
        while len(session.replies) < count:
            line, at = _line(text, at)
            if not isinstance(line, list) or not line:
                raise ValueError("a line of the session table holds no replies")
            for number, reply in map(_reply, line):
                session.record(number, reply)
            if at - paused_at >= PART_CHARS:
                paused_at = at
                yield
        if len(session.replies) != count:
            raise ValueError(f"session {key} has {len(session.replies)} replies and not {count}")
        add(key, session)
        if at - paused_at >= PART_CHARS:
            paused_at = at
            yield
    return at


def _owner(rest: list[object]) -> int:
    match rest:
        case []:
            return 0
        case [int() as owner]:
            return owner
    raise ValueError("a line of the session table is not a session")


def _line(text: SnapshotText, at: int) -> tuple[object, int]:
    end = text.index("\n", at)
    return from_json(text[at:end]), end + 1


def _reply(row: object) -> tuple[int, Result]:
    match row:
        case [int() as number, str() as text]:
            return number, text
        case [int() as number, str() as text, str() as code] if code in _ERRORS:
            return number, _ERRORS[code](text)
    raise ValueError("a reply in the session table is malformed")


# -- rules 1 and 2 -----------------------------------------------------------------------------------


def _old_form(rows: Sequence[tuple[int, Session]]) -> Iterator[str]:
    """This one line is also written in parts. Only 0.1.0 reads it as a whole."""
    yield "["
    for position, (key, held) in enumerate(rows):
        before = "," if position else ""
        yield f"{before}[{key},{held.lifetime_ms},{held.last_used_us},{held.acknowledged_through},["
        comma = ""
        for number, reply in held.replies.items():
            if isinstance(reply, str):
                yield f"{comma}[{number},{json.dumps(reply)}]"
            else:
                yield f'{comma}[{number},{json.dumps(str(reply))}],[{-number},"{reply.code}"]'
            comma = ","
        yield "]]"
    yield "]\n"


def _first_line(text: SnapshotText) -> str:
    """What the old form reads: the line is the whole table, and the rest of the text stays compressed."""
    return text if isinstance(text, str) else text[: text.index("\n", 0) + 1]


def _read_old_form(text: str, add: Add) -> Generator[None, None, int]:
    """Read row by row. An invalid result that 0.1.0 recorded becomes the error that replaces it today."""
    at, paused_at = 1, 0
    more = not text.startswith("]", at)
    while more:
        row, at = _row_at(text, at)
        match row:
            case [
                int() as key,
                int() as life,
                int() as used,
                int() as acknowledged_through,
                list() as pairs,
            ]:
                add(key, Session.restored(life, used, acknowledged_through, _old_replies(pairs)))
            case _:
                raise ValueError("a row of the session table is not a session")
        more = text.startswith(",", at)
        at += more
        if at - paused_at >= PART_CHARS:
            paused_at = at
            yield
    if not text.startswith("]\n", at):
        raise ValueError("the session table has no end")
    return at + 2


def _old_replies(pairs: list[object]) -> list[tuple[int, Result]]:
    found: dict[int, Result] = {}
    for pair in pairs:
        match pair:
            case [int() as number, str() as code] if number < 0 and code in _ERRORS:
                found[-number] = _ERRORS[code](str(found[-number]))
            case [int() as number, str() as text]:
                found[number] = result_of_command(text)
            case _:
                raise ValueError("a reply in the session table is malformed")
    return [*found.items()]
