"""Reads YAML: one reader with one meaning for topology files and scenario files.

It uses PyYAML's parser, and builds the tree itself, for these reasons:

- Plain scalars follow the core schema of YAML 1.2: `no` and `Off` are texts, `010` is ten, `1e3` is a number. PyYAML
  follows YAML 1.1. Where the two differ, an error about the value says so.
- Every node knows its line, its column and its path of keys, and errors name them: `file:line:column: path: reason`.
- A hostile file is refused before it takes much memory: depth, nodes and digits are bounded, aliases and tags are
  refused. The composer does not recurse.
- A key is a text, or a whole number where the file allows it, and is given once.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

import yaml
from yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

from qcore.errors import ConfigError

#: The most containers within each other. PyYAML's parser in C has the same bound.
MAX_DEPTH: Final = 1000
#: The most keys and values of a file. A node takes about 200 bytes.
MAX_NODES: Final = 4_000_000
#: The most characters of a number.
MAX_DIGITS: Final = 40

_NULL: Final = {"", "~", "null", "Null", "NULL"}
_BOOL: Final = {
    "true": True,
    "True": True,
    "TRUE": True,
    "false": False,
    "False": False,
    "FALSE": False,
}
_INT: Final = re.compile(r"[-+]?[0-9]+", re.ASCII)
_OTHER_BASE: Final = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+", re.ASCII)
_FLOAT: Final = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", re.ASCII)
_NOT_FINITE: Final = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", re.ASCII)
_SURROGATE: Final = re.compile("[\ud800-\udfff]")

#: What YAML 1.1 reads as something else than a text.
_OLD_BOOL: Final = re.compile(r"(yes|on)|no|off", re.IGNORECASE | re.ASCII)
_OLD_DIGITS: Final = re.compile(r"[-+]?[0-9][0-9_.]*_[0-9_.]*", re.ASCII)
_OLD_SIXTIES: Final = re.compile(r"[-+]?[0-9]+(:[0-5]?[0-9])+", re.ASCII)
_OLD_BINARY: Final = re.compile(r"[-+]?0b[01]+", re.ASCII)
_OLD_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}([Tt \t].*)?", re.ASCII)

ScalarValue: TypeAlias = str | bool | int | float | None
Key: TypeAlias = str | int


@dataclass(slots=True, eq=False, repr=False)
class Place:
    """Where a node is. Lines and columns count from 1.

    Attributes:
        source: the file's name.
        parent: the node that contains this one.
        key: the key or the position in `parent`.
    """

    source: str
    line: int
    column: int
    parent: SequenceNode | MappingNode | None
    key: Key | None

    @property
    def path(self) -> str:
        """The keys from the root to here: `timeline[3].at_ms`. Empty for the root."""
        keys: list[Key] = []
        place: Place | None = self
        while place is not None and place.key is not None:
            keys.append(place.key)
            place = place.parent
        return path_text(keys[::-1])

    def error(self, reason: str) -> ConfigError:
        """The error for this place: `file:line:column: path: reason`."""
        path = self.path
        return ConfigError(
            f"{self.source}:{self.line}:{self.column}: {path + ': ' if path else ''}{reason}"
        )


@dataclass(slots=True, eq=False, repr=False)
class ScalarNode(Place):
    """A single value. `is_plain`: it was written without quotes."""

    value: ScalarValue = None
    is_plain: bool = False

    def error(self, reason: str) -> ConfigError:
        """As `Place.error`; it also explains a value that means something else in YAML 1.1."""
        # Not `super()`, which does not work in a dataclass with slots before Python 3.14.
        return Place.error(self, reason + self.hint())

    def hint(self) -> str:
        """The explanation of a value that means something else in YAML 1.1; else empty."""
        if not self.is_plain or not isinstance(self.value, str):
            return ""
        instead = _instead(self.value)
        return "" if instead is None else f" ({self.value} is a text in YAML 1.2: {instead})"


@dataclass(slots=True, eq=False, repr=False)
class SequenceNode(Place):
    """A list."""

    items: list[Node] = field(default_factory=list)


@dataclass(slots=True, eq=False, repr=False)
class MappingNode(Place):
    """A map. `key_places` has the place of each key."""

    entries: dict[Key, Node] = field(default_factory=dict)
    key_places: dict[Key, Place] = field(default_factory=dict)

    def texts(self) -> dict[str, Node]:
        """The entries whose key is a text: all, unless the file allows whole numbers."""
        return {key: node for key, node in self.entries.items() if isinstance(key, str)}


Node: TypeAlias = ScalarNode | SequenceNode | MappingNode


def parse_yaml(
    text: str, source: str, *, max_depth: int = MAX_DEPTH, number_keys: bool = False
) -> Node:
    """Parse one YAML document.

    Args:
        text: the file's content.
        source: the file's name, for errors.
        max_depth: the most containers within each other.
        number_keys: whether a key may be a whole number, too.

    Raises:
        ConfigError: the text is not YAML, exceeds a bound, or uses a feature that is refused. The error names the line.
    """
    try:
        return _Composer(source, max_depth, number_keys).compose(_events(text))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        if mark is None:
            raise _not_yaml(source, 1, 1, error.problem or error.context) from error
        reason = error.problem or error.context
        line_text = text.splitlines()[mark.line : mark.line + 1]
        if line_text and "\t" in line_text[0][: mark.column + 1]:
            reason = "a tab; indent with spaces"
        raise _not_yaml(source, mark.line + 1, mark.column + 1, reason) from error
    except yaml.reader.ReaderError as error:
        raise _not_yaml(source, *_position(text, error.position), error.reason) from error
    except yaml.YAMLError as error:
        raise _not_yaml(source, 1, 1, error) from error
    except UnicodeEncodeError as error:
        why = "half a character (a lone surrogate)"
        raise _not_yaml(source, *_position(text, error.start), why) from error


def to_python(node: Node) -> object:
    """The value of a node: a dict, a list or a scalar. Recurses, so parse with a small `max_depth`."""
    match node:
        case ScalarNode():
            return node.value
        case SequenceNode():
            return [to_python(item) for item in node.items]
        case MappingNode():
            return {key: to_python(value) for key, value in node.entries.items()}


def find(root: Node, path: Sequence[Key]) -> tuple[Place, Node]:
    """The deepest node on this path that the file contains, and the place of its key (of a list: of the item)."""
    place: Place = root
    node = root
    for key in path:
        if isinstance(node, MappingNode) and key in node.entries:
            place, node = node.key_places[key], node.entries[key]
        elif isinstance(node, SequenceNode) and isinstance(key, int) and key < len(node.items):
            place = node = node.items[key]
        else:
            break
    return place, node


def path_text(path: Sequence[Key]) -> str:
    """A path of keys as a text: `timeline[3].at_ms`."""
    text = ""
    for key in path:
        text += f"[{key}]" if isinstance(key, int) else f".{key}" if text else key
    return text


def null_at(place: Place) -> ScalarNode:
    """A null for a value that the file leaves out. An error about it names `place`."""
    return ScalarNode(place.source, place.line, place.column, place.parent, place.key)


def _not_yaml(source: str, line: int, column: int, reason: object) -> ConfigError:
    return ConfigError(f"{source}:{line}:{column}: not valid YAML: {reason}")


def _position(text: str, index: int) -> tuple[int, int]:
    """Line and column of a character."""
    return text.count("\n", 0, index) + 1, index - text.rfind("\n", 0, index)


def _instead(text: str) -> str | None:
    """What to write for a text that YAML 1.1 reads as a truth value, a number or a date; else None."""
    if found := _OLD_BOOL.fullmatch(text):
        return "write true" if found[1] else "write false"
    if _OLD_DIGITS.fullmatch(text):
        return f"write {text.replace('_', '')}"
    if _OLD_SIXTIES.fullmatch(text):
        return "write the number in base ten"
    if _OLD_BINARY.fullmatch(text):
        return f"write {int(text, 2)}" if len(text) <= MAX_DIGITS else "write it in base ten"
    if _OLD_DATE.fullmatch(text):
        return "there are no dates"
    return None


def _events(text: str) -> Iterator[Event]:
    # The C parser is ten times as fast, but PyYAML can be built without it.
    loader = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader
    events: Iterator[Event] = yaml.parse(text, Loader=loader)
    return events


class _Composer:
    """Builds the tree from events. Its stack is the list of open containers."""

    def __init__(self, source: str, max_depth: int, number_keys: bool) -> None:
        self._source = source
        self._max_depth = max_depth
        self._number_keys = number_keys
        self._open: list[SequenceNode | MappingNode] = []
        #: For each open container, the key that waits for a value.
        self._keys: list[Key | None] = []
        self._root: Node | None = None
        self._nodes = 0

    def compose(self, events: Iterator[Event]) -> Node:
        for event in events:
            match event:
                case DocumentStartEvent() if self._root is not None:
                    raise self._place(event).error("a second document begins; only one is allowed")
                case AliasEvent():
                    raise self._place(event).error(f"alias *{event.anchor}: write the value out")
                case ScalarEvent() | SequenceStartEvent() | MappingStartEvent():
                    self._begin(event)
                case SequenceEndEvent() | MappingEndEvent():
                    self._open.pop()
                    self._keys.pop()
        if self._root is None:
            raise Place(self._source, 1, 1, None, None).error("the file is empty")
        return self._root

    def _place(self, event: Event) -> Place:
        """The place of an event, which begins the next node of the innermost open container."""
        mark = event.start_mark
        line, column = (1, 1) if mark is None else (mark.line + 1, mark.column + 1)
        if not self._open:
            return Place(self._source, line, column, None, None)
        container = self._open[-1]
        key = len(container.items) if isinstance(container, SequenceNode) else self._keys[-1]
        if key is None:  # the node is itself a key
            return Place(self._source, line, column, container.parent, container.key)
        return Place(self._source, line, column, container, key)

    def _begin(self, event: ScalarEvent | SequenceStartEvent | MappingStartEvent) -> None:
        at = self._place(event)
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise at.error(f"the file has more than {MAX_NODES} keys and values")
        if event.tag is not None:
            raise at.error(f"tag {event.tag}: tags are not used here")
        if self._open and isinstance(self._open[-1], MappingNode) and self._keys[-1] is None:
            self._begin_entry(self._open[-1], event, at)
            return
        where = (at.source, at.line, at.column, at.parent, at.key)
        if isinstance(event, ScalarEvent):
            self._put(ScalarNode(*where, self._scalar(event, at), event.implicit[0]))
            return
        if len(self._open) == self._max_depth:
            raise at.error(f"more than {self._max_depth} maps and lists within each other")
        node = (
            SequenceNode(*where) if isinstance(event, SequenceStartEvent) else MappingNode(*where)
        )
        self._put(node)
        self._open.append(node)
        self._keys.append(None)

    def _begin_entry(self, container: MappingNode, event: Event, at: Place) -> None:
        """Note the key of the next value."""
        key = self._scalar(event, at) if isinstance(event, ScalarEvent) else None
        if not isinstance(key, str) and not (self._number_keys and type(key) is int):
            raise at.error("a key must be a text; quote it")
        if key in container.key_places:
            first = container.key_places[key].line
            raise at.error(f"key '{key}' is given twice, first in line {first}: leave one out")
        container.key_places[key] = Place(at.source, at.line, at.column, container, key)
        self._keys[-1] = key

    def _put(self, node: Node) -> None:
        """Put a node into the innermost open container, or at the root."""
        if not self._open:
            self._root = node
            return
        container = self._open[-1]
        if isinstance(container, SequenceNode):
            container.items.append(node)
            return
        key = self._keys[-1]
        assert key is not None, "a value follows its key"
        container.entries[key] = node
        self._keys[-1] = None

    def _scalar(self, event: ScalarEvent, at: Place) -> ScalarValue:
        text = event.value
        if _SURROGATE.search(text):  # from an escape; PyYAML's Python parser accepts it
            raise at.error("half a character (a lone surrogate) is not text")
        if not event.implicit[0]:  # quoted, or a block
            return text
        if text in _NULL:
            return None
        if text in _BOOL:
            return _BOOL[text]
        if _NOT_FINITE.fullmatch(text):
            raise at.error(f"{text}: NaN and infinity are refused")
        if not _FLOAT.fullmatch(text) and not _OTHER_BASE.fullmatch(text):
            return text
        if len(text) > MAX_DIGITS:
            raise at.error(f"the number has more than {MAX_DIGITS} digits")
        if _INT.fullmatch(text):
            return int(text)
        number = int(text, 0) if _OTHER_BASE.fullmatch(text) else float(text)
        if number == math.inf or number == -math.inf:
            raise at.error(f"{text}: the number is too large")
        return number
