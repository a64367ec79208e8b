"""What `ConfigWatch` makes of the content of its key: values of a model, and changes of them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from pydantic import TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError

from qcore.errors import ConfigError
from qcore.recipes.recipe_errors import NotAvailable
from qcore.recipes.views.key_changes_feed import KeysChange

if TYPE_CHECKING:
    from qcore.kv.key_values import KeyVersion

M = TypeVar("M")

#: How much of pydantic's text an error has, characters.
_MAX_TEXT: Final = 2000


class Missing(Enum):
    """There is no value. None may be one."""

    VALUE = 0


@dataclass(frozen=True, slots=True)
class InvalidContent:
    """Content that does not fit the model.

    Attributes:
        content: the value of the key.
        revision: its revision.
        error: what pydantic says.
    """

    content: bytes
    revision: int
    error: str


@dataclass(frozen=True, slots=True)
class ConfigChange(Generic[M]):
    """A change of the key.

    Attributes:
        value: the effective value after the change. It is the old one if the content is invalid, and the default, or
            None, if the key was deleted.
        previous: the effective value before the change; None if there was none.
        revision: the revision of the change.
        deleted: whether the key does not exist any more.
        invalid: the content, if it does not fit the model.
        skipped: whether there may have been other changes before this one, which are lost.
    """

    value: M | None
    previous: M | None
    revision: int
    deleted: bool
    invalid: InvalidContent | None
    skipped: bool


class ConfigModel(Generic[M]):
    """Converts between JSON and values of a type.

    Args:
        key: for the texts of errors.
        model: the type.
    """

    def __init__(self, key: bytes, model: type[M] | TypeAdapter[M]) -> None:
        self._adapter: TypeAdapter[M] = (
            model if isinstance(model, TypeAdapter) else TypeAdapter(model)
        )
        self.name = f"config {key.decode(errors='replace')}"

    def read(self, kv: KeyVersion) -> M | InvalidContent:
        """The value in a key."""
        try:
            return self._adapter.validate_json(kv.value)
        except ValidationError as error:
            text = str(error)
        except Exception as error:  # noqa: BLE001 - a validator of the program; pydantic passes on what it raises
            text = f"a validator raised {type(error).__name__}: {error}"
        return InvalidContent(kv.value, kv.mod_revision, text[:_MAX_TEXT])

    def checked_default(self, value: M) -> M:
        """A default, as a value of the model. Python values are not converted: `"5"` and `True` are no int.

        Raises:
            ConfigError: it does not fit the model.
        """
        try:
            return self._adapter.validate_python(value, strict=True)
        except ValidationError as error:
            text = str(error)
        except Exception as error:  # noqa: BLE001 - a validator of the program; pydantic passes on what it raises
            text = f"a validator raised {type(error).__name__}: {error}"
        raise ConfigError(f"{self.name}: the default does not fit the model: {text[:_MAX_TEXT]}")

    def write(self, value: M) -> bytes:
        """A value as JSON.

        Raises:
            ConfigError: it does not fit the model, has no JSON, or no watcher could read what would be written.
        """
        try:
            checked = self._adapter.validate_python(value)
            content = self._adapter.dump_json(checked, by_alias=True, round_trip=True)
        except PydanticSerializationError as error:
            raise ConfigError(
                f"{self.name}: the value has no JSON: {str(error)[:_MAX_TEXT]}"
            ) from None
        except ValidationError as error:
            raise ConfigError(
                f"{self.name}: the value does not fit the model: {str(error)[:_MAX_TEXT]}"
            ) from None
        try:
            self._adapter.validate_json(content)
        except ValidationError as error:
            raise ConfigError(
                f"{self.name}: the JSON of the value does not fit the model, so no watcher could read it: "
                f"{str(error)[:_MAX_TEXT]}"
            ) from None
        return content


class ConfigState(Generic[M]):
    """The effective value, as the changes of the key make it.

    Args:
        model: reads the content.
        default: effective while the key does not exist.

    Attributes:
        default: the argument.
        value: the effective value.
        invalid: the content of the key, if it does not fit the model.
    """

    def __init__(self, model: ConfigModel[M], default: M | Missing) -> None:
        self._model = model
        self.default = default
        self.value: M | Missing = default
        self.invalid: InvalidContent | None = None

    def copy(self) -> ConfigState[M]:
        """Another one with the same value."""
        other = ConfigState(self._model, self.default)
        other.value, other.invalid = self.value, self.invalid
        return other

    def read(self, kv: KeyVersion | None) -> None:
        """The key is this now."""
        self.invalid = None
        if kv is None:
            self.value = self.default
            return
        found = self._model.read(kv)
        if isinstance(found, InvalidContent):
            self.invalid = found
        else:
            self.value = found

    def take(self, change: KeysChange, key: bytes) -> ConfigChange[M]:
        """The key changes."""
        after = change.steps[key].after
        previous = self.value
        self.read(after)
        return ConfigChange(
            None if self.value is Missing.VALUE else self.value,
            None if previous is Missing.VALUE else previous,
            change.revision,
            after is None,
            self.invalid,
            change.skipped,
        )

    def check_valid(self) -> None:
        """Raise if the key has content that does not fit the model. What an older value gives must not replace it.

        Raises:
            NotAvailable: it has.
        """
        if self.invalid is not None:
            raise NotAvailable(
                f"{self._model.name}: the content of revision {self.invalid.revision} does not fit the model, so it "
                "cannot be updated, and nothing was written: maybe a newer program has written it; use set() to "
                f"replace it: {self.invalid.error}"
            )

    def effective(self) -> M:
        """The effective value.

        Raises:
            NotAvailable: there is none.
        """
        if self.value is not Missing.VALUE:
            return self.value
        if self.invalid is not None:
            raise NotAvailable(
                f"{self._model.name}: the content of revision {self.invalid.revision} does not fit the model, and no "
                f"earlier one is known: {self.invalid.error}"
            )
        raise NotAvailable(f"{self._model.name} does not exist: set it, or give a default")
