"""Reads the configuration file of a node: a TOML file whose keys are the names of the settings."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from qcore.cli.node.setting_options import TEXTS, choices_of, plain_type, read_address
from qcore.display import printable
from qcore.errors import ConfigError
from qcore.files import decode_text, read_regular
from qcore.settings import SettingField, near, shown
from qcore.transport.address import Address

#: The largest configuration file, bytes. It has about sixty keys.
_MAX_BYTES: Final = 1024 * 1024

#: A key of a YAML file.
_YAML_KEY = re.compile(r"^[\w\"'. -]+:(\s|$)", re.MULTILINE)


def read_config_file(path: Path, settings: Iterable[SettingField]) -> dict[str, object]:
    """The values in a configuration file, by the names of the fields.

    A path in the file is relative to the working directory, like a path on the command line.

    Raises:
        ConfigError: the file cannot be read, or a key or value is wrong; the error gives file, line and key.
    """
    text = _read(path)
    try:
        table = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        hint = (
            ": it looks like YAML; a topology goes to --topology" if _YAML_KEY.search(text) else ""
        )
        raise ConfigError(f"--config {path}: not TOML: {error}{hint}") from None
    known = {each.name: each for each in settings}
    values: dict[str, object] = {}
    for key, value in table.items():
        where = f"{path}:{_line_of(key, text)}: {printable(key)}"
        if key not in known:
            raise ConfigError(f"{where}{_unknown(key, value, known)}")
        values[known[key].field.name] = _checked(known[key], value, where)
    return values


def _read(path: Path) -> str:
    try:
        data = read_regular(path, _MAX_BYTES)
    except OSError as error:
        raise ConfigError(f"--config {path}: {error.strerror}; name another file") from None
    # Some editors begin a file with a byte order mark.
    return decode_text(data, str(path)).removeprefix("\ufeff")


def _line_of(key: str, text: str) -> int:
    """The number of the line that begins with the key, as a key or as a table."""
    begin = re.compile(rf"\s*\[?\s*[\"']?{re.escape(key)}[\"']?\s*[=.\]]")
    lines = enumerate(text.split("\n"), 1)
    return next((number for number, line in lines if begin.match(line)), 1)


def _unknown(key: str, value: object, known: dict[str, SettingField]) -> str:
    """Why no setting has this name, and which one may be meant."""
    is_list_of_tables = isinstance(value, list) and any(isinstance(item, dict) for item in value)
    if isinstance(value, dict) or is_list_of_tables:
        return " is a table: write all settings as `name = value`, without tables"
    written = key.replace("-", "_")
    renamed = {each.field.name: name for name, each in known.items()}
    renamed |= {each.about.older: name for name, each in known.items() if each.about.older}
    if written in known or written in renamed:
        return f": unknown setting; write {renamed.get(written, written)}"
    meant = near(written, known) or "; `qcore node start --help` lists all"
    return f": unknown setting{meant}"


def _checked(each: SettingField, value: object, where: str) -> object:
    """The value of a setting, as its option accepts it.

    Raises:
        ConfigError: the value has another type, or is out of bounds.
    """
    kind, choices = plain_type(each), choices_of(each)
    if choices:
        if value not in choices:
            raise ConfigError(f"{where} is {_shown(value)}; it must be {' or '.join(choices)}")
        return value
    types, words = _TYPES[kind]
    if type(value) not in types:  # `type`: a bool is an int
        raise ConfigError(f"{where} is {_shown(value)}; it must be {words}")
    bound = each.about.violated(value) if isinstance(value, int | float) else ""
    if bound:
        raise ConfigError(f"{where} is {shown(value)}; it must be {bound}")
    if isinstance(value, list) and not all(type(item) is str for item in value):
        raise ConfigError(f"{where} is {shown(value)}; it must be {words}")
    if isinstance(value, str) and not value.strip():
        raise ConfigError(f"{where} is empty; give a value, or remove the line")
    if isinstance(value, str) and "\0" in value:  # no option and no variable can hold it
        raise ConfigError(f"{where} is {shown(value)}; it must not contain a null character")
    if kind is Address:
        read_address(str(value), where)
    return value


#: Type of a setting -> the types of TOML, and their name for users.
_TYPES: Final[dict[Any, tuple[tuple[type, ...], str]]] = {
    bool: ((bool,), "true or false"),
    int: ((int,), "an integer, such as 100"),
    float: ((int, float), "a number, such as 1.5"),
    str: ((str,), 'a text, in "quotes"'),
    TEXTS: ((list,), 'a list of texts, ["...", "..."]'),
    Path: ((str,), 'a path, in "quotes"'),
    Address: ((str,), 'an address, "host:port" in quotes'),
}


def _shown(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else shown(value)
