"""The instances of a service, as they are in keys, and the changes of a list of them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pydantic import BaseModel, JsonValue, TypeAdapter, ValidationError

from qcore.errors import ConfigError

if TYPE_CHECKING:
    from qcore.kv.key_values import KeyVersion
    from qcore.recipes.views.key_changes_feed import KeysChange

_METADATA: Final = TypeAdapter(dict[str, JsonValue])
#: How much of pydantic's text an error has, characters.
_MAX_TEXT: Final = 1000


@dataclass(frozen=True, slots=True)
class Instance:
    """An instance of a service.

    Attributes:
        name: its name, which no other instance of the service has.
        address: where it is.
        metadata: what it says about itself, as JSON. Do not change it.
        revision: the revision that registered it, or changed it last.
    """

    name: str
    address: str
    metadata: Mapping[str, JsonValue]
    revision: int


@dataclass(frozen=True, slots=True)
class InstancesChange:
    """A change of the instances of a service. Each is sorted by name.

    A command that removes several instances, such as the end of several leases, may give several changes, which have
    the same revision.

    Attributes:
        added: instances that are new.
        removed: instances that are gone, as they were.
        changed: instances that were registered again, or have another address or metadata, as they are now.
        revision: the revision of the change.
        skipped: whether there may have been other changes before this one, which are lost. The instances are right.
    """

    added: tuple[Instance, ...]
    removed: tuple[Instance, ...]
    changed: tuple[Instance, ...]
    revision: int
    skipped: bool


class _Content(BaseModel):
    """The value of the key of an instance. Programs of other versions may add fields."""

    address: str
    metadata: dict[str, JsonValue] = {}


def content_of(address: str, metadata: Mapping[str, JsonValue] | None) -> bytes:
    """The value of the key of an instance.

    Raises:
        ConfigError: the address is no text, is empty or has no UTF-8 form; or the metadata are no JSON.
    """
    given: object = address  # a program without types may give anything, and no view could read it
    if not isinstance(given, str):
        raise ConfigError(
            f"service: the address {given!r} is no text: write it like '10.0.0.7:8080'"[:500]
        )
    if not given:
        raise ConfigError("service: the address is empty: write it like '10.0.0.7:8080'")
    try:
        given.encode()
    except UnicodeEncodeError as error:
        raise ConfigError(f"service: the address {given!r} has no UTF-8 form: {error}") from None
    try:
        checked = _METADATA.validate_python(dict(metadata or {}))
        text = json.dumps(
            {"address": address, "metadata": checked}, ensure_ascii=False, allow_nan=False
        )
        return text.encode()
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"service: the metadata are no JSON object with texts as keys: {str(error)[:_MAX_TEXT]}"
        ) from None


def instance_of(kv: KeyVersion, prefix: bytes) -> Instance | str:
    """The instance in a key; or what is wrong with the key."""
    name = kv.key.removeprefix(prefix).decode(errors="replace")
    try:
        content = _Content.model_validate_json(kv.value)
    except ValidationError as error:
        return str(error)[:_MAX_TEXT]
    return Instance(name, content.address, content.metadata, kv.mod_revision)


class InstancesState:
    """The instances of a service, as the changes of the keys make them.

    Args:
        prefix: of the keys.

    Attributes:
        invalid: what is wrong with keys that have no instance, by their names.
    """

    def __init__(self, prefix: bytes) -> None:
        self._prefix = prefix
        self._instances: dict[bytes, Instance] = {}
        self._sorted: tuple[Instance, ...] | None = None
        self.invalid: dict[str, str] = {}

    @property
    def instances(self) -> tuple[Instance, ...]:
        """The instances, sorted by name."""
        if self._sorted is None:
            self._sorted = _by_name(self._instances.values())
        return self._sorted

    def copy(self) -> InstancesState:
        """Another one with the same instances."""
        other = InstancesState(self._prefix)
        other._instances = dict(self._instances)
        return other

    def read(self, key: bytes, kv: KeyVersion | None) -> tuple[Instance | None, Instance | None]:
        """A key is this now. Returns its instance before, and now."""
        self._sorted = None
        before, after = self._instances.pop(key, None), None
        name = key.removeprefix(self._prefix).decode(errors="replace")
        self.invalid.pop(name, None)
        if kv is not None:
            found = instance_of(kv, self._prefix)
            if isinstance(found, str):
                self.invalid[name] = found
            else:
                after = self._instances[key] = found
        return before, after

    def take(self, change: KeysChange) -> InstancesChange:
        """Keys change."""
        added: list[Instance] = []
        removed: list[Instance] = []
        changed: list[Instance] = []
        for key, step in change.steps.items():
            before, after = self.read(key, step.after)
            if after is not None:
                (added if before is None else changed).append(after)
            elif before is not None:
                removed.append(before)
        return InstancesChange(
            _by_name(added), _by_name(removed), _by_name(changed), change.revision, change.skipped
        )


def _by_name(instances: Iterable[Instance]) -> tuple[Instance, ...]:
    return tuple(sorted(instances, key=lambda instance: instance.name))
