"""Splits a filter at its logical operators, so that each comparison is evaluated by itself.

So an error names the comparison that fails, with its position, and a null counts only in the comparison that uses it.
The logic has three values, as in SQL: a comparison is true, false, or unknown because it uses a null.

| with unknown | result |
|---|---|
| `false && unknown` | false |
| `true && unknown` | unknown |
| `true \\|\\| unknown` | true |
| `false \\|\\| unknown` | unknown |
| `!unknown` | unknown |

An error counts like unknown, as CEL wants it (`false && error` is false), but it outweighs unknown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from qcore.errors import BadFilter
from qcore.machines.entity.filter.filter_text import Token


@dataclass(slots=True, frozen=True)
class Comparison:
    """A part of a filter without logical operators between true and false.

    Attributes:
        tokens: at least one.
    """

    tokens: Sequence[Token]


@dataclass(slots=True, frozen=True)
class Not:
    """`!part`."""

    part: Part


@dataclass(slots=True, frozen=True)
class Several:
    """Parts with `&&` or `||` between them.

    Attributes:
        decisive: the value of a part that is the result, whatever the others are: false for `&&`, true for `||`.
    """

    parts: tuple[Part, ...]
    decisive: bool


@dataclass(slots=True, frozen=True)
class Choice:
    """`condition ? yes : no`."""

    condition: Part
    yes: Part
    no: Part


Part = Comparison | Not | Several | Choice

#: True, false, None for unknown, or an error.
Outcome = bool | BadFilter | None


def evaluate(part: Part, compare: Callable[[Comparison], Outcome]) -> Outcome:
    """Return the outcome of a part.

    Args:
        part: a filter, or a part of one.
        compare: evaluates a comparison. It is not called for those that do not matter.
    """
    match part:
        case Comparison():
            return compare(part)
        case Not():
            outcome = evaluate(part.part, compare)
            return not outcome if isinstance(outcome, bool) else outcome
        case Several():
            return _several(part, compare)
        case Choice():
            outcome = evaluate(part.condition, compare)
            if not isinstance(outcome, bool):
                return outcome
            return evaluate(part.yes if outcome else part.no, compare)


def _several(part: Several, compare: Callable[[Comparison], Outcome]) -> Outcome:
    result: Outcome = not part.decisive
    for each in part.parts:
        outcome = evaluate(each, compare)
        if outcome is part.decisive:
            return outcome
        if not isinstance(outcome, bool) and not isinstance(result, BadFilter):
            result = outcome
    return result


def comparisons(part: Part) -> Iterator[Comparison]:
    """Yield every comparison of a part."""
    match part:
        case Comparison():
            yield part
        case Not():
            yield from comparisons(part.part)
        case Several():
            for each in part.parts:
                yield from comparisons(each)
        case Choice():
            for each in (part.condition, part.yes, part.no):
                yield from comparisons(each)


def split(tokens: Sequence[Token]) -> Part:
    """Split a filter that is valid CEL."""
    return _Splitter(tokens).choice(0, len(tokens))


class _Splitter:
    def __init__(self, tokens: Sequence[Token]) -> None:
        self._tokens = tokens
        #: The position of the bracket that closes the one at a position.
        self._closing: dict[int, int] = {}
        opened: list[int] = []
        for at, token in enumerate(tokens):
            if token.kind == "open":
                opened.append(at)
            elif token.kind == "close":
                self._closing[opened.pop()] = at

    def choice(self, start: int, stop: int) -> Part:
        """The tokens from `start` to before `stop`."""
        questions = self._find("?", start, stop)
        if not questions:
            return self._several("||", start, stop)
        # CEL allows another question only behind the colon, or in brackets.
        question, colon = questions[0], self._find(":", start, stop)[0]
        return Choice(
            self._several("||", start, question),
            self._several("||", question + 1, colon),
            self.choice(colon + 1, stop),
        )

    def _several(self, operator: str, start: int, stop: int) -> Part:
        places = self._find(operator, start, stop)
        starts, stops = [start, *(at + 1 for at in places)], [*places, stop]
        parts = tuple(
            self._several("&&", *ends) if operator == "||" else self._operand(*ends)
            for ends in zip(starts, stops, strict=True)
        )
        return parts[0] if len(parts) == 1 else Several(parts, decisive=operator == "||")

    def _operand(self, start: int, stop: int) -> Part:
        first = start
        while first < stop and self._tokens[first].text == "!":
            first += 1
        if (
            first < stop
            and self._tokens[first].text == "("
            and self._closing[first] == stop - 1
            and first + 2 < stop
        ):
            part = self.choice(first + 1, stop - 1)
            for _ in range(first - start):
                part = Not(part)
            return part
        return Comparison(self._tokens[start:stop])

    def _find(self, text: str, start: int, stop: int) -> list[int]:
        return [at for at in self._outside(start, stop) if self._tokens[at].text == text]

    def _outside(self, start: int, stop: int) -> list[int]:
        """The positions that are not within brackets."""
        found: list[int] = []
        at = start
        while at < stop:
            found.append(at)
            at = self._closing.get(at, at) + 1
        return found
