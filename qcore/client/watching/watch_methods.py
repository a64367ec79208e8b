"""`WatchMethods`: the method that makes a `Watch`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Literal, TypeAlias, overload

from pydantic import JsonValue

from qcore.client.entity_values import EntityLike, encode_id
from qcore.client.methods.call_options import check_timeout
from qcore.client.methods.method_base import ClientMethods
from qcore.client.watching.changes import (
    FieldChange,
    MachineChange,
    WatchPosition,
    decode_field_change,
    decode_machine_change,
)
from qcore.client.watching.registration import Registrar
from qcore.client.watching.watch import Watch, WatchRequest
from qcore.display import truncate
from qcore.errors import ConfigError

#: A `WatchPosition`, or its index and sequence.
Position: TypeAlias = WatchPosition | tuple[int, int]


class WatchMethods(ClientMethods):
    """The method for changes."""

    @cached_property
    def _registrar(self) -> Registrar:
        sender = self._sender
        return Registrar(
            sender.endpoints,
            sender.event_loop,
            self._attempt_timeout_s,
            sender.runtime.new_rng(),
            sender.renew,
        )

    @overload
    def watch(
        self,
        *,
        entity: EntityLike,
        field_type: str,
        changes_only: bool = False,
        context: Sequence[str] = (),
        after: Position | None = None,
        timeout_s: float | None = None,
    ) -> Watch[FieldChange]: ...

    @overload
    def watch(
        self,
        *,
        entity_type: str,
        field_type: str,
        changes_only: bool = False,
        context: Sequence[str] = (),
        after: Position | None = None,
        timeout_s: float | None = None,
    ) -> Watch[FieldChange]: ...

    @overload
    def watch(
        self,
        *,
        topic: str,
        after: Position | None = None,
        timeout_s: float | None = None,
    ) -> Watch[MachineChange]: ...

    def watch(
        self,
        *,
        entity: EntityLike | None = None,
        entity_type: str | None = None,
        field_type: str | None = None,
        changes_only: bool = False,
        context: Sequence[str] = (),
        topic: str | None = None,
        after: Position | None = None,
        timeout_s: float | None = None,
    ) -> Watch[FieldChange] | Watch[MachineChange]:
        """Watch a field of an entity, a field of all entities of a type, or a topic of another state machine.

            async for change in client.watch(entity="User$7", field_type="Email"):
                print(change.current_value)

        The changes come in the order of the log, each once, also if connections and nodes are lost meanwhile: see
        `qcore.client.Watch`. Any node may serve a watch. A node that stops without closing its connections is noticed
        after 10 to 15 s.

        Args:
            entity: the entity.
            entity_type: all entities of this type, and of the types that inherit it.
            field_type: the field, a name and not a path.
            changes_only: whether to leave out writes of an equal value.
            context: fields or paths whose values come with each change.
            topic: what to watch of a state machine other than the entity store.
            after: the position of the last change that is known; by default the watch begins now.
            timeout_s: how long the watch may be without a registration, before it raises a `TransportError`; None for
                no limit.

        Raises:
            ConfigError: the arguments do not go together; the text says what to give.
        """
        self._sender.check_open()
        if timeout_s is not None:
            check_timeout(timeout_s)
        position = None if after is None else _position(after)
        if topic is not None:
            if not (entity is None and entity_type is None and field_type is None):
                raise ConfigError(
                    "watch: give `topic` alone, or `field_type` with `entity` or `entity_type`"
                )
            if changes_only or context:
                raise ConfigError("watch: a `topic` has no `changes_only` and no `context`")
            request = WatchRequest(
                "WatchChanges", "UnwatchChanges", {"topic": topic}, decode_machine_change
            )
            return Watch(request, self._registrar, position, timeout_s)
        if field_type is None or (entity is None) == (entity_type is None):
            raise ConfigError(
                "watch: give `field_type` with `entity` or `entity_type`, or give `topic` for another state machine"
            )
        if isinstance(context, str):
            raise ConfigError(f"watch: `context` is a list of paths: give [{context!r}]")
        config: dict[str, JsonValue] = {
            "field_type": field_type,
            "trigger_on_change": changes_only,
            "context": list(context),
        }
        if entity is not None:
            kind: Literal["EntityId", "EntityType"] = "EntityId"
            config["entity_id"] = encode_id(entity)
        else:
            kind = "EntityType"
            config["entity_type"] = entity_type
        return Watch(
            WatchRequest(
                "StoreRegisterNotification",
                "StoreUnregisterNotification",
                {"config": {kind: config}},
                decode_field_change,
            ),
            self._registrar,
            position,
            timeout_s,
        )

    async def get_notification_configs(self) -> list[tuple[str, Mapping[str, JsonValue]]]:
        """Token and configuration of each open watch of the entity store, as the nodes report them.

        Raises:
            TransportError: the connection to a node that serves a watch ended.
            OutcomeUnknown: such a node did not answer in time.
        """
        return await self._registrar.configurations()


def _position(after: Position) -> WatchPosition:
    match after:
        case WatchPosition():
            return after
        case (int(index), int(sequence)) if index >= 0 and sequence >= -1:
            return WatchPosition(index, sequence)
    raise ConfigError(
        f"watch: after: {truncate(repr(after))} is not a position: give the position of a change, (index, sequence)"
    )
