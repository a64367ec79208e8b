"""The messages that watch changes: those of the entity store, in both spellings, and those of other machines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final

from pydantic import AfterValidator, Field, with_config
from pydantic_core import PydanticCustomError, to_json
from typing_extensions import TypedDict

from qcore.machines.entity.state.field_values import STRICT, EntityIdJson, exactly_one_key
from qcore.transport.wire import INT_LIMIT, MessageId

#: The longest topic of `WatchChanges`, characters.
_MAX_TOPIC_LENGTH: Final = 4096
#: The most paths of a watch's context.
_MAX_CONTEXT: Final = 64


def _no_path(field_type: str) -> str:
    if "->" in field_type:
        raise PydanticCustomError(
            "path",
            "a watch names a field, not a path: watch the field of the entity that the path leads to",
        )
    return field_type


WatchedField = Annotated[str, AfterValidator(_no_path)]
ContextPaths = Annotated[list[str], Field(max_length=_MAX_CONTEXT)]
_Number = Annotated[int, Field(ge=0, lt=INT_LIMIT)]

#: Log index and sequence of the last change that a client has seen.
WatchPosition = tuple[_Number, _Number]


@with_config(STRICT)
class EntityIdConfig(TypedDict):
    """Watches a field of one entity."""

    entity_id: EntityIdJson
    field_type: WatchedField
    trigger_on_change: bool
    context: ContextPaths


@with_config(STRICT)
class EntityTypeConfig(TypedDict):
    """Watches a field of all entities of a type."""

    entity_type: str
    field_type: WatchedField
    trigger_on_change: bool
    context: ContextPaths


@with_config(STRICT)
class WatchConfigTags(TypedDict, total=False):
    """One of the two configurations."""

    EntityId: EntityIdConfig
    EntityType: EntityTypeConfig


WatchConfig = Annotated[WatchConfigTags, AfterValidator(exactly_one_key)]


@dataclass(slots=True)
class StoreRegisterNotification:
    """Watch a field of an entity, or of all entities of a type.

    Attributes:
        config: what to watch.
        after: the position of the last notification received, to resume; null for what follows now.
    """

    id: MessageId
    config: WatchConfig
    after: WatchPosition | None = None

    def watch_request(self) -> str:
        """What the replica watches for: the configuration as JSON, equal for equal configurations."""
        ((kind, given),) = self.config.items()
        order = EntityIdConfig if kind == "EntityId" else EntityTypeConfig
        assert isinstance(given, dict), "validated"
        return to_json({kind: {name: given[name] for name in order.__annotations__}}).decode()


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
        after: the position of the last notification received, to resume; null for what follows now.
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
