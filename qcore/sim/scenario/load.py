"""Reads and validates scenario files, with errors that name the file, the line and the key."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final, get_args

from pydantic import ValidationError

from qcore.display import printable
from qcore.errors import ConfigError
from qcore.files import decode_text, read_regular
from qcore.sim.scenario.catalogue import find_scenario, shipped_advice
from qcore.sim.scenario.file_parts import (
    MAX_INCLUDED_FILES,
    at_most,
    with_includes,
    with_parameters,
)
from qcore.sim.scenario.frozen_model import keys_of, known_keys_text, problem_text
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
    if not isinstance(text, str):
        raise ConfigError(f"the text of a scenario is a str, not {type(text).__name__}")
    given = dict(parameters or {})
    read = at_most(MAX_INCLUDED_FILES, lambda file: _parse(_read(file), str(file)))
    root = with_includes(_parse(text, source), read)
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
        location = keys_of(problem)
        if problem["type"] == "too_short" and len(problem["input"]) >= problem["ctx"]["min_length"]:
            continue  # the list is long enough, but its items are wrong: that is another problem
        message = problem_text(problem)
        if problem["type"] == "extra_forbidden":
            message += _known_keys(location)
        if not location:
            location, message = _location_in(message)
        inner, message = _inner_location(root, location, message)
        location += inner
        key = path_text(location)
        place, node = find(root, location)
        if isinstance(node, ScalarNode):
            message += node.hint()
        where = f"{place.source}:{place.line}:{place.column}"
        text = f"{where}: {message if not key or message.startswith(key) else f'{key}: {message}'}"
        if text not in texts:
            texts.append(text)
    return "\n".join(texts)


#: A path of keys at the begin of a message: `timeline[3]: `, `random_faults.faults[0]: `, `isolate.nodes: `.
_PATH = re.compile(r"(?P<path>\w+(?:\.\w+|\[\d+\])*)(?P<end>: | )")


def _location_in(message: str) -> tuple[Location, str]:
    """The location with which the message of a check of the whole scenario begins, and the rest of the message."""
    match = _PATH.match(message)
    if match is None or not ("." in match["path"] or "[" in match["path"] or match["end"] == ": "):
        return (), message
    location = _location(match["path"])
    return location, message[match.end() :] if match["end"] == ": " else message


def _inner_location(root: Node, location: Location, message: str) -> tuple[Location, str]:
    """The keys below `location` with which a message begins, as far as the file has the first of them."""
    match = _PATH.match(message)
    _, node = find(root, location)
    if match is None or match["end"] != ": " or not isinstance(node, MappingNode):
        return (), message
    inner = _location(match["path"])
    return (inner, message[match.end() :]) if inner[0] in node.entries else ((), message)


def _location(path: str) -> Location:
    return tuple(int(key) if key.isdigit() else key for key in re.findall(r"\w+", path))


def _known_keys(location: Sequence[str | int]) -> str:
    """The keys that are allowed in place of an unknown one; empty if they are hard to determine."""
    model: object = Scenario
    for part in location[:-1]:
        if isinstance(part, int):  # a place in a list, or the key of a map
            continue
        fields = getattr(model, "model_fields", None)
        if fields is None or part not in fields:
            return ""
        model = _model_in(fields[part].annotation)
    return known_keys_text(model, str(location[-1]))


def _model_in(annotation: object) -> object:
    """The model that a type names: itself, or that of an optional value, a list or a map."""
    if hasattr(annotation, "model_fields"):
        return annotation
    inner = (_model_in(argument) for argument in get_args(annotation))
    return next((model for model in inner if model is not None), None)
