"""The events of a replica as lists that JSON can hold, and back.

An event is `[name, field, ...]`. The arrival of a message is `[sender, name of the message, field, ...]`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, cast, get_args

from qcore.core.events import MessageReceived
from qcore.recording.dataclass_codec import from_list, to_list
from qcore.replica.events import ReplicaEvent
from qcore.replica.messages import PeerMessage
from qcore.wire_value import WireValue

#: Every class of events, but for the arrival of messages, by name.
EVENT_CLASSES: Final[Mapping[str, type]] = {
    cls.__name__: cls for cls in get_args(ReplicaEvent) if cls is not MessageReceived
}
#: Every class of messages of peers, by name.
MESSAGE_CLASSES: Final[Mapping[str, type]] = {cls.__name__: cls for cls in get_args(PeerMessage)}

_WRITERS: Final[dict[type, Callable[[Any], Sequence[Any]]]] = {
    cls: to_list(cls) for cls in (*EVENT_CLASSES.values(), *MESSAGE_CLASSES.values())
}


def write_event(event: ReplicaEvent) -> tuple[Any, ...]:
    """The event as a tuple. It shares nothing with the event that could change later.

    Raises:
        KeyError: it is no event, or carries no message of a peer.
    """
    cls = type(event)
    if isinstance(event, MessageReceived):
        return (event.from_id, *write_message(event.message))
    return (cls.__name__, *_WRITERS[cls](event))


def write_message(message: WireValue) -> tuple[Any, ...]:
    """A message as a tuple: its name and its fields.

    Raises:
        KeyError: it is no message of a peer.
    """
    cls = type(message)
    return (cls.__name__, *_WRITERS[cls](message))


def read_event(found: object) -> ReplicaEvent:
    """The inverse of `write_event`.

    Raises:
        ValueError: it is no event that this qcore knows.
    """
    match found:
        case [int(sender), str(name), *values] if name in MESSAGE_CLASSES:
            return MessageReceived(sender, from_list(MESSAGE_CLASSES[name])(values))
        case [str(name), *values] if name in EVENT_CLASSES:
            return cast(ReplicaEvent, from_list(EVENT_CLASSES[name])(values))
    raise ValueError(f"this is no event that this qcore knows: {found!r:.100}")
