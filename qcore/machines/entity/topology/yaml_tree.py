"""Parses YAML into a tree of nodes that know their line, so that errors can name it.

It differs from PyYAML's composer in these points. It does not recurse, so a deep file cannot overflow the stack. Plain
scalars follow the YAML 1.2 core schema (`no` and `Off` are texts, `010` is ten). Keys are texts and unique. Aliases and
tags are refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

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

_NULL = {"", "~", "null", "Null", "NULL"}
_BOOL = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INT = re.compile(r"[-+]?[0-9]+", re.ASCII)
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", re.ASCII)
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF|nan|NaN|NAN)", re.ASCII)
_SURROGATE = re.compile("[\ud800-\udfff]")
_MAX_DIGITS = 40

ScalarValue: TypeAlias = str | bool | int | float | None


@dataclass(slots=True)
class ScalarNode:
    """A single value."""

    line: int
    value: ScalarValue


@dataclass(slots=True)
class SequenceNode:
    """A list."""

    line: int
    items: list[Node] = field(default_factory=list)


@dataclass(slots=True)
class MappingNode:
    """A map. `key_lines` has the line of each key."""

    line: int
    entries: dict[str, Node] = field(default_factory=dict)
    key_lines: dict[str, int] = field(default_factory=dict)


Node: TypeAlias = ScalarNode | SequenceNode | MappingNode


def error_at_line(source: str, line: int, reason: str) -> ConfigError:
    """Return the error for a place in a file: `source:line: reason`."""
    return ConfigError(f"{source}:{line}: {reason}")


def parse_yaml(text: str, source: str) -> Node:
    """Parse one YAML document.

    Args:
        text: the file's content.
        source: the file's name, for errors.

    Raises:
        ConfigError: the text is not YAML, or uses a feature that is refused; `source:line: reason`.
    """
    try:
        return _Composer(source).compose(_events(text))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = 1 if mark is None else mark.line + 1
        raise error_at_line(source, line, f"not YAML: {error.problem or error.context}") from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise error_at_line(source, line, f"not YAML: {error.reason}") from error
    except yaml.YAMLError as error:
        raise error_at_line(source, 1, f"not YAML: {error}") from error
    except UnicodeEncodeError as error:
        line = text.count("\n", 0, error.start) + 1
        raise error_at_line(
            source, line, "not YAML: half a character (a lone surrogate)"
        ) from error


def _events(text: str) -> Iterator[Event]:
    # The C parser is ten times as fast, but PyYAML can be built without it.
    loader = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader
    events: Iterator[Event] = yaml.parse(text, Loader=loader)
    return events


class _Composer:
    """Builds the tree from events. Its stack is the list of open containers."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._open: list[SequenceNode | MappingNode] = []
        #: For each open container, the key that waits for a value.
        self._keys: list[ScalarNode | None] = []
        self._root: Node | None = None

    def compose(self, events: Iterator[Event]) -> Node:
        for event in events:
            line = 1 if event.start_mark is None else event.start_mark.line + 1
            match event:
                case DocumentStartEvent() if self._root is not None:
                    raise error_at_line(
                        self._source, line, "a second document begins; only one is allowed"
                    )
                case AliasEvent():
                    raise error_at_line(
                        self._source, line, f"alias *{event.anchor}: write the value out"
                    )
                case ScalarEvent() | SequenceStartEvent() | MappingStartEvent():
                    self._begin(event, line)
                case SequenceEndEvent() | MappingEndEvent():
                    self._open.pop()
                    self._keys.pop()
        if self._root is None:
            raise error_at_line(self._source, 1, "the file is empty")
        return self._root

    def _begin(
        self, event: ScalarEvent | SequenceStartEvent | MappingStartEvent, line: int
    ) -> None:
        if event.tag is not None:
            raise error_at_line(self._source, line, f"tag {event.tag}: tags are not used here")
        match event:
            case ScalarEvent():
                self._place(self._scalar(event, line), line)
                return
            case SequenceStartEvent():
                node: SequenceNode | MappingNode = SequenceNode(line)
            case _:
                node = MappingNode(line)
        self._place(node, line)
        self._open.append(node)
        self._keys.append(None)

    def _place(self, node: Node, line: int) -> None:
        """Put a node into the innermost open container, or at the root."""
        if not self._open:
            self._root = node
            return
        container = self._open[-1]
        if isinstance(container, SequenceNode):
            container.items.append(node)
            return
        key = self._keys[-1]
        if key is None:
            self._keys[-1] = self._key(container, node, line)
        else:
            container.entries[str(key.value)] = node
            self._keys[-1] = None

    def _key(self, container: MappingNode, node: Node, line: int) -> ScalarNode:
        if not isinstance(node, ScalarNode) or not isinstance(node.value, str):
            raise error_at_line(self._source, line, "a key must be a text; quote it")
        if node.value in container.key_lines:
            first = container.key_lines[node.value]
            raise error_at_line(
                self._source, line, f"key '{node.value}' is given twice, first in line {first}"
            )
        container.key_lines[node.value] = line
        return node

    def _scalar(self, event: ScalarEvent, line: int) -> ScalarNode:
        text = event.value
        if _SURROGATE.search(text):  # from an escape; PyYAML's Python parser accepts it
            raise error_at_line(
                self._source, line, "half a character (a lone surrogate) is not text"
            )
        if not event.implicit[0]:  # quoted, or a block
            return ScalarNode(line, text)
        if text in _NULL:
            return ScalarNode(line, None)
        if text in _BOOL:
            return ScalarNode(line, _BOOL[text])
        if _NOT_FINITE.fullmatch(text):
            raise error_at_line(self._source, line, f"{text}: NaN and infinity are refused")
        if _FLOAT.fullmatch(text):
            if len(text) > _MAX_DIGITS:
                raise error_at_line(
                    self._source, line, f"the number has more than {_MAX_DIGITS} digits"
                )
            return ScalarNode(line, int(text) if _INT.fullmatch(text) else float(text))
        return ScalarNode(line, text)
