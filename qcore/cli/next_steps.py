"""Says after an error of a cluster what the user can do next."""

from __future__ import annotations

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
    TransportError,
    TypeNotFound,
)

_REACH: Final = "start a node there with `qcore node start`, or name running nodes with --endpoints"
_LEADER: Final = (
    "`qcore cluster health` says why no node leads; a new cluster begins with `qcore cluster init`"
)
_TREE: Final = "`qcore entity tree` shows the entities"
_REPEAT: Final = "look at the result before you repeat the command"

#: The first class that an error has decides.
_STEPS: Final[tuple[tuple[type[QcoreError], str], ...]] = (
    (TransportError, _REACH),
    (NotLeader, _LEADER),
    (OutcomeUnknown, _REPEAT),
    (DeadlineExceeded, f"give more time with --timeout; {_LEADER}"),
    (TypeNotFound, "`qcore schema list` shows the types"),
    (FieldNotFound, "`qcore schema get TYPE --complete` shows the fields of a type"),
    (EntityNotFound, _TREE),
    (PathNotFound, _TREE),
)


def add_next_step(error: QcoreError) -> QcoreError:
    """Note at the error of a cluster what to do next, and return it. An error that has a note keeps it."""
    if not getattr(error, "__notes__", None):
        for kind, step in _STEPS:
            if isinstance(error, kind):
                error.add_note(step)
                break
    return error


def error_text(error: QcoreError) -> str:
    """The text and the notes of an error on one line each, without control characters.

    The text may quote what a node sent: no control codes may reach the terminal.
    """
    text = ": ".join([str(error), *getattr(error, "__notes__", ())])
    return "\n".join(escape_unprintable(line) for line in text.split("\n"))
