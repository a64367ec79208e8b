"""The messages that watch changes: those of the entity store, in both spellings, and those of other machines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final

from pydantic import Field

from qcore.machines.entity.watches.notification_config import NotificationConfig, request_text
from qcore.transport.wire import INT_LIMIT, MessageId

#: The longest topic of `WatchChanges`, characters.
_MAX_TOPIC_LENGTH: Final = 4096
_Index = Annotated[int, Field(ge=0, lt=INT_LIMIT)]
_Sequence = Annotated[int, Field(ge=-1, lt=INT_LIMIT)]

#: Log index and sequence of the last change that a client has seen; the sequence -1 stands before the first change.
WatchPosition = tuple[_Index, _Sequence]


@dataclass(slots=True)
class StoreRegisterNotification:
    """Watch a field of an entity, or of all entities of a type.

    Attributes:
        config: what to watch.
        after: to resume, the position of the last notification received, or the `after` of the response if none was
            received; null for what follows now.
    """

    id: MessageId
    config: NotificationConfig
    after: WatchPosition | None = None

    def watch_request(self) -> str:
        """What the replica watches for: the configuration as JSON, equal for equal configurations."""
        return request_text(self.config)


@dataclass(slots=True)
class StoreUnregisterNotification:
    """End a watch of this connection."""

    id: MessageId
    token: str


@dataclass(slots=True)
class StoreGetNotificationConfigs:
    """Get token and configuration of each watch of this connection."""

    id: MessageId


@dataclass(slots=True)
class RegisterNotification(StoreRegisterNotification):
    pass


@dataclass(slots=True)
class UnregisterNotification(StoreUnregisterNotification):
    pass


@dataclass(slots=True)
class GetNotificationConfigs(StoreGetNotificationConfigs):
    pass


@dataclass(slots=True)
class WatchChanges:
    """Watch the changes with a topic, on a state machine other than the entity store.

    Attributes:
        topic: what to watch; the state machine gives it a meaning.
        after: to resume, the position of the last notification received, or the `after` of the response if none was
            received; null for what follows now.
    """

    id: MessageId
    topic: Annotated[str, Field(max_length=_MAX_TOPIC_LENGTH)]
    after: WatchPosition | None = None

    def watch_request(self) -> str:
        """What the replica watches for."""
        return self.topic


@dataclass(slots=True)
class UnwatchChanges:
    """End a watch of this connection."""

    id: MessageId
    token: str


#: Every message by its name on the wire.
WATCH_MESSAGES: Final[dict[str, type]] = {
    cls.__name__: cls
    for cls in (
        StoreRegisterNotification,
        StoreUnregisterNotification,
        StoreGetNotificationConfigs,
        RegisterNotification,
        UnregisterNotification,
        GetNotificationConfigs,
        WatchChanges,
        UnwatchChanges,
    )
}
