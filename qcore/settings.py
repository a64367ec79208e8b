"""What a setting is: a dataclass field whose metadata holds its text, its bounds and its names.

    heartbeat_ms: int = field(
        default=50, metadata=setting("The leader sends at least this often.", minimum=1, node_default=100)
    )

From this one definition come the check of the bounds, the option of `qcore node start`, the `QCORE_*` variable, the key
of a node's configuration file, the key of a scenario, and the row in docs/reference/settings.md.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, fields, replace
from difflib import get_close_matches
from functools import cache
from typing import Any, ClassVar, Final, Protocol, TypeVar, cast, get_type_hints

from qcore.display import truncate
from qcore.errors import ConfigError

#: The largest integer that a setting may have, unless it states a maximum. TOML has no larger ones.
LARGEST: Final = 2**63 - 1

#: Keys of a field's metadata.
_SETTING, _SECTION = "qcore.setting", "qcore.section"

#: Stands for a real node's default where that is the default of the field.
_SAME: Final = object()


@dataclass(slots=True, frozen=True, kw_only=True)
class Setting:
    """What a field of settings means, besides its name, type and default.

    Attributes:
        text: the meaning, in sentences. The name of another field stands in backquotes.
        unit: of a number, such as `ms`. Empty for settings that have none.
        minimum, maximum: the smallest and the largest allowed number.
        above: the number must be greater than this.
        zero: what 0 means, if 0 is allowed although it is out of these bounds, such as `never`.
        node_default: the default of a real node, if it differs from the default of the field.
        name: the name for users, if it differs from the name of the field.
        item: of a setting with several values: the name of one. The option has this name, and may be repeated.
        older: an older name of the option and of the variable. Both still work.
        node: whether it is a setting of a real node: an option, a variable and a key of its file.
        scenario: the key in `cluster` of a scenario, if it differs from the name of the field; None for no key. Only
            the settings of a replica are keys of a scenario.
    """

    text: str
    unit: str = ""
    minimum: float | None = None
    maximum: float | None = None
    above: float | None = None
    zero: str = ""
    node_default: object = _SAME
    name: str = ""
    item: str = ""
    older: str = ""
    node: bool = True
    scenario: str | None = ""

    @property
    def bounded(self) -> bool:
        """Whether some numbers are out of bounds."""
        return not (self.minimum is self.maximum is self.above is None)

    def allows(self, value: float) -> bool:
        """Whether the number is within the bounds. An infinite one never is."""
        if value == 0 and self.zero:
            return True
        return (
            (isinstance(value, int) or math.isfinite(value))  # a large int has no float
            and (self.minimum is None or value >= self.minimum)
            and (self.maximum is None or value <= self.maximum)
            and (self.above is None or value > self.above)
        )

    def violated(self, value: float) -> str:
        """The bound that the number violates, in words; empty if it is allowed."""
        if not self.bounded:
            return ""
        if self.maximum is None and isinstance(value, int) and value > LARGEST:
            return f"at most {LARGEST}"
        return "" if self.allows(value) else self.allowed

    @property
    def allowed(self) -> str:
        """The allowed numbers in words; empty if all are."""
        low, high = self.minimum, self.maximum
        if self.above is not None:
            words = "positive and finite" if not self.above else f"above {self.above}"
        elif low is not None:
            words = f"at least {low}" if high is None else f"from {low} to {high}"
        else:
            words = "" if high is None else f"at most {high}"
        return f"{words}, or 0 for {self.zero}" if self.zero else words


def setting(text: str, **more: Any) -> Mapping[str, Setting]:  # Any: the fields of `Setting`
    """The `metadata` of a dataclass field that is a setting. The arguments are the fields of `Setting`."""
    return {_SETTING: Setting(text=text, **more)}


def section(title: str) -> Mapping[str, str]:
    """The `metadata` of a dataclass field that holds another class of settings, listed under this title."""
    return {_SECTION: title}


@dataclass(slots=True, frozen=True)
class SettingField:
    """A setting and the field that holds it.

    Attributes:
        about: the definition.
        field: the dataclass field.
        type: the type of the field.
        section: the title of the class that has the field, as given to `section`; empty for a required setting.
    """

    about: Setting
    field: Field[Any]
    type: Any  # a type may be a union or a Literal, which have no common type
    section: str

    @property
    def name(self) -> str:
        """The name for users, and the key in a configuration file: `id`, `heartbeat_ms`."""
        return self.about.name or self.field.name

    @property
    def option(self) -> str:
        """The option of `qcore node start`: `--heartbeat-ms`."""
        return "--" + (self.about.item or self.name).replace("_", "-")

    @property
    def variable(self) -> str:
        """The environment variable: `QCORE_HEARTBEAT_MS`."""
        return "QCORE_" + self.name.upper()

    @property
    def scenario_key(self) -> str | None:
        """The key in a scenario, if this is a setting of a replica."""
        return self.field.name if self.about.scenario == "" else self.about.scenario

    @property
    def is_required(self) -> bool:
        """Whether a node needs a value for it."""
        return self.about.node_default is _SAME and self.field.default is MISSING

    @property
    def node_default(self) -> Any:  # of the type of the field
        """The default of a real node. A required setting has none."""
        chosen = self.about.node_default
        return self.field.default if chosen is _SAME else chosen


class _Settings(Protocol):
    """A dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]


_T = TypeVar("_T", bound=_Settings)


@cache
def settings_of(cls: type[_Settings], title: str = "") -> tuple[SettingField, ...]:
    """The settings of a class and of the classes of settings that it holds.

    First come those that are required, then those of the class itself.
    """
    found = list(_settings(cls, title))
    return tuple(sorted(found, key=lambda each: (not each.is_required, each.section != title)))


def _settings(cls: type[_Settings], title: str) -> Iterator[SettingField]:
    types = _types(cls)
    for each in fields(cls):
        if _SETTING in each.metadata:
            found = SettingField(each.metadata[_SETTING], each, types[each.name], title)
            yield replace(found, section="") if found.is_required else found
        elif _SECTION in each.metadata:
            yield from settings_of(types[each.name], each.metadata[_SECTION])


@cache
def _bounded(cls: type[_Settings]) -> tuple[tuple[str, Setting], ...]:
    return tuple(
        (each.name, about)
        for each in fields(cls)
        if (about := each.metadata.get(_SETTING)) is not None and about.bounded
    )


def check_bounds(config: _Settings) -> None:
    """Check the values of the class's own settings.

    Raises:
        ConfigError: a value is out of bounds; the message begins with the name of the field.
    """
    for name, about in _bounded(type(config)):
        value = getattr(config, name)
        if bound := about.violated(value):
            raise ConfigError(f"{name} is {shown(value)}; it must be {bound}")


def build(cls: type[_T], values: Mapping[str, object]) -> _T:
    """Make an object of a class of settings, and the objects that it holds.

    Args:
        cls: the class.
        values: field name -> value, for the fields of all these classes together. A field that holds another class of
            settings may be given as a whole. A list becomes a tuple.

    Raises:
        ConfigError: a name is unknown or missing, or a value is out of bounds.
    """
    known = _field_names(cls)
    for name in values:
        if name not in known:
            raise ConfigError(f"no setting is called {name}{near(name, known)}")
    return _built(cls, values)


def for_node(cls: type[_T], values: Mapping[str, object]) -> _T:
    """The same with the defaults of a real node.

    Raises:
        ConfigError: as for `build`.
    """
    defaults = {
        each.field.name: each.node_default for each in settings_of(cls) if not each.is_required
    }
    return build(cls, {**defaults, **values})


def _built(cls: type[_T], values: Mapping[str, object]) -> _T:
    types = _types(cls)
    own: dict[str, object] = {}
    for each in fields(cls):
        if each.name in values:
            value = values[each.name]
            own[each.name] = tuple(value) if isinstance(value, list) else value
        elif _SECTION in each.metadata:
            own[each.name] = _built(types[each.name], values)
        elif each.default is each.default_factory is MISSING:
            raise ConfigError(f"{each.name} is missing")
    return cast(_T, cast(Any, cls)(**own))


@cache
def _types(cls: type[_Settings]) -> dict[str, Any]:  # Any: see `SettingField.type`
    return get_type_hints(cls)


@cache
def _field_names(cls: type[_Settings]) -> dict[str, None]:
    """The names of all fields of the class and of the classes of settings that it holds."""
    names: dict[str, None] = {}
    for each in fields(cls):
        names[each.name] = None
        if _SECTION in each.metadata:
            names |= _field_names(_types(cls)[each.name])
    return names


def shown(value: object) -> str:
    """A value as an error quotes it."""
    try:
        return truncate(repr(value) if isinstance(value, str) else str(value))
    except ValueError:  # Python does not write an integer of more than 4300 digits in base ten
        return "a number of more than 4300 digits"


def near(name: str, names: Mapping[str, object]) -> str:
    """The end of an error about an unknown name: a question with the nearest known one."""
    found = get_close_matches(name, names, n=1)
    return f": did you mean {found[0]}?" if found else ""
