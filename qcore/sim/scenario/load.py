"""Reads and validates scenario files, with errors that name the file, the line and the key."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Final, get_args, get_origin

from pydantic import ValidationError

from qcore.display import printable
from qcore.errors import ConfigError
from qcore.files import decode_text, read_regular
from qcore.sim.scenario.catalogue import find_scenario, shipped_advice
from qcore.sim.scenario.file_parts import with_includes, with_parameters
from qcore.sim.scenario.model import Scenario
from qcore.yaml_reader import (
    MappingNode,
    Node,
    ScalarNode,
    ScalarValue,
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


def load_scenario(
    path: Path | str, *, parameters: Mapping[str, ScalarValue] | None = None
) -> Scenario:
    """Read and validate a scenario file.

    Args:
        path: a YAML file, or the name of a shipped scenario.
        parameters: values for the `parameters` of the file, instead of their defaults.

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
    return parse_scenario(_read(file, shipped_advice(file)), str(file), parameters=parameters)


def _read(file: Path, advice: str = "") -> str:
    try:
        data = read_regular(file, MAX_FILE_BYTES)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        why = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(
            f"cannot read the scenario {printable(str(file))}: {why}{advice}"
        ) from None
    return decode_text(data, str(file))


def as_scenario(scenario: Scenario | Path | str) -> Scenario:
    """Return a scenario unchanged; read a name or path with `load_scenario`.

    Raises:
        ConfigError: as `load_scenario`.
    """
    return scenario if isinstance(scenario, Scenario) else load_scenario(scenario)


def parse_scenario(
    text: str, source: str = "<text>", *, parameters: Mapping[str, ScalarValue] | None = None
) -> Scenario:
    """Validate the text of a scenario.

    Args:
        text: YAML.
        source: the name for errors and for the replay command. Included files are looked up beside it.
        parameters: values for the `parameters` of the text, instead of their defaults.

    Raises:
        ConfigError: as `load_scenario`.
    """
    given = dict(parameters or {})
    root = with_includes(_parse(text, source), lambda file: _parse(_read(file), str(file)))
    root = with_parameters(root, given)
    raw = to_python(root)
    assert isinstance(raw, dict), "the root is a map"
    for key in ("source", "overrides", "edited"):
        if key in raw:
            raise root.key_places[key].error("unknown key")
    raw.setdefault("name", _name_from(source))
    try:
        return Scenario.model_validate({**raw, "source": source, "overrides": given})
    except ValidationError as error:
        raise ConfigError(_explain(error, root)) from None


def read_parameters(texts: Iterable[str]) -> dict[str, ScalarValue]:
    """Read parameters as the command line takes them: `name=value`, where the value is written as in YAML.

    Raises:
        ConfigError: a text has no name, a name comes twice, or a value is no single value.
    """
    found: dict[str, ScalarValue] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise ConfigError(f"--set {text!r}: write NAME=VALUE, for example cut_ms=500")
        if name in found:
            raise ConfigError(f"--set: {name} is given twice")
        node = parse_yaml(value, f"--set {name}", max_depth=_MAX_DEPTH)
        if not isinstance(node, ScalarNode):
            raise ConfigError(f"--set {text!r}: a parameter is a number, a text, true or false")
        found[name] = node.value
    return found


def _parse(text: str, source: str) -> MappingNode:
    root = parse_yaml(text, source, max_depth=_MAX_DEPTH, number_keys=True)
    if not isinstance(root, MappingNode):
        raise root.error("a scenario is a map with keys such as cluster and timeline")
    return root


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
            return _keys_of(get_args(model)[1], str(location[-1]))
    return _keys_of(model, str(location[-1]))


def _keys_of(model: object, unknown: str) -> str:
    fields = getattr(model, "model_fields", None)
    if not fields:
        return ""
    keys = [field.alias or name for name, field in fields.items() if not field.exclude]
    near = get_close_matches(unknown, keys, n=1)
    hint = f": did you mean {near[0]}? The" if near else "; the"
    return f"{hint} keys here are {', '.join(keys)}"
