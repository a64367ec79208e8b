"""Completes commands, options, types, fields, values and paths at the prompt of the shell."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import typer
from prompt_toolkit.completion import CompleteEvent, Completer, Completion, PathCompleter
from prompt_toolkit.document import Document

from qcore.cli.clients.shared_clients import SharedClients
from qcore.cli.main import GROUPS, app
from qcore.cli.shell.builtin_commands import NOT_HERE, SHORT_FORMS, builtins
from qcore.cli.shell.cluster_names import ClusterNames
from qcore.cli.shell.line_runner import BUILT_IN, expanded
from qcore.cli.shell.shell_words import split_partial
from qcore.cli.store.access.entity_names import current_names, is_id, join_path, split_path
from qcore.errors import ConfigError

#: Arguments that name an entity, by their names in the commands.
_ENTITY_ARGUMENTS = frozenset({"entity", "parent"})
_ENTITY_OPTIONS = frozenset({"--parent"})
_TYPE_OPTIONS = frozenset({"--type"})
_FIELD_OPTIONS = frozenset({"--default"})
#: Their values are fields or paths, separated by commas.
_FIELD_LIST_OPTIONS = frozenset({"--fields", "--context"})
_FILTER_OPTIONS = frozenset({"--filter"})
_LAST_NAME = re.compile(r"(?:(?<=->)|(?<![\w.>]))\w*$")


class _Owner(NamedTuple):
    """What has the fields that a command names: an entity or a type."""

    entity: str | None = None
    entity_type: str | None = None


class ShellCompleter(Completer):
    """Completes the word before the cursor.

    Args:
        clients: the clients of the shell.
    """

    def __init__(self, clients: SharedClients) -> None:
        self.names = ClusterNames(clients, lambda: os.environ.get("QCORE_ENDPOINTS"))

    def get_completions(
        self, document: Document, complete_event: CompleteEvent
    ) -> Iterator[Completion]:
        """Yield the words that begin like the one before the cursor, quoted where the shell needs it."""
        line = split_partial(document.text_before_cursor)
        offset = line.start - document.cursor_position
        written = document.text_before_cursor[line.start :]
        # A filter goes on after a name, so its quote stays open.
        stays_open = (
            line.words[-1:] and line.words[-1] in _FILTER_OPTIONS and written[:1] in ("'", '"')
        )
        for word in dict.fromkeys(self.words(line.words, line.last)):
            if word.startswith(line.last):
                text = written + word[len(line.last) :] if stays_open else shlex.quote(word)
                yield Completion(text, start_position=offset, display=word)

    def words(self, words: list[str], last: str) -> Iterable[str]:
        """All words that may stand after `words`; `last` is what the next one begins with."""
        if not words:
            here = [name for name in GROUPS if name not in NOT_HERE]
            return [*SHORT_FORMS, *BUILT_IN, *here]
        words = words if words[0] in BUILT_IN else expanded(words)
        command, rest = _find_command(words)
        if hasattr(command, "list_commands"):
            return _below(command) if not rest else ()
        options = {name: each for each in command.params for name in each.opts if name[0] == "-"}
        if last.startswith("-"):
            return [name for name in options if name.startswith("--")]
        before = rest[-1] if rest else ""
        given = list(_arguments(rest, options))
        if before in options and not _is_flag(options[before]):
            return self._option_values(before, _owner(command, given, rest), last)
        if (watched := _type_option(rest)) is not None:
            # a watch of a type has no entity, only a field
            return self.names.fields(watched) if not given else ()
        return self._argument_values(command, given, last)

    def _option_values(self, option: str, owner: _Owner, last: str) -> Iterable[str]:
        if option in ("-o", "--output"):
            return ["table", "json", "csv"]
        if option in _ENTITY_OPTIONS:
            return self._paths(last)
        if option in _TYPE_OPTIONS:
            return self.names.types()
        if option in _FIELD_OPTIONS:
            return self._fields(owner, "")
        if option in _FIELD_LIST_OPTIONS:
            front, comma, name = last.rpartition(",")
            return [f"{front}{comma}{field}" for field in self._fields(owner, name)]
        if option in _FILTER_OPTIONS:
            return self._filter_words(owner, last)
        return ()

    def _filter_words(self, owner: _Owner, last: str) -> Iterable[str]:
        """The filter with the name at its end completed. A text in quotes holds no names."""
        found = _LAST_NAME.search(last)
        if found is None:
            return ()
        front = last[: found.start()]
        if front.endswith("->") or front.count("'") % 2 or front.count('"') % 2:
            return ()
        return [front + field for field in self._fields(owner, "")]

    def _argument_values(self, command: Any, given: Sequence[str], last: str) -> Iterable[str]:
        declared = _declared(command)
        if not declared:
            return ()
        place = min(len(given), len(declared) - 1)
        argument = declared[place]
        if len(given) >= len(declared) and argument.nargs == 1:
            return ()
        match argument.name:
            case name if name in _ENTITY_ARGUMENTS:
                return self._paths(last)
            case "entity_type":
                return self.names.types()
            case "fields" | "field":
                return self._fields(_owner(command, given, ()), last)
            case "file":
                return _file_paths(last)
            case "assignments":
                owner = given[0] if declared[0].name == "entity" else None
                entity_type = self.names.type_of(owner) if owner is not None else given[0]
                return self._assignments(entity_type, last)
        return ()

    def _fields(self, owner: _Owner, last: str) -> Iterable[str]:
        """The fields of the owner; after `Parent->`, those of the entity that its Parent refers to."""
        path, arrow, _ = last.rpartition("->")
        if arrow:
            entity_type = self.names.type_behind(owner.entity, path) if owner.entity else None
        elif owner.entity is not None:
            entity_type = self.names.type_of(owner.entity)
        else:
            entity_type = owner.entity_type
        if entity_type is None:
            return ()
        return [f"{path}{arrow}{field}" for field in self.names.fields(entity_type)]

    def _assignments(self, entity_type: str | None, last: str) -> Iterable[str]:
        fields = self.names.fields(entity_type) if entity_type is not None else {}
        name, equals, text = last.partition("=")
        if not equals:
            return [f"{field}=" for field in fields]
        field = fields.get(name)
        if field is None:
            return ()
        values: Iterable[str] = ()
        if field.kind == "Choice":
            values = field.choices
        elif field.kind == "Bool":
            values = ("true", "false")
        elif field.kind == "EntityReference":
            values = self._paths(text)
        return [f"{name}={value}" for value in values]

    def _paths(self, last: str) -> Iterable[str]:
        """The paths that continue a word. They begin with `/` if the word does."""
        if is_id(last):
            return ()
        written = last.rpartition("/")[0] if "/" in last else ""
        absolute = last.startswith("/")
        try:
            above = split_path(f"{written}/" if absolute or written else ".")
        except ConfigError:
            return ()
        front = f"{written}/" if "/" in last else ""
        below = self.names.below(tuple(above if absolute or written else current_names()))
        return [front + join_path([name]).removeprefix("/") for name in below if name]


def _owner(command: Any, given: Sequence[str], rest: Sequence[str]) -> _Owner:
    watched = _type_option(rest)
    if watched is not None:
        return _Owner(entity_type=watched)
    declared = _declared(command)
    if not given or not declared:
        return _Owner()
    if declared[0].name == "entity_type":
        return _Owner(entity_type=given[0])
    return _Owner(entity=given[0])


def _declared(command: Any) -> list[Any]:
    """The arguments that a command takes, in order."""
    return [each for each in command.params if each.param_type_name == "argument"]


def _type_option(words: Sequence[str]) -> str | None:
    """The value of --type, as `--type User` or `--type=User`."""
    for option, value in pairwise([*words, ""]):
        name, equals, text = option.partition("=")
        if name in _TYPE_OPTIONS:
            return text if equals else value or None
    return None


def _file_paths(last: str) -> Iterator[str]:
    for found in PathCompleter().get_completions(Document(last), CompleteEvent()):
        path = last + found.text
        yield f"{path}/" if os.path.isdir(path) else path


def _find_command(words: Sequence[str]) -> tuple[Any, list[str]]:
    """The command that some words name, and the words after its name. (`Any`: click's class has no stable name.)"""
    root = typer.main.get_command(builtins if words[0] in BUILT_IN else app)
    command: Any = root
    rest = list(words)
    while rest and hasattr(command, "list_commands"):
        below = command.get_command(typer.Context(command), rest[0])
        if below is None:
            break
        command = below
        rest.pop(0)
    return command, rest


def _below(command: Any) -> list[str]:
    names: list[str] = command.list_commands(typer.Context(command))
    return names


def _is_flag(option: Any) -> bool:
    return bool(option.is_flag)


def _arguments(words: Sequence[str], options: dict[str, Any]) -> Iterator[str]:
    """The words that are arguments, and neither options nor their values."""
    skip = False
    for word in words:
        if skip:
            skip = False
        elif word in options:
            skip = not _is_flag(options[word])
        elif not word.startswith("--"):
            yield word
