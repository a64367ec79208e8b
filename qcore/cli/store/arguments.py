"""Arguments and options that the commands of the entity store share."""

from __future__ import annotations

from typing import Annotated, TypeAlias

import typer

from qcore.display import printable
from qcore.errors import ConfigError

EntityArgument: TypeAlias = Annotated[
    str,
    typer.Argument(
        metavar="ENTITY",
        help="An id such as User$7, or a path such as /Root/Users/ada. A backslash before / makes it part of a name.",
    ),
]

TypeArgument: TypeAlias = Annotated[str, typer.Argument(metavar="TYPE", help="An entity type.")]


def split_assignment(text: str) -> tuple[str, str]:
    """The field and the value in `FIELD=VALUE`.

    Raises:
        ConfigError: the text has another form.
    """
    field, equals, value = text.partition("=")
    if not (field and equals):
        raise ConfigError(f"'{printable(text)}' is not FIELD=VALUE, such as Email=ada@example.org")
    return field, value


def check_name(name: str) -> str:
    """Return the name of an entity.

    Raises:
        ConfigError: it is empty, so no path would lead to the entity.
    """
    if not name:
        raise ConfigError("the name is empty, so no path would lead to the entity: give a name")
    return name
