"""Generates the options of `qcore node start` from the settings of a node.

A new field of `RaftConfig`, `ReplicaConfig`, `TransportLimits` or `NodeConfig` gets its option and its variable without
further code.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Final, Literal, TypeVar, get_args, get_origin

import typer
from typer.core import TyperCommand

from qcore.cli.options import non_empty_path
from qcore.errors import ConfigError
from qcore.node.config import NodeConfig
from qcore.settings import SettingField, settings_of
from qcore.transport.address import Address

#: The settings that an operator gives to a node.
NODE_SETTINGS: Final = tuple(each for each in settings_of(NodeConfig) if each.about.node)

#: The type of a setting with several texts.
TEXTS: Final = tuple[str, ...]

F = TypeVar("F", bound=Callable[..., Any])  # any command
_T = TypeVar("_T")


def plain_type(each: SettingField) -> Any:  # a type, or a Literal
    """The type of a setting's values, without the None that stands for no value."""
    if isinstance(each.type, UnionType):
        return next(part for part in get_args(each.type) if part is not type(None))
    return each.type


def choices_of(each: SettingField) -> tuple[str, ...]:
    """The texts that a setting may have; empty if it is not a choice."""
    kind = plain_type(each)
    return get_args(kind) if get_origin(kind) is Literal else ()


def with_options(settings: Iterable[SettingField]) -> Callable[[F], F]:
    """Decorate a command that takes `**values`: give it an option for each setting.

    `values` has the names of the fields.
    """

    def decorate(command: F) -> F:
        declared = inspect.signature(command, eval_str=True)
        parameters = [
            each for each in declared.parameters.values() if each.kind is not each.VAR_KEYWORD
        ]
        # Typer reads the parameters from here.
        command.__signature__ = declared.replace(  # type: ignore[attr-defined]  # any callable may have this attribute
            parameters=[*parameters, *map(_parameter, settings)]
        )
        return command

    return decorate


def _parameter(each: SettingField) -> inspect.Parameter:
    kind = plain_type(each)
    default = inspect.Parameter.empty if each.is_required else each.node_default
    declarations, more = [each.option], dict[str, Any]()
    variables = [each.variable]
    if each.about.older:
        declarations.append("--" + each.about.older.replace("_", "-"))
        variables.append("QCORE_" + each.about.older.upper())
    if kind is bool:
        declarations = [f"{each.option}/--no-{each.option[2:]}"]
    elif kind in (int, float):
        # A range of an option is inclusive. `check_bounds` rejects what lies on an open end.
        minimum = 0 if each.about.zero else each.about.minimum
        more = {"min": minimum, "max": each.about.maximum}
    elif kind is Path:
        more = {"parser": non_empty_path, "metavar": "PATH"}
    elif kind is Address:
        more = {"parser": _address_parser(each.option), "metavar": "HOST:PORT"}
        default = default and str(default)  # typer takes a tuple for several values
    elif kind == TEXTS:
        more = {"callback": _separate, "metavar": "TEXT[,TEXT...]"}
        kind = list[str]  # typer takes it several times
    option = typer.Option(
        *declarations,
        envvar=variables if len(variables) > 1 else each.variable,
        help=help_text(each),
        **more,
    )
    return inspect.Parameter(
        each.field.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=default,
        annotation=Annotated[kind | None if isinstance(each.type, UnionType) else kind, option],
    )


def _separate(values: list[str]) -> list[str]:
    """The texts of an option that was given several times, of a variable, or of a file."""
    texts = [text for value in values for part in value.split(",") if (text := part.strip())]
    if values and not texts:
        raise typer.BadParameter("it is empty; give a value, or leave it out")
    return texts


def _address_parser(where: str) -> Callable[[str], Address]:
    def address(text: str) -> Address:  # older versions of typer need its name
        return read_address(text, where)

    return address


def read_address(text: str, where: str) -> Address:
    """Parse the address of a setting. `where` begins the error.

    Raises:
        ConfigError: the text is not an address.
    """
    return Address.parse(text, where, allow_port_zero=True)


def help_text(each: SettingField) -> str:
    """The text of a setting for a terminal: without backquotes, and with options for the names of fields."""
    zero = f" 0: {each.about.zero}." if each.about.zero else ""
    options = {other.field.name: other.option for other in NODE_SETTINGS}
    return _name(each.about.text.replace("`", "") + zero, options)


def with_names(make: Callable[[], _T], names: Mapping[str, str]) -> _T:
    """Call `make`. In its errors, replace the names of fields with the names that the user gave the values by.

    Args:
        make: makes the settings.
        names: field name -> name for the user.

    Raises:
        ConfigError: from `make`.
    """
    try:
        return make()
    except ConfigError as error:
        raise ConfigError(_name(str(error), names)) from None


def given_names(ctx: typer.Context, settings: Iterable[SettingField], file: str) -> dict[str, str]:
    """Field name -> the option, the variable, or the key of the file from which the value comes."""
    names: dict[str, str] = {}
    for each in settings:
        source = ctx.get_parameter_source(each.field.name)
        match source.name if source else "":
            case "ENVIRONMENT":
                names[each.field.name] = each.variable
            case "DEFAULT_MAP":
                names[each.field.name] = f"{each.name} in {file}"
            case _:
                names[each.field.name] = each.option
    return names


def is_overridden(ctx: typer.Context, name: str) -> bool:
    """Whether an option or a variable gives this field, so that the value in the file does not count."""
    source = ctx.get_parameter_source(name)
    return source is not None and source.name in ("COMMANDLINE", "ENVIRONMENT")


def _name(text: str, names: Mapping[str, str]) -> str:
    """Replace the names of fields. A name that is also a plain word is replaced only where it begins the text."""

    def replaced(match: re.Match[str]) -> str:
        word = match[0]
        return names.get(word, word) if "_" in word or match.start() == 0 else word

    return re.sub(r"\w+", replaced, text)


class SettingsCommand(TyperCommand):
    """A command whose help lists the settings in sections, after the other options.

    (`Any`: no name of typer's context and formatter classes is exported by all supported versions.)
    """

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the sections."""
        section = {each.field.name: each.section for each in NODE_SETTINGS}
        for title in dict.fromkeys(["", *section.values()]):
            records = [
                record
                for parameter in self.get_params(ctx)
                if section.get(parameter.name or "", "") == title
                and (record := parameter.get_help_record(ctx)) is not None
            ]
            with formatter.section(title or "Options"):
                formatter.write_dl(records)
