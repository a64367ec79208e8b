"""Reads and validates scenario files, with errors that name the file, the line and the key."""

from __future__ import annotations

import re
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Final, get_args, get_origin

import yaml
from pydantic import ValidationError

from qcore.display import printable
from qcore.errors import ConfigError
from qcore.files import read_regular
from qcore.sim.scenario.catalogue import find_scenario
from qcore.sim.scenario.model import Scenario

#: The largest scenario file that is read.
MAX_FILE_BYTES: Final = 16 << 20

Location = tuple[str | int, ...]


def load_scenario(path: Path | str) -> Scenario:
    """Read and validate a scenario file.

    Args:
        path: a YAML file, or the name of a shipped scenario.

    Raises:
        ConfigError: there is no such scenario, the file cannot be read, it is not YAML, or it is not a valid
            scenario. The error names the file, the line, the key and what is allowed.
    """
    given: object = path
    if not isinstance(given, Path | str):
        raise ConfigError(
            f"a scenario is given by name, by path or as a Scenario, not as {type(given).__name__}"
        )
    file = find_scenario(str(path))
    try:
        text = read_regular(file, MAX_FILE_BYTES).decode()
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file}: not UTF-8 text: {error.reason}") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        why = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(f"cannot read the scenario {printable(str(file))}: {why}") from None
    return parse_scenario(text, str(file))


def as_scenario(scenario: Scenario | Path | str) -> Scenario:
    """Return a scenario unchanged; read a name or path with `load_scenario`.

    Raises:
        ConfigError: as `load_scenario`.
    """
    return scenario if isinstance(scenario, Scenario) else load_scenario(scenario)


def parse_scenario(text: str, source: str = "<text>") -> Scenario:
    """Validate the text of a scenario.

    Args:
        text: YAML.
        source: the name for errors and for the replay command.

    Raises:
        ConfigError: as `load_scenario`.
    """
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        lines: dict[Location, int] = {}
        if node is not None:
            _note_lines(node, (), lines, source)
        raw = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"{source}:{mark.line + 1}" if mark else source
        raise ConfigError(f"{where}: not valid YAML: {error.problem or error.context}") from None
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date such as 2024-13-45
        raise ConfigError(f"{source}: not valid YAML: {error}") from None
    except RecursionError:
        raise ConfigError(f"{source}: nested too deeply for a scenario") from None
    if not isinstance(raw, dict):
        raise ConfigError(
            f"{source}: a scenario is a mapping with keys such as cluster and timeline"
        )
    if "source" in raw:
        raise ConfigError(f"{source}:{lines.get(('source',), 1)}: source: unknown key")
    raw.setdefault("name", _name_from(source))
    try:
        return Scenario.model_validate({**raw, "source": source})
    except ValidationError as error:
        raise ConfigError(_explain(error, lines, source)) from None


def _name_from(source: str) -> str:
    stem = Path(source).stem
    name = "".join(letter if letter.isalnum() or letter in "_.-" else "_" for letter in stem)
    return name.strip("_.-") or "scenario"


def _note_lines(node: yaml.Node, path: Location, lines: dict[Location, int], source: str) -> None:
    """Record the line of every key and item; reject a duplicate key."""
    lines.setdefault(path, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        seen: set[Hashable] = set()
        for key, value in node.value:
            name = key.value
            line = key.start_mark.line + 1
            if isinstance(name, str):
                if name in seen:
                    raise ConfigError(f"{source}:{line}: duplicate key {name!r}; leave one out")
                seen.add(name)
                lines[(*path, name)] = line
                _note_lines(value, (*path, name), lines, source)
    elif isinstance(node, yaml.SequenceNode):
        for number, value in enumerate(node.value):
            _note_lines(value, (*path, number), lines, source)


def _explain(error: ValidationError, lines: dict[Location, int], source: str) -> str:
    """All problems, one on each line, as `file:line: key: problem`."""
    texts: list[str] = []
    for problem in error.errors(include_url=False):
        location = problem["loc"]
        message = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "extra_forbidden":
            message = f"unknown key{_known_keys(location)}"
        key = _key_text(location)
        text = (
            f"{source}:{_line_of(location, message, lines)}: {key + ': ' if key else ''}{message}"
        )
        if text not in texts:
            texts.append(text)
    return "\n".join(texts)


def _line_of(location: Sequence[str | int], message: str, lines: dict[Location, int]) -> int:
    """The line of the longest part of the location that the file contains."""
    path = tuple(location)
    if not path:  # a check of the whole scenario: its message begins with the location
        if match := re.match(r"timeline\[(\d+)\]", message):
            path = ("timeline", int(match[1]))
        elif match := re.match(r"(\w+)\.(\w+)", message):
            path = (match[1], match[2])
    while path and path not in lines:
        path = path[:-1]
    return lines.get(path, 1)


def _key_text(location: Sequence[str | int]) -> str:
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def _known_keys(location: Sequence[str | int]) -> str:
    """The keys that are allowed in place of an unknown one; empty if they are hard to determine."""
    model: object = Scenario
    for part in location[:-1]:
        fields = getattr(model, "model_fields", None)
        if fields is None or part not in fields:
            return ""
        model = fields[part].annotation
        if get_origin(model) is dict:
            return _keys_of(get_args(model)[1])
    return _keys_of(model)


def _keys_of(model: object) -> str:
    fields = getattr(model, "model_fields", None)
    if not fields:
        return ""
    return "; the keys here are " + ", ".join(
        field.alias or name for name, field in fields.items() if name != "source"
    )
