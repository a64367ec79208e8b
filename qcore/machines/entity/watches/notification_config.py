"""The `config` of a watch on the entity store, and what such a watch receives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Final, cast

from pydantic import AfterValidator, Field, TypeAdapter, with_config
from pydantic_core import ValidationError, to_json
from typing_extensions import TypedDict

from qcore.errors import BadRequest, FieldNotFound, StoreError
from qcore.machines.entity.indirection import SEPARATOR, resolve
from qcore.machines.entity.quoted_text import quoted
from qcore.machines.entity.requests.perform_requests import explain
from qcore.machines.entity.state.entity_id import EntityId
from qcore.machines.entity.state.field_values import (
    STRICT,
    EntityIdJson,
    exactly_one_key,
    id_from_json,
    value_bytes,
    value_to_json,
)
from qcore.machines.entity.transaction import Transaction
from qcore.machines.entity.watches.field_changes import (
    MAX_SENT_BYTES,
    EntityChange,
    LastBody,
    entity_topic,
    type_topic,
)
from qcore.machines.interface import Change

#: The most paths in the context of a watch, and characters in each.
MAX_CONTEXT: Final = 32
MAX_PATH_CHARS: Final = 1024

_Path = Annotated[str, Field(max_length=MAX_PATH_CHARS)]
_Context = Annotated[list[_Path], Field(max_length=MAX_CONTEXT)]


@with_config(STRICT)
class EntityIdConfig(TypedDict):
    """Watch a field of one entity."""

    entity_id: EntityIdJson
    field_type: str
    trigger_on_change: bool
    context: _Context


@with_config(STRICT)
class EntityTypeConfig(TypedDict):
    """Watch a field of all entities of a type, and of the types that inherit it."""

    entity_type: str
    field_type: str
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


class EntityWatch:
    """The `WatchFilter` of a watch on the entity store.

    Args:
        topic: see `WatchFilter`.
        config: the validated configuration.
        view: makes a view of the current state.
        bodies: makes the texts, once for all watches of a change.
    """

    def __init__(
        self,
        topic: str,
        config: EntityIdConfig | EntityTypeConfig,
        view: Callable[[], Transaction],
        bodies: LastBody,
    ) -> None:
        self.topic = topic
        self._field_type = config["field_type"]
        self._on_change = config["trigger_on_change"]
        self._context = config["context"]
        self._view = view
        self._bodies = bodies

    def notice(self, change: Change, *, live: bool) -> str | None:
        """See `WatchFilter`."""
        # The entity store is the only one that makes the changes that its own watches receive.
        changed = cast(EntityChange, change)
        if self._on_change and not changed.is_difference(self._field_type):
            return None
        body = self._bodies.of(changed, self._field_type)
        if not self._context:
            return f'{body},"context":{{}}}}'
        if not live:
            return f'{body},"context":null}}'
        return f'{body},"context":{self._context_text(changed.entity_id)}}}'

    def _context_text(self, entity_id: EntityId) -> str:
        values: dict[str, object] = {}
        view = self._view()
        for path in self._context:
            values[path] = None
            try:
                target = resolve(view, entity_id, path)
                if target.part is None:
                    value = view.field(target.entity, target.field_type).value
                    if value_bytes(value) <= MAX_SENT_BYTES:
                        values[path] = value_to_json(value)
            except StoreError:
                continue  # the path leads nowhere now: null
        return to_json(values).decode()


def entity_watch(request: str, view: Callable[[], Transaction], bodies: LastBody) -> EntityWatch:
    """Return what a watch receives.

    Args:
        request: the JSON text of a `NotificationConfig`.
        view: makes a view of the current state.
        bodies: see `EntityWatch`.

    Raises:
        BadRequest: the text is not such a configuration, or its field is a path.
        EntityNotFound, TypeNotFound, FieldNotFound: it names what does not exist.
    """
    try:
        config = _adapter.validate_json(request)
    except ValidationError as error:
        raise BadRequest(explain(error, "config")) from error
    state = view()
    body: EntityIdConfig | EntityTypeConfig
    if "EntityId" in config:
        kind, body = "EntityId", config["EntityId"]
    else:
        kind, body = "EntityType", config["EntityType"]
    field_type = body["field_type"]
    if SEPARATOR in field_type:
        raise BadRequest(
            f"config.{kind}.field_type: {quoted(field_type)} is a path; watch a field, and put paths into context"
        )
    if "EntityId" in config:
        entity_id = id_from_json(config["EntityId"]["entity_id"])
        state.slot(state.get(entity_id), field_type)
        return EntityWatch(entity_topic(entity_id, field_type), body, view, bodies)
    entity_type = config["EntityType"]["entity_type"]
    if field_type not in state.schemas.slots(entity_type):
        raise FieldNotFound(f"entity type {quoted(entity_type)} has no field {quoted(field_type)}")
    return EntityWatch(type_topic(entity_type, field_type), body, view, bodies)
