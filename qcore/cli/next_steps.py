"""Says after an error of a cluster what the user can do next."""

from __future__ import annotations

import re
from typing import Final

from qcore.display import escape_unprintable
from qcore.errors import (
    DeadlineExceeded,
    EntityNotFound,
    FieldNotFound,
    NotLeader,
    OutcomeUnknown,
    PathNotFound,
    QcoreError,
    StoreError,
    TransportError,
    TypeNotFound,
    Unauthenticated,
    WatchCompacted,
)

_REACH: Final = "start a node there with `qcore node start`, or name running nodes with --endpoints"
_LEADER: Final = (
    "`qcore cluster health` says why no node leads; a new cluster begins with `qcore cluster init`"
)
_TREE: Final = "`qcore entity tree` shows the entities"
_INIT: Final = "`qcore cluster init`"
_REPEAT: Final = "look at the result before you repeat the command"

_LOGIN: Final = "give --token-file, or --user; `qcore token recover` helps if a password is lost"

#: The first class that an error has decides.
_STEPS: Final[tuple[tuple[type[QcoreError], str], ...]] = (
    (TransportError, _REACH),
    (NotLeader, _LEADER),
    (Unauthenticated, _LOGIN),
    (OutcomeUnknown, _REPEAT),
    (DeadlineExceeded, f"give more time with --timeout; {_LEADER}"),
    (TypeNotFound, "`qcore schema list` shows the types"),
    (FieldNotFound, "`qcore schema get TYPE --complete` shows the fields of a type"),
    (EntityNotFound, _TREE),
    (PathNotFound, _TREE),
    (WatchCompacted, "read the fields, and leave out --after to watch from now on"),
)

#: How the store names one of the requests that a command has made from its arguments: the user wrote no such list.
_PLACE: Final = re.compile(
    r'(?:StoreBulk\.requests\.\d+\.\w+: )?(?:request \d+ of the list \(from 0\), (?:Read|Write) of ("[^"]*"): )?'
)
_OTHER_MACHINE: Final = re.compile(
    r"\w+: this node runs the state machine ('[^']*'), and the message is one of the entity"
)


def add_next_step(error: QcoreError) -> QcoreError:
    """Note at the error of a cluster what to do next, and return it. An error that has a note keeps it."""
    # A node that belongs to no cluster names the commands itself.
    if not getattr(error, "__notes__", None) and _INIT not in str(error):
        for kind, step in _STEPS:
            if isinstance(error, kind):
                error.add_note(step)
                break
    return error


def error_text(error: QcoreError) -> str:
    """The text and the notes of an error on one line each, without control characters.

    The text may quote what a node sent: no control codes may reach the terminal.
    """
    text = ": ".join([_for_users(error), *getattr(error, "__notes__", ())])
    return "\n".join(escape_unprintable(line) for line in text.split("\n"))


def _for_users(error: QcoreError) -> str:
    """The text of an error, in terms of commands and not of messages."""
    text = str(error).replace(f"Init ({_INIT})", _INIT)
    other = _OTHER_MACHINE.match(text)
    if other is not None:
        return (
            f"this cluster runs the state machine {other[1]}, and the command is for the entity store: use "
            "`qcore execute`"
        )
    place = _PLACE.match(text) if isinstance(error, StoreError) else None
    if not place:
        return text
    rest = text[place.end() :]
    # An entity that does not exist is not the fault of the field that was to be read first.
    if place[1] is None or place[1] in rest or isinstance(error, EntityNotFound):
        return rest
    return f"field {place[1]}: {rest}"
