"""What a node sends to clients that watch: the responses, and the notifications, which are no responses.

A watch that the node ends gets an `Error` whose `id` is its token.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, NotRequired

from pydantic import JsonValue, with_config
from typing_extensions import TypedDict

from qcore.machines.entity.state.wire.value_json import STRICT, EntityIdJson, ValueJson
from qcore.machines.entity.watches.notification_config import NotificationConfig
from qcore.store_api.watch_messages import WatchPosition
from qcore.transport.wire import Detail, Err, MessageId, Ok


@dataclass(slots=True)
class StoreRegisterNotificationResponse:
    """The token of the watch.

    Attributes:
        after: the position after which the watch begins.
    """

    id: MessageId
    response: Ok[str] | Err
    after: WatchPosition | None = None
    detail: Detail | None = None


@dataclass(slots=True)
class StoreUnregisterNotificationResponse:
    """Whether this connection had such a watch."""

    id: MessageId
    response: bool


@dataclass(slots=True)
class StoreGetNotificationConfigsResponse:
    """Token and configuration of each watch."""

    id: MessageId
    response: list[tuple[str, NotificationConfig]]


@dataclass(slots=True)
class RegisterNotificationResponse(StoreRegisterNotificationResponse):
    pass


@dataclass(slots=True)
class UnregisterNotificationResponse(StoreUnregisterNotificationResponse):
    pass


@dataclass(slots=True)
class GetNotificationConfigsResponse(StoreGetNotificationConfigsResponse):
    pass


@dataclass(slots=True)
class WatchChangesResponse(StoreRegisterNotificationResponse):
    pass


@dataclass(slots=True)
class UnwatchChangesResponse(StoreUnregisterNotificationResponse):
    pass


@with_config(STRICT)
class NotificationJson(TypedDict):
    """A change of a field.

    `current_value` is null for a deleted entity, `previous_value` for a new one. `index` is the log index of the
    command that made the change, `sequence` the position of the change among all changes of the command.
    """

    entity_id: EntityIdJson
    field_type: str
    current_value: ValueJson | None
    previous_value: ValueJson | None
    omitted: NotRequired[list[Literal["current_value", "previous_value"]]]
    context: dict[str, ValueJson | None] | None
    context_omitted: NotRequired[list[str]]
    index: int
    sequence: int
    token: str


@dataclass(slots=True)
class StoreNotification:
    """A watch of the entity store receives a change. It has no `id`.

    Attributes:
        notification: the change. `omitted` and `context_omitted` name values that are too large to send; they are null.
    """

    notification: NotificationJson


@dataclass(slots=True)
class Notification(StoreNotification):
    pass


@dataclass(slots=True)
class ChangeNotification:
    """A watch of another state machine receives a change. It has no `id`.

    Attributes:
        change: what the state machine reports.
        index: the log index of the command that made the change.
        sequence: the position of the change among all changes of the command.
        token: names the watch.
    """

    change: JsonValue
    index: int
    sequence: int
    token: str


#: Every response by its name on the wire.
WATCH_RESPONSES: Final[dict[str, type]] = {
    cls.__name__: cls
    for cls in (
        StoreRegisterNotificationResponse,
        StoreUnregisterNotificationResponse,
        StoreGetNotificationConfigsResponse,
        RegisterNotificationResponse,
        UnregisterNotificationResponse,
        GetNotificationConfigsResponse,
        WatchChangesResponse,
        UnwatchChangesResponse,
    )
}

#: Every notification by its name on the wire.
NOTIFICATIONS: Final[dict[str, type]] = {
    cls.__name__: cls for cls in (StoreNotification, Notification, ChangeNotification)
}
