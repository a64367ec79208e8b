"""Keeps the password hashes of users out of recordings.

In an entry or a request, each hash is replaced by a digest of it, so the steps replay with the same effects. A snapshot
arrives in chunks with a checksum, which a replacement would break: a recording ends before a snapshot with users.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from qcore.core.entry import Entry
from qcore.core.events import MessageReceived
from qcore.core.messages import AppendEntries, InstallSnapshot
from qcore.errors import Refused
from qcore.replica.access.access_records import redacted
from qcore.replica.access.access_text import TABLE_BEGIN
from qcore.replica.events import ClientRequest, ReplicaEvent
from qcore.replica.messages import Forward
from qcore.wire_value import WireValue

WHY_ENDED: Final = (
    "a snapshot with users arrives, and their password hashes must not be recorded: restart the node to record "
    "again"
)


def event_without_secrets(event: ReplicaEvent) -> ReplicaEvent:
    """The event as it is recorded.

    Raises:
        Refused: it cannot be recorded.
    """
    if isinstance(event, ClientRequest):
        if event.kind == "access":
            return replace(event, payload=redacted(event.payload))
    elif isinstance(event, MessageReceived):
        message = event.message
        if isinstance(message, InstallSnapshot) and message.data.startswith(TABLE_BEGIN):
            raise Refused(WHY_ENDED)
        shown = message_without_secrets(message)
        if shown is not message:
            return MessageReceived(event.from_id, shown)
    return event


def message_without_secrets(message: WireValue) -> WireValue:
    """The message as it is recorded; the same object if it holds no secret."""
    if isinstance(message, AppendEntries):
        entries = entries_without_secrets(message.entries)
        return message if entries is message.entries else replace(message, entries=[*entries])
    if isinstance(message, Forward) and message.kind == "access":
        return replace(message, payload=redacted(message.payload))
    return message


def entries_without_secrets(entries: Sequence[Entry]) -> Sequence[Entry]:
    """The entries as they are recorded; the same object if they hold no secret."""
    if not any(entry.kind == "access" for entry in entries):
        return entries
    return [
        replace(entry, data=redacted(entry.data)) if entry.kind == "access" else entry
        for entry in entries
    ]
