"""Applies one committed entry to the replicated state: machine, sessions, users, and the cluster's version."""

from __future__ import annotations

from typing import Final

from qcore.core.entry import Entry
from qcore.errors import IncompatibleVersion, StateMachineFailed
from qcore.machines.interface import AppliesEntries
from qcore.replica.access.access_commands import shown_text
from qcore.replica.access.access_table import AccessTable
from qcore.replica.apply.active_version import Versions
from qcore.replica.machine_results import (
    Result,
    exception_text,
    result_of_command,
    within_bound,
)
from qcore.replica.sessions.session_table import SESSION_TICK, ApplyOutcome, SessionTable

#: How much of a command an error shows, characters.
_SHOWN_CHARS: Final = 80


def apply_entry(
    entry: Entry,
    machine: AppliesEntries,
    sessions: SessionTable,
    versions: Versions,
    access: AccessTable,
) -> ApplyOutcome:
    """Apply one committed entry; return its result or its error, the same on every replica.

    A command of a user without the action `write` is an error, too.

    A result that cannot be sent becomes an error. From rules 3 on, a session records that error. Under earlier rules it
    records the large result, and only the reply is an error.

    Raises:
        StateMachineFailed: the machine raised instead of returning an error result.
        IncompatibleVersion: the entry makes a version active that this program cannot apply.
    """
    try:
        if entry.kind == "command":
            context = versions.apply_context(entry)
            if access.active:
                denial = access.denial(entry.user, "write")
                if denial is not None:
                    return None, denial
                context.permissions = access.permissions_of(entry.user)
            return _reply(result_of_command(machine.apply(entry.data, context)))
        if entry.kind == "session":
            context = versions.apply_context(entry)
            if entry.data == SESSION_TICK:
                machine.expire(context)
            context.permissions = access.permissions_of(entry.user)
            owner = access.created_index(entry.user)
            result, error = sessions.apply(entry, machine, context, owner)
            return (None, error) if result is None else _reply(result)
        if entry.kind == "access":
            return access.apply(entry, versions.active.rules)
        if entry.kind == "version":
            before = versions.active.rules
            result = versions.apply(entry)
            if before < 2 <= versions.active.rules:
                sessions.begin_rules_2(entry.clock_us)
            return result, None
    except (IncompatibleVersion, StateMachineFailed):  # these texts already name what failed
        raise
    except Exception as raised:  # the boundary to user code
        raise StateMachineFailed(
            f"applying entry {entry.index}, the {entry.kind} {_shown(entry)}, raised {type(raised).__name__}: "
            f"{exception_text(raised)}; a state machine must return an error result instead, so this node stops "
            "before it differs from the others"
        ) from raised
    return "", None


def _shown(entry: Entry) -> str:
    text = shown_text(entry.data) if entry.kind == "access" else entry.data
    return ascii(text if len(text) <= _SHOWN_CHARS else text[: _SHOWN_CHARS - 3] + "...")


def _reply(result: Result) -> ApplyOutcome:
    bounded = within_bound(result)
    return (bounded, None) if isinstance(bounded, str) else (None, bounded)
