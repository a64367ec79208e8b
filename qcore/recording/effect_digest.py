"""The digest of the effects of a step: what a replay compares.

It covers the fields of all effects, in order, with these exceptions, which save most of the work: of the entries in a
message, and of an applied entry, it covers index, term and kind, because their data is covered where they enter the
log; of a snapshot, its metadata, its length, and its begin and end. Password hashes are replaced (`secret_texts`).
"""

from __future__ import annotations

import marshal
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, get_args

from qcore.core.effects import AppendLog, MessageDropped, Send, StoreSnapshot
from qcore.core.entry import Entry, Snapshot, SnapshotMeta
from qcore.core.messages import AppendEntries, InstallSnapshot
from qcore.errors import QcoreError
from qcore.recording.dataclass_codec import to_list
from qcore.recording.event_codec import MESSAGE_CLASSES, write_message
from qcore.recording.secret_texts import entries_without_secrets, message_without_secrets
from qcore.replica.access.access_table import ACCESS_RULES
from qcore.replica.access.access_text import TABLE_BEGIN
from qcore.replica.events import Applied, ReplicaEffect, Reply, Restored, WatchEnded
from qcore.wire_value import WireValue

#: The letter of each class of effects in a step's `kinds`.
LETTERS: Final = {
    "AppendLog": "A",
    "SaveHardState": "H",
    "TruncateLog": "T",
    "StoreSnapshot": "N",
    "SaveCommit": "C",
    "Send": "S",
    "Reply": "R",
    "Notice": "W",
    "WatchEnded": "E",
    "Applied": "P",
    "Restored": "X",
    "VersionRaised": "V",
    "DivergenceFound": "F",
    "DivergenceEnded": "Q",
    "RoleChanged": "L",
    "VoteGranted": "G",
    "MembershipChanged": "M",
    "MessageDropped": "D",
}
_NAMES: Final = {letter: name for name, letter in LETTERS.items()}

#: How many characters of a snapshot's begin and end are covered.
_SNAPSHOT_CHARS: Final = 16_384
#: Version 2 of the format marks no shared objects, so equal values give equal bytes.
_MARSHAL_VERSION: Final = 2

_Flat = tuple[Any, ...]


@dataclass(slots=True, frozen=True)
class EffectDigest:
    """What a recording keeps of the effects of a step.

    Attributes:
        kinds: a letter for each class of effects, and how often it comes if that is more than once.
        checksum: the CRC-32 of the effects.
    """

    kinds: str
    checksum: int

    def __str__(self) -> str:
        return f"{kinds_text(self.kinds)} (checksum {self.checksum:08x})"


def kinds_text(kinds: str) -> str:
    """The effects of a step in words: `AppendLog, Send x2`."""
    found: list[str] = []
    for letter in kinds:
        if letter.isdigit():
            times = found.pop()
            found.append(f"{times}{letter}" if " x" in times else f"{times} x{letter}")
        else:
            found.append(_NAMES.get(letter, letter))
    return ", ".join(found) or "no effects"


def digest_of_effects(effects: Sequence[ReplicaEffect]) -> EffectDigest:
    """The digest of the effects of one step."""
    if not effects:
        return _NOTHING
    times: dict[str, int] = {}
    flat: list[_Flat] = []
    for effect in effects:
        letter, write = _WRITERS[type(effect)]
        times[letter] = times.get(letter, 0) + 1
        flat.append(write(effect))
    kinds = "".join([letter if n == 1 else f"{letter}{n}" for letter, n in times.items()])
    return EffectDigest(kinds, zlib.crc32(marshal.dumps(flat, _MARSHAL_VERSION)))


_entry: Callable[[Entry], Sequence[Any]] = to_list(Entry)


def _outline(entry: Entry) -> _Flat:
    return (entry.index, entry.term, entry.kind)


def _message(message: WireValue) -> _Flat:
    if type(message) is AppendEntries:
        return (
            "AppendEntries",
            message.term,
            message.leader_id,
            message.prev_log_index,
            message.prev_log_term,
            message.leader_commit,
            [_outline(entry) for entry in message.entries],
            message.round,
            message.echo_us,
            message.is_current,
            message.confirmed_ago_us,
        )
    return write_message(message)


def _send(effect: Send) -> _Flat:
    message = message_without_secrets(effect.message)
    if isinstance(message, InstallSnapshot) and message.version.rules >= ACCESS_RULES:
        message = replace(message, data="", checksum=0)  # there may be password hashes in it
    return (effect.to, effect.after, *_message(message))


def _append_log(effect: AppendLog) -> _Flat:
    return (effect.write_id, *map(_entry, entries_without_secrets(effect.entries)))


def _error(error: QcoreError | None) -> _Flat | None:
    return None if error is None else (error.code, str(error))


def _reply(effect: Reply) -> _Flat:
    return (effect.request_id, effect.result, effect.index, _error(effect.error))


def _watch_ended(effect: WatchEnded) -> _Flat:
    return (effect.watch_id, _error(effect.error))


def _applied(effect: Applied) -> _Flat:
    return _outline(effect.entry)


def _snapshot(snapshot: Snapshot) -> _Flat:
    text = snapshot.data
    begin, end = text[:_SNAPSHOT_CHARS], text[max(0, len(text) - _SNAPSHOT_CHARS) :]
    if begin.startswith(TABLE_BEGIN):
        begin = end = ""  # there are password hashes in it
    return (*to_list(SnapshotMeta)(snapshot.meta), len(text), begin, end)


def _restored(effect: Restored) -> _Flat:
    return _snapshot(effect.snapshot)


def _store_snapshot(effect: StoreSnapshot) -> _Flat:
    return (
        effect.write_id,
        effect.compact_through,
        effect.reset_log,
        *_snapshot(effect.snapshot),
    )


def _dropped(effect: MessageDropped) -> _Flat:
    name = type(effect.message).__name__
    return (effect.from_id, name if name in MESSAGE_CLASSES else "", effect.reason)


_SPECIAL: Final[dict[type, Callable[[Any], _Flat]]] = {
    Send: _send,
    AppendLog: _append_log,
    Reply: _reply,
    WatchEnded: _watch_ended,
    Applied: _applied,
    Restored: _restored,
    StoreSnapshot: _store_snapshot,
    MessageDropped: _dropped,
}


def _generic(cls: type) -> Callable[[Any], _Flat]:
    fields: Callable[[Any], Sequence[Any]] = to_list(cls)
    return lambda effect: tuple(fields(effect))


#: Every class of effects.
EFFECT_CLASSES: Final[tuple[type, ...]] = tuple(cls for cls in get_args(ReplicaEffect))
_WRITERS: Final = {
    cls: (LETTERS[cls.__name__], _SPECIAL.get(cls) or _generic(cls)) for cls in EFFECT_CLASSES
}
_NOTHING: Final = EffectDigest("", 0)
