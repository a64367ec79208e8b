"""The `config` of a watch on the entity store, and what such a watch receives."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Final, cast

from pydantic import AfterValidator, Field, TypeAdapter, with_config
from pydantic_core import PydanticCustomError, ValidationError, to_json
from typing_extensions import TypedDict

from qcore.errors import BadRequest, FieldNotFound
from qcore.machines.entity.indirection import SEPARATOR
from qcore.machines.entity.quoted_text import quoted
from qcore.machines.entity.requests.perform_requests import explain
from qcore.machines.entity.state.field_values import id_from_json
from qcore.machines.entity.state.wire.value_json import STRICT, EntityIdJson, exactly_one_key
from qcore.machines.entity.watches.field_changes import (
    EntityChange,
    entity_topic,
    type_topic,
)
from qcore.machines.entity.watches.notice_texts import NoticeTexts
from qcore.machines.entity.watches.watch_reader import MakeView, WatchReader
from qcore.machines.interface import Change
from qcore.machines.permissions import Permissions

#: The most paths in the context of a watch, and characters in each.
MAX_CONTEXT: Final = 32
MAX_PATH_CHARS: Final = 1024


def _no_path(field_type: str) -> str:
    if SEPARATOR in field_type:
        raise PydanticCustomError(
            "path",
            "a watch names a field, not a path: watch the field of the entity that the path leads to, or put the path "
            "into context",
        )
    return field_type


_WatchedField = Annotated[str, AfterValidator(_no_path)]
_Path = Annotated[str, Field(max_length=MAX_PATH_CHARS)]
_Context = Annotated[list[_Path], Field(max_length=MAX_CONTEXT)]


@with_config(STRICT)
class EntityIdConfig(TypedDict):
    """Watch a field of one entity."""

    entity_id: EntityIdJson
    field_type: _WatchedField
    trigger_on_change: bool
    context: _Context


@with_config(STRICT)
class EntityTypeConfig(TypedDict):
    """Watch a field of all entities of a type, and of the types that inherit it."""

    entity_type: str
    field_type: _WatchedField
    trigger_on_change: bool
    context: _Context


@with_config(STRICT)
class _NotificationConfig(TypedDict, total=False):
    EntityId: EntityIdConfig
    EntityType: EntityTypeConfig


#: What to watch: a field of an entity or of a type. With `trigger_on_change`, only writes that change the value count.
#: The fields that `context` names, which may be paths, come with each notification.
NotificationConfig = Annotated[_NotificationConfig, AfterValidator(exactly_one_key)]

_adapter: TypeAdapter[_NotificationConfig] = TypeAdapter(NotificationConfig)


def request_text(config: _NotificationConfig) -> str:
    """The JSON text of a validated configuration: equal for equal configurations, in whatever order their keys came."""
    given: Mapping[str, object]
    if "EntityId" in config:
        kind, order, given = "EntityId", EntityIdConfig.__annotations__, config["EntityId"]
    else:
        kind, order, given = "EntityType", EntityTypeConfig.__annotations__, config["EntityType"]
    return to_json({kind: {**dict.fromkeys(order), **given}}).decode()


class EntityWatch:
    """The `WatchFilter` of a watch on the entity store.

    Args:
        topic: see `WatchFilter`.
        config: the validated configuration.
        texts: makes the texts, once for all watches of a change.
        reader: what the user of the watch may read.
    """

    def __init__(
        self,
        topic: str,
        config: EntityIdConfig | EntityTypeConfig,
        texts: NoticeTexts,
        reader: WatchReader,
    ) -> None:
        self.topic = topic
        self._reader = reader
        self._field_type = config["field_type"]
        self._on_change = config["trigger_on_change"]
        self._context = config["context"]
        self._texts = texts

    @property
    def last_cost(self) -> int:
        """See `SupportsWorkCost`."""
        return self._texts.last_cost

    def notice(self, change: Change, *, live: bool) -> str | None:
        """See `WatchFilter`."""
        # The entity store is the only one that makes the changes that its own watches receive.
        changed = cast(EntityChange, change)
        if self._on_change and not self._texts.differs(changed, self._field_type):
            return None
        permissions = self._reader.current()
        if not self._reader.may_receive(changed, permissions):
            return None
        return self._texts.of(
            changed, self._field_type, self._context, live=live, permissions=permissions
        )


def entity_watch(
    request: str,
    view: MakeView,
    texts: NoticeTexts,
    permissions: Callable[[], Permissions | None],
    *,
    resumes: bool,
) -> EntityWatch:
    """Return what a watch receives.

    Args:
        request: the JSON text of a `NotificationConfig`.
        view: makes a view of the current state for a user with these permissions.
        texts: see `EntityWatch`.
        permissions: what the user may do at the moment of the call; None: everything.
        resumes: what it names may be gone by now. The watch still receives the earlier changes, with the deletion.

    Raises:
        BadRequest: the text is not such a configuration, or its field is a path.
        PermissionDenied: the user may not read the field.
        EntityNotFound, TypeNotFound, FieldNotFound: it names what does not exist.
    """
    try:
        config = _adapter.validate_json(request)
    except ValidationError as error:
        raise BadRequest(explain(error, "config")) from error
    state = view(None)
    body: EntityIdConfig | EntityTypeConfig
    if "EntityId" in config:
        body = config["EntityId"]
        field_type = body["field_type"]
        entity_id = id_from_json(config["EntityId"]["entity_id"])
        reader = WatchReader(view, permissions, entity_id.typ, field_type)
        if not resumes:
            state.slot(state.get(entity_id), field_type)
        return EntityWatch(entity_topic(entity_id, field_type), body, texts, reader)
    body = config["EntityType"]
    field_type = body["field_type"]
    entity_type = config["EntityType"]["entity_type"]
    reader = WatchReader(view, permissions, entity_type, field_type)
    if not resumes and field_type not in state.schemas.slots(entity_type):
        raise FieldNotFound(f"entity type {quoted(entity_type)} has no field {quoted(field_type)}")
    return EntityWatch(type_topic(entity_type, field_type), body, texts, reader)
