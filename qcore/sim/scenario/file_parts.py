"""What a scenario file is put together from: the files that it includes, and its parameters.

Both work on the nodes of the files, so that every error names the file and the line that it belongs to.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from copy import copy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from qcore.errors import ConfigError
from qcore.yaml_reader import Key, MappingNode, Node, Place, ScalarNode, ScalarValue, SequenceNode

#: The most files of which each includes the next.
MAX_INCLUDE_DEPTH: Final = 8
#: The most files that are read for one scenario. A file that is included twice counts twice.
MAX_INCLUDED_FILES: Final = 64
#: The most keys, values and characters that parameters put into a scenario.
MAX_INSERTED: Final = 1_000_000

#: Keys that a file does not take from the files that it includes.
_OWN: Final = ("name", "summary", "description", "include")
#: The list that is joined. Any other list replaces the included one.
_JOINED: Final = "timeline"

_USE: Final = re.compile(r"\$(\$)?\{([^{}]*)\}")
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(slots=True)
class _Used:
    """The parameters that were used, and the size of all that they put into the scenario."""

    names: dict[str, None] = field(default_factory=dict)
    size: int = 0


#: Reads a file and returns its root.
ReadFile = Callable[[Path], MappingNode]


def at_most(most: int, read: ReadFile) -> ReadFile:
    """Reads like `read`, and refuses to read more than `most` files."""
    count = 0

    def counted(file: Path) -> MappingNode:
        nonlocal count
        count += 1
        if count > most:
            raise ConfigError(f"more than {most} files are included; put them together")
        return read(file)

    return counted


def with_includes(root: MappingNode, read: ReadFile, above: tuple[Path, ...] = ()) -> MappingNode:
    """A file together with what it includes (`include: base.yaml`, or a list of files).

    Maps are merged key by key, and the including file wins; of several included files, the later one wins. The items of
    an included timeline come before those of the including file. Paths are relative to the including file.

    Args:
        root: the root of the file.
        read: reads an included file.
        above: the files that include this one, the outermost first.

    Raises:
        ConfigError: `include` is no path, a file includes itself, or too many files include each other.
    """
    node = root.entries.get("include")
    if node is None:
        return root
    file = Path(root.source).resolve()
    merged: MappingNode | None = None
    for path, place in _paths(node):
        found = (Path(root.source).parent / path).resolve()
        chain = (*above, file)
        if found in chain:
            way = f", by way of {_names(chain[chain.index(found) :])}" if found != file else ""
            raise place.error(f"{path} includes itself{way}")
        if len(chain) == MAX_INCLUDE_DEPTH:
            raise place.error(
                f"{MAX_INCLUDE_DEPTH} files include each other already: {_names(chain)}; use fewer files"
            )
        try:
            included = read(Path(root.source).parent / path)
        except ConfigError as error:
            if isinstance(error, IncludeFailed):
                raise
            raise IncludeFailed(
                f"{place.source}:{place.line}:{place.column}: include: {error}"
            ) from None
        included = with_includes(included, read, chain)
        taken = _without(included, _OWN)
        merged = taken if merged is None else _merge(merged, taken)
    own = _without(root, ("include",))
    return own if merged is None else _merge(merged, own)


class IncludeFailed(ConfigError):
    """An included file cannot be used. The text names the place of the `include` and the reason."""


def with_parameters(root: MappingNode, given: Mapping[str, ScalarValue]) -> MappingNode:
    """A file in which every `${name}` is replaced by the value of a parameter.

    A value that is only `${name}` becomes the parameter's value, of whatever type. Within a longer text, the value is
    inserted as text. `$${name}` stands for the text `${name}`.

    Args:
        root: the file, with a map `parameters` of names and default values.
        given: values that replace the defaults.

    Raises:
        ConfigError: a parameter is unknown or unused, or its value cannot be inserted into a text.
    """
    declared = root.entries.get("parameters")
    values: dict[str, Node] = {}
    if isinstance(declared, MappingNode):
        for key, node in declared.entries.items():
            if not isinstance(key, str) or not _NAME.fullmatch(key):
                raise declared.key_places[key].error(
                    "a parameter's name has letters, digits and _ only"
                )
            values[key] = node
    elif declared is not None:
        raise declared.error(
            "parameters is a map of names and default values, such as {cut_ms: 3000}"
        )
    for name, value in given.items():
        if name not in values:
            raise ConfigError(f"{root.source}: {_no_parameter(name, values)}")
        place = values[name]
        values[name] = ScalarNode(
            place.source, place.line, place.column, place.parent, place.key, value
        )
    used = _Used()
    replaced = _substitute(_without(root, ("parameters",)), values, used)
    assert isinstance(replaced, MappingNode)
    for name, node in values.items():
        if name not in used.names:
            for other in values.values():
                inner = other.value if isinstance(other, ScalarNode) else None
                if isinstance(inner, str) and f"${{{name}}}" in inner:
                    raise other.error(
                        f"the value of a parameter cannot use ${{{name}}}, another one"
                    )
            raise node.error(
                f"the parameter {name} is used nowhere; write ${{{name}}} where it belongs"
            )
    return replaced


def _no_parameter(name: str, values: Mapping[str, Node]) -> str:
    there_are = f"there are {', '.join(values)}" if values else "the file has no `parameters`"
    return f"no parameter is called {name}: {there_are}"


def _substitute(node: Node, values: Mapping[str, Node], used: _Used) -> Node:
    match node:
        case MappingNode():
            entries: dict[Key, Node] = {
                key: _substitute(value, values, used) for key, value in node.entries.items()
            }
            return replace(node, entries=entries)
        case SequenceNode():
            return replace(node, items=[_substitute(item, values, used) for item in node.items])
        case ScalarNode(value=str(text)) if "${" in text:
            return _substitute_text(node, text, values, used)
    return node


def _substitute_text(node: ScalarNode, text: str, values: Mapping[str, Node], used: _Used) -> Node:
    def value_of(name: str) -> Node:
        if name not in values:
            raise node.error(f"${{{name}}}: {_no_parameter(name, values)}")
        used.names[name] = None
        used.size += _size(values[name])
        if used.size > MAX_INSERTED:
            raise node.error(
                f"the parameters put more than {MAX_INSERTED} keys, values and characters into the scenario"
            )
        return values[name]

    whole = _USE.fullmatch(text)
    if whole is not None and not whole[1]:
        return _moved(value_of(whole[2]), node)

    def inserted(match: re.Match[str]) -> str:
        if match[1]:
            return match[0][1:]
        found = value_of(match[2])
        if not isinstance(found, ScalarNode):
            raise node.error(
                f"${{{match[2]}}} is a list or a map, which has no place within a text"
            )
        return _text(found.value)

    return replace(node, value=_USE.sub(inserted, text))


def _size(node: Node) -> int:
    """How many keys, values and characters a value has."""
    match node:
        case MappingNode():
            return 1 + sum(map(_size, node.entries.values()))
        case SequenceNode():
            return 1 + sum(map(_size, node.items))
    return 1 + (len(node.value) if isinstance(node.value, str) else 0)


def _text(value: ScalarValue) -> str:
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _moved(value: Node, to: Place) -> Node:
    """A value at the place where it is used: errors name that place."""
    moved = copy(value)
    moved.source, moved.line, moved.column = to.source, to.line, to.column
    moved.parent, moved.key = to.parent, to.key
    return moved


def _paths(node: Node) -> list[tuple[str, Place]]:
    items = node.items if isinstance(node, SequenceNode) else [node]
    found: list[tuple[str, Place]] = []
    for item in items:
        if not isinstance(item, ScalarNode) or not isinstance(item.value, str) or not item.value:
            raise item.error("include is the path of a file, or a list of paths")
        found.append((item.value, item))
    if not found:
        raise node.error("include names no file; leave it out")
    return found


def _merge(under: MappingNode, over: MappingNode) -> MappingNode:
    """Both maps in one; `over` wins."""
    entries, places = dict(under.entries), dict(under.key_places)
    for key, node in over.entries.items():
        before = entries.get(key)
        if isinstance(before, MappingNode) and isinstance(node, MappingNode):
            node = _merge(before, node)
        elif key == _JOINED and isinstance(before, SequenceNode) and isinstance(node, SequenceNode):
            node = replace(node, items=[*before.items, *node.items])
        entries[key] = node
        places[key] = over.key_places[key]
    return replace(over, entries=entries, key_places=places)


def _without(node: MappingNode, keys: tuple[str, ...]) -> MappingNode:
    return replace(
        node,
        entries={key: value for key, value in node.entries.items() if key not in keys},
        key_places={key: place for key, place in node.key_places.items() if key not in keys},
    )


def _names(chain: tuple[Path, ...]) -> str:
    return ", ".join(path.name for path in chain)
