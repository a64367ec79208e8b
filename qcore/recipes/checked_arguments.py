"""Checks of arguments before they become part of keys and values, where each other program would read them."""

from __future__ import annotations

from typing import Final

from qcore.errors import ConfigError

#: So much of a wrong argument is shown.
_SHOWN: Final = 80


def whole_number(name: str, value: object, least: int, most: int | None = None) -> int:
    """The argument, if it is a whole number in its range.

    Args:
        name: of the argument.
        value: the argument.
        least, most: its range; None for no end.

    Raises:
        ConfigError: it is none.
    """
    if (
        isinstance(value, int)
        and not isinstance(value, bool)
        and least <= value
        and (most is None or value <= most)
    ):
        return value
    end = "on" if most is None else f"to {most:,}"
    raise ConfigError(f"{name}: {shown(value)} is no whole number from {least} {end}")


def check_integer(title: str, what: str, value: object) -> None:
    """Raise if an argument is no integer. A `bool` is none, although Python counts it as one.

    A float would be written as `1.5`, and then no program could read the key.

    Args:
        title: names the recipe, such as `semaphore gpu`.
        what: names the argument, such as `permits`.
        value: the argument.

    Raises:
        ConfigError: it is no integer.
    """
    if not isinstance(value, int) or isinstance(value, bool):
        raise ConfigError(f"{title}: {what}: {value!r} is no integer: give an int"[:500])


def kept_text(name: str, value: object, most: int) -> str:
    """A text as it is kept in a record: short, and with nothing that UTF-8 cannot express.

    Args:
        name: of the argument.
        value: the text, or an exception, which is kept with its class.
        most: so many characters are kept.

    Raises:
        ConfigError: it is neither.
    """
    if isinstance(value, BaseException):
        value = f"{type(value).__name__}: {value}"
    return checked_text(name, value)[:most].encode(errors="replace").decode()


def is_number(value: object) -> bool:
    """Whether an argument is a number. A `bool` is none, although Python counts it as one."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def checked_text(name: str, value: object) -> str:
    """The argument, if it is a text.

    Raises:
        ConfigError: it is none.
    """
    if not isinstance(value, str):
        raise ConfigError(f"{name}: {shown(value)} is no text: give a text, such as str(...)")
    return value


def shown(value: object) -> str:
    """A wrong argument in the text of an error."""
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
