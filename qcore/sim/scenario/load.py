"""Reads and validates scenario files, with errors that name the file, the line and the key."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final, get_args, get_origin

from pydantic import ValidationError

from qcore.display import printable
from qcore.errors import ConfigError
from qcore.files import decode_text, read_regular
from qcore.sim.scenario.catalogue import find_scenario, shipped_advice
from qcore.sim.scenario.model import Scenario
from qcore.yaml_reader import (
    MappingNode,
    Node,
    ScalarNode,
    find,
    parse_yaml,
    path_text,
    to_python,
)

#: The largest scenario file that is read.
MAX_FILE_BYTES: Final = 16 << 20
#: The most maps and lists within each other in a scenario.
_MAX_DEPTH: Final = 32

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
        data = read_regular(file, MAX_FILE_BYTES)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        why = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(
            f"cannot read the scenario {printable(str(file))}: {why}{shipped_advice(file)}"
        ) from None
    return parse_scenario(decode_text(data, str(file)), str(file))


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
    root = parse_yaml(text, source, max_depth=_MAX_DEPTH, number_keys=True)
    raw = to_python(root)
    if not isinstance(root, MappingNode) or not isinstance(raw, dict):
        raise root.error("a scenario is a map with keys such as cluster and timeline")
    if "source" in raw:
        raise root.key_places["source"].error("unknown key")
    raw.setdefault("name", _name_from(source))
    try:
        return Scenario.model_validate({**raw, "source": source})
    except ValidationError as error:
        raise ConfigError(_explain(error, root)) from None


def _name_from(source: str) -> str:
    stem = Path(source).stem
    name = "".join(letter if letter.isalnum() or letter in "_.-" else "_" for letter in stem)
    return name.strip("_.-") or "scenario"


def _explain(error: ValidationError, root: Node) -> str:
    """All problems, one on each line, as `file:line:column: key: problem`."""
    texts: list[str] = []
    for problem in error.errors(include_url=False):
        location = problem["loc"]
        message = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "extra_forbidden":
            message = f"unknown key{_known_keys(location)}"
        key = path_text(location)
        place, node = find(root, location or _location_in(message))
        if isinstance(node, ScalarNode):
            message += node.hint()
        where = f"{place.source}:{place.line}:{place.column}"
        text = f"{where}: {key + ': ' if key else ''}{message}"
        if text not in texts:
            texts.append(text)
    return "\n".join(texts)


def _location_in(message: str) -> Location:
    """The location with which the message of a check of the whole scenario begins."""
    if match := re.match(r"timeline\[(\d+)\]", message):
        return "timeline", int(match[1])
    if match := re.match(r"(\w+)\.(\w+)", message):
        return match[1], match[2]
    return ()


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
