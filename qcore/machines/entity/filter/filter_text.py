"""Rewrites the paths in a filter to variables of CEL, and bounds what the filter may contain.

`Enabled && Parent->Name == "a->b"` becomes `v0 && v1 == "a->b"`. Texts in quotes and comments stay as they are. CEL
itself knows no arrow. Names of fields become variables, too, so a field may have a name that CEL reserves.

The library evaluates a filter recursively and in native code, so its depth and length are bounded here. Macros and
regular expressions are not allowed, because their work is not bounded by the length of the filter.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass
from typing import Final

from qcore.errors import BadFilter
from qcore.machines.entity.quoted_text import quoted

MAX_CHARACTERS: Final = 2048
MAX_TOKENS: Final = 300
#: Brackets within brackets, and operators in front of a value.
MAX_DEPTH: Final = 16

#: Functions that are written after a value, as in `Name.startsWith("a")`.
METHODS: Final = frozenset(["size", "startsWith", "endsWith", "contains"])
#: The same, of a timestamp or a duration, and without an argument: `Joined.getHours()`. Times are UTC.
TIME_METHODS: Final = frozenset(
    [
        "getFullYear",
        "getMonth",
        "getDate",
        "getDayOfMonth",
        "getDayOfWeek",
        "getDayOfYear",
        "getHours",
        "getMinutes",
        "getSeconds",
        "getMilliseconds",
    ]
)
#: Functions that are written before a value, as in `size(Name)`.
FUNCTIONS: Final = frozenset(["size", "int", "uint", "double", "string", "timestamp", "duration"])
_ALL_FUNCTIONS: Final = METHODS | TIME_METHODS | FUNCTIONS
_WORDS: Final = frozenset(["true", "false", "null", "in"])

# A backslash in a raw text means nothing, as in CEL. Else a macro could hide in what looks like a text.
_TOKEN: Final = re.compile(
    r"""(?P<space>\s+|//[^\n]*)
    |(?P<text>(?:[bB]?[rR]|[rR][bB])(?:\"{3}.*?\"{3}|'{3}.*?'{3}|"[^"\n]*"|'[^'\n]*')
        |[bB]?(?:\"{3}(?:[^\\]|\\.)*?\"{3}|'{3}(?:[^\\]|\\.)*?'{3}
        |"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'))
    |(?P<path>[A-Za-z_][A-Za-z0-9_]*(?:\s*->\s*(?:[A-Za-z_][A-Za-z0-9_]*|[0-9]+))*)
    |(?P<number>0[xX][0-9a-fA-F]+[uU]?|[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?[uU]?|\.[0-9]+)
    |(?P<open>[(\[{])
    |(?P<close>[)\]}])
    |(?P<unary>[!-](?!=|>))
    |(?P<other>&&|\|\||==|!=|<=|>=|[<>+*/%?:,.])
    """,
    re.VERBOSE | re.DOTALL,
)

_NO_ARGUMENT: Final = re.compile(r"\s*\(\s*\)")


@dataclass(slots=True, frozen=True)
class Token:
    """A part of a filter that is not space.

    Attributes:
        kind: the name of its group in the grammar, such as `open` for a bracket.
        text: as the user wrote it.
        offset: its place in the user's text.
        start, stop: its place in the text for CEL.
        variable: the number of the variable that it became, if it is a path.
    """

    kind: str
    text: str
    offset: int
    start: int
    stop: int
    variable: int | None


@dataclass(slots=True, frozen=True)
class FilterText:
    """A filter in CEL.

    Attributes:
        source: the user's text.
        cel: the text for CEL.
        paths: the paths that the variables `v0`, `v1`, ... stand for, each with its offset in the user's text.
        tokens: the parts of the text.
    """

    source: str
    cel: str
    paths: tuple[tuple[str, int], ...]
    tokens: tuple[Token, ...]
    _starts: tuple[tuple[int, int], ...]

    def user_offset(self, line: int, column: int) -> int:
        """Return the offset in the user's text of a line and a column, from 1 on, of the text for CEL."""
        lines = self.cel.split("\n")
        at = sum(len(each) + 1 for each in lines[: line - 1]) + column - 1
        found = bisect_right(self._starts, (min(at, len(self.cel)), len(self.source))) - 1
        if found < 0:
            return 0
        cel_start, user_start = self._starts[found]
        return min(user_start + at - cel_start, len(self.source))


def position(source: str, offset: int) -> str:
    """Return where an offset is, for errors: `line 1, column 5`."""
    line = source.count("\n", 0, offset) + 1
    column = offset - (source.rfind("\n", 0, offset) + 1) + 1
    return f"line {line}, column {column}"


def rewrite(source: str) -> FilterText:
    """Rewrite the paths of a filter.

    Raises:
        BadFilter: the filter is too long or too deep, has a character that CEL does not know, or uses a function that
            is not allowed. The text names the position.
    """
    if len(source) > MAX_CHARACTERS:
        raise BadFilter(f"the filter has {len(source)} characters; the limit is {MAX_CHARACTERS}")
    parts: list[str] = []
    starts: list[tuple[int, int]] = []
    variables: dict[str, tuple[int, int]] = {}  # path -> number of the variable, offset
    found: list[Token] = []
    at = tokens = depth = unary = length = 0
    after_dot = False
    while at < len(source):
        match = _TOKEN.match(source, at)
        if match is None:
            raise BadFilter(f"filter, {position(source, at)}: {_unexpected(source, at)}")
        kind, text = match.lastgroup, match[0]
        variable: int | None = None
        if kind != "space":
            tokens += 1
            unary = unary + 1 if kind == "unary" else 0
            depth += (kind == "open") - (kind == "close")
            if tokens > MAX_TOKENS:
                raise BadFilter(
                    f"filter, {position(source, at)}: the filter has more than {MAX_TOKENS} parts: shorten it"
                )
            if depth > MAX_DEPTH or unary > MAX_DEPTH:
                raise BadFilter(
                    f"filter, {position(source, at)}: more than {MAX_DEPTH} brackets or operators within each other"
                )
        out = text
        if kind == "path":
            if "->" not in text and source[match.end() :].lstrip()[:1] == "(":
                _check_call(source, at, text, source[match.end() :], is_method=after_dot)
            elif after_dot:
                raise BadFilter(
                    f"filter, {position(source, at)}: a value has no part {quoted(text)}; a path is written "
                    "Parent->Name"
                )
            elif text not in _WORDS:
                path = "->".join(part.strip() for part in text.split("->"))
                variable, _ = variables.setdefault(path, (len(variables), at))
                out = f"v{variable}"
        if kind != "space":
            after_dot = text == "."
            assert kind is not None, "each part of the grammar has a name"
            found.append(Token(kind, text, at, length, length + len(out), variable))
        starts.append((length, at))
        parts.append(out)
        length += len(out)
        at = match.end()
    paths = tuple((path, offset) for path, (_, offset) in variables.items())
    return FilterText(source, "".join(parts), paths, tuple(found), tuple(starts))


def _check_call(source: str, at: int, name: str, after: str, *, is_method: bool) -> None:
    """Reject a function that does not exist, or is written in the wrong way."""
    where = f"filter, {position(source, at)}"
    if name not in _ALL_FUNCTIONS:
        raise BadFilter(
            f"{where}: the function {quoted(name)} is not available; use one of {', '.join(sorted(_ALL_FUNCTIONS))}"
        )
    if is_method and name not in METHODS | TIME_METHODS:
        raise BadFilter(f"{where}: the function {name} is written before its value: {name}(Age)")
    if not is_method and name not in FUNCTIONS:
        example = "Joined.{}()" if name in TIME_METHODS else 'Name.{}("a")'
        raise BadFilter(
            f"{where}: the function {name} is written after its value: {example.format(name)}"
        )
    if name in TIME_METHODS and not _NO_ARGUMENT.match(after):
        raise BadFilter(
            f"{where}: {name} has no argument: a timestamp is in UTC, without another time zone"
        )


def _unexpected(source: str, at: int) -> str:
    if source[at] in "\"'":
        return "a text without its closing quote"
    return f"unexpected {quoted(source[at])}"
