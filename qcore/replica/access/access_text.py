"""The access table as part of a snapshot's text: it comes first, and only if the table is not empty.

A line `{"access":[U,R,J]}`, then as many lines with users, roles and join tokens:

| row | form |
|---|---|
| user | `[name, password_hash, [role, ...], epoch, created]`, and `password_by` if it is not empty |
| role | `[name, [action, ...], [[type, field, access], ...], [permission, ...]]`, and `grown` if it is not 0 |
| join token | `[id, key, expires_us, created]` |

The session table follows. Its first line is another one (`qcore.replica.sessions.session_text`).
"""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator, Sequence
from dataclasses import astuple, replace
from typing import Final

from pydantic_core import from_json

from qcore.core.log.compressed_text import SnapshotText
from qcore.replica.access.access_commands import role_from_body
from qcore.replica.access.access_records import (
    JoinToken,
    Role,
    User,
    check_hash,
    check_key,
    check_name,
    check_number,
    check_roles,
)

#: How many characters one part has, approximately.
PART_CHARS: Final = 32 * 1024

#: How the text of a snapshot begins that holds such a table.
TABLE_BEGIN: Final = '{"access":'

AccessRow = User | Role | JoinToken


def row_text(row: AccessRow) -> str:
    """One row as text, without the end of the line."""
    parts: tuple[object, ...] = astuple(row)
    if not isinstance(row, JoinToken) and not parts[-1]:
        parts = parts[:-1]
    return json.dumps(parts, ensure_ascii=False, separators=(",", ":"))


def table_text(
    users: Sequence[User], roles: Sequence[Role], tokens: Sequence[JoinToken]
) -> Iterator[str]:
    """The table in parts; nothing if it is empty."""
    if not (users or roles or tokens):
        return
    held = [f"{TABLE_BEGIN}[{len(users)},{len(roles)},{len(tokens)}]}}\n"]
    size = 0
    rows: tuple[AccessRow, ...] = (*users, *roles, *tokens)
    for row in rows:
        text = row_text(row) + "\n"
        held.append(text)
        size += len(text)
        if size >= PART_CHARS:
            yield "".join(held)
            held, size = [], 0
    if held:
        yield "".join(held)


def read_table(text: SnapshotText) -> Generator[None, None, tuple[list[AccessRow], int]]:
    """Read the table at the beginning of a snapshot's text; each item is a bounded part of the work.

    Returns:
        the rows in order, and the position at which the session table begins.

    Raises:
        ValueError: the table is malformed.
    """
    rows: list[AccessRow] = []
    if text[: len(TABLE_BEGIN)] != TABLE_BEGIN:
        return rows, 0
    head, at = _line(text, 0)
    match head:
        case {"access": [int() as users, int() as roles, int() as tokens]}:
            readers = [_user] * users + [_role] * roles + [_token] * tokens
        case _:
            raise ValueError("the access table has no valid first line")
    paused_at = 0
    for read in readers:
        line, at = _line(text, at)
        rows.append(read(line))
        if at - paused_at >= PART_CHARS:
            paused_at = at
            yield
    return rows, at


def _line(text: SnapshotText, at: int) -> tuple[object, int]:
    end = text.index("\n", at)
    return from_json(text[at:end]), end + 1


def _user(line: object) -> AccessRow:
    match line:
        case [str() as name, str() as hash_, [*roles], int() as epoch, int() as created, *others]:
            names = tuple(role for role in roles if isinstance(role, str))
            check_name(name, "the name of a user")
            check_hash(hash_)
            check_roles(names)
            check_number(epoch, "epoch")
            check_number(created, "created")
            if len(names) == len(roles):
                match others:
                    case []:
                        return User(name, hash_, names, epoch, created)
                    case [str() as password_by]:
                        check_name(password_by, "password_by")
                        return User(name, hash_, names, epoch, created, password_by)
    raise ValueError("a line of the access table is not a user")


def _role(line: object) -> AccessRow:
    match line:
        case [str() as name, [*actions], [*rules], [*permissions], *others]:
            keys = ("type", "field", "access")
            role = role_from_body(
                {
                    "name": name,
                    "actions": actions,
                    "rules": [
                        dict(zip(keys, rule, strict=True)) if isinstance(rule, list) else None
                        for rule in rules
                    ],
                    "permissions": permissions,
                }
            )
            match others:
                case []:
                    return role
                case [int() as grown]:
                    check_number(grown, "grown")
                    return replace(role, grown=grown)
    raise ValueError("a line of the access table is not a role")


def _token(line: object) -> AccessRow:
    match line:
        case [str() as id_, str() as key, int() as expires_us, int() as created]:
            check_name(id_, "the id of a join token")
            check_key(key)
            check_number(expires_us, "expires_us")
            check_number(created, "created")
            return JoinToken(id_, key, expires_us, created)
    raise ValueError("a line of the access table is not a join token")
