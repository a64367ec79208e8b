"""A check of the integers that a program gives to a recipe: a wrong type must not reach the cluster."""

from __future__ import annotations

from qcore.errors import ConfigError


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
