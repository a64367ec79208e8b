"""Says after an error of a cluster what the user can do next."""

from __future__ import annotations

import re
from typing import Final

from qcore.cli.clients.connection_options import login_advice
from qcore.display import escape_unprintable
from qcore.errors import (
    AccessRefused,
    DeadlineExceeded,
    EntityNotFound,
    FieldNotFound,
    NotLeader,
    OutcomeUnknown,
    PathNotFound,
    QcoreError,
    StoreError,
    TlsFailed,
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

#: The first class that an error has decides.
_STEPS: Final[tuple[tuple[type[QcoreError], str], ...]] = (
    (TlsFailed, ""),  # its text says what to do
    (TransportError, _REACH),
    (NotLeader, _LEADER),
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
#: How a node names the parts of a message, and the options that the user gave. The first that fits decides.
_OPTIONS: Final[tuple[tuple[re.Pattern[str], str], ...]] = tuple(
    (re.compile(pattern), option)
    for pattern, option in (
        (r"^SetRole\.actions(\.\d+)?: ", "--allow: "),
        (r"^SetRole\.permissions(\.\d+)?: ", "--permission: "),
        (r"^SetRole\.rules(\.\d+)?(\.\w+)?: ", "--may-read or --may-write: "),
        (r"^SetUser\.roles(\.\d+)?: ", "--role: "),
        (r"^SetUser\.password: ", "the new password: "),
        (r"^SetUser\.old_password: ", "--old-password-file: "),
        (r"^Authenticate\.password: ", "--password-file: "),
        (r"^Authenticate\.token: ", "--token-file: "),
        (r"^Authenticate\.user: ", "--user: "),
        (r"^(CreateToken|AddJoinToken)\.ttl_s: ", "--ttl: "),
        (r"^(AddLearner|AddJoinToken)\.public_key: ", "--public-key: "),
        (r"^Init\.public_keys(\.\d+)*: ", "--public-key: "),
        (r"^Init\.nodes(\.\d+)*: ", "--nodes: "),
        (r"^Init\.token: ", "--init-token: "),
        (r"^UpgradeMachine\.version: ", "--to: "),
        (r"^TransferLeader\.to: ", "--to: "),
        (r"^\w+\.timeout_ms: ", "--timeout: "),
        (r"^(\w+\.)?node_addr: ", "the address: "),
        (r"^\w+\.node_id: ", "the id of the node: "),
        (r"^\w+\.(name|token_id): ", "the name: "),
        (
            r"^(SetUser|SetRole|CreateToken|AddJoinToken|DeleteJoinToken|DeleteUser|DeleteRole|RevokeTokens): ",
            "",
        ),
        (r" \(header Authorization, or the message Authenticate\)$", ""),
    )
)

_OTHER_MACHINE: Final = re.compile(
    r"\w+: this node runs the state machine ('[^']*'), and the message is one of the entity"
)


def add_next_step(error: QcoreError) -> QcoreError:
    """Note at the error of a cluster what to do next, and return it. An error that has a note keeps it."""
    # A node that belongs to no cluster names the commands itself.
    if not getattr(error, "__notes__", None) and _INIT not in str(error):
        if isinstance(error, Unauthenticated):
            error.add_note(login_advice(str(error)))
        elif isinstance(error, AccessRefused) and error.name in ("no_users", "first_admin"):
            error.add_note("`qcore user add NAME --role admin`")
        for kind, step in _STEPS:
            if isinstance(error, kind):
                if step:
                    error.add_note(step)
                break
    return error


def error_text(error: QcoreError) -> str:
    """The text and the notes of an error on one line each, without control characters.

    The text may quote what a node sent: no control codes may reach the terminal.
    """
    text = ": ".join([_for_users(error), *getattr(error, "__notes__", ())])
    return "\n".join(escape_unprintable(line) for line in text.split("\n"))


def names_option(error: QcoreError) -> bool:
    """Whether `error_text` names an option of the command that is wrong."""
    return any(option.startswith("--") and found.search(str(error)) for found, option in _OPTIONS)


def _for_users(error: QcoreError) -> str:
    """The text of an error, in terms of commands and not of messages."""
    text = str(error).replace(f"Init ({_INIT})", _INIT)
    for pattern, option in _OPTIONS:
        if pattern.search(text):
            text = pattern.sub(option, text)
            break
    other = _OTHER_MACHINE.match(text)
    if other is not None:
        command = "kv" if other[1] == "'kv'" else "execute"
        return (
            f"this cluster runs the state machine {other[1]}, and the command is for the entity store: use "
            f"`qcore {command}`"
        )
    place = _PLACE.match(text) if isinstance(error, StoreError) else None
    if not place:
        return text
    rest = text[place.end() :]
    # An entity that does not exist is not the fault of the field that was to be read first.
    if place[1] is None or place[1] in rest or isinstance(error, EntityNotFound):
        return rest
    return f"field {place[1]}: {rest}"
