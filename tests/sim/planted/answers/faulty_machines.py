"""Variants of `CounterStore` with one fault each. None breaks determinism."""

from __future__ import annotations

import json
from collections.abc import Iterable

from qcore.machines.interface import ApplyContext
from tests.sim.support.counter_store import CounterStore


class LostUpdate(CounterStore):
    """Some additions are answered and not stored."""

    def apply(self, command: str, context: ApplyContext) -> str:
        before = dict(self.numbers)
        result = super().apply(command, context)
        if context.index % 29 == 0:
            self.numbers = before
        return result


class StaleQueryCache(CounterStore):
    """Answers of queries are cached, and only `add` clears the cache."""

    def __init__(self) -> None:
        super().__init__()
        self.cache: dict[str, str] = {}

    def apply(self, command: str, context: ApplyContext) -> str:
        if command.startswith('["add"'):
            self.cache.clear()
        return super().apply(command, context)

    def query(self, query: str) -> str:
        if query not in self.cache:
            self.cache[query] = super().query(query)
        return self.cache[query]


class AppliedTwice(CounterStore):
    """Some commands take effect twice."""

    def apply(self, command: str, context: ApplyContext) -> str:
        if context.index % 23 == 0:
            super().apply(command, context)
        return super().apply(command, context)


class WrongCas(CounterStore):
    """A cas also succeeds if the number is higher than expected."""

    def apply(self, command: str, context: ApplyContext) -> str:
        request = json.loads(command)
        if request[0] == "cas" and self.numbers.get(request[1], 0) > request[2]:
            self.numbers[request[1]] = request[3]
            return "yes"
        return super().apply(command, context)


class SilentCas(CounterStore):
    """A failed cas is answered as a success."""

    def apply(self, command: str, context: ApplyContext) -> str:
        result = super().apply(command, context)
        return "yes" if result == "no" and context.index % 5 == 0 else result


class OffByOneAfterSnapshot(CounterStore):
    """The text of a snapshot has one number too high, on every node."""

    def snapshot(self) -> Iterable[str]:
        return [json.dumps({key: number + (key == "a") for key, number in self.numbers.items()})]


class ForgetsOnRestore(CounterStore):
    """A restored machine has lost one key; its hash does not cover that key."""

    def restore(self, chunks: Iterable[str]) -> None:
        super().restore(chunks)
        self.numbers.pop("b", None)

    def state_hash(self) -> str:
        return "00"


class MergesOnRestore(CounterStore):
    """A restore keeps keys that the snapshot does not have; the hash hides that."""

    def restore(self, chunks: Iterable[str]) -> None:
        self.numbers.update(json.loads("".join(chunks)))

    def state_hash(self) -> str:
        return "00"


class AnswersOfOthers(CounterStore):
    """A client gets the result of the command before its command."""

    def __init__(self) -> None:
        super().__init__()
        self.last = "0"

    def apply(self, command: str, context: ApplyContext) -> str:
        last, self.last = self.last, super().apply(command, context)
        return last if context.index % 11 == 0 else self.last


class Overflow(CounterStore):
    """Numbers have six bits."""

    def apply(self, command: str, context: ApplyContext) -> str:
        result = super().apply(command, context)
        self.numbers = {
            key: number - 64 if number >= 32 else number for key, number in self.numbers.items()
        }
        return result


class Evicts(CounterStore):
    """Only the three keys that were written last are kept."""

    def apply(self, command: str, context: ApplyContext) -> str:
        key = json.loads(command)[1]
        result = super().apply(command, context)
        if key in self.numbers:
            self.numbers[key] = self.numbers.pop(key)
        while len(self.numbers) > 3:
            del self.numbers[next(iter(self.numbers))]
        return result


class IgnoresRepetitions(CounterStore):
    """A command with the text of the command before it is taken for a repetition, and is not applied again."""

    def __init__(self) -> None:
        super().__init__()
        self.last = ("", "")

    def apply(self, command: str, context: ApplyContext) -> str:
        if command != self.last[0]:
            self.last = (command, super().apply(command, context))
        return self.last[1]


class WritesInQueries(CounterStore):
    """A query resets a number that has become negative, or is above 8."""

    def query(self, query: str) -> str:
        if self.numbers.get(query, 0) > 8:
            self.numbers[query] = 0
        return super().query(query)

    def state_hash(self) -> str:
        return "00"


class AnswersBeforeTheCommand(CounterStore):
    """An addition answers the number before it."""

    def apply(self, command: str, context: ApplyContext) -> str:
        key = json.loads(command)[1]
        before = str(self.numbers.get(key, 0))
        result = super().apply(command, context)
        return before if command.startswith('["add"') and context.index % 7 == 0 else result


class DropsTooMuch(CounterStore):
    """A drop of the key `a` also drops `b`."""

    def apply(self, command: str, context: ApplyContext) -> str:
        if command == '["drop", "a"]':
            self.numbers.pop("b", None)
        return super().apply(command, context)


FAULTY_MACHINES: tuple[type[CounterStore], ...] = (
    LostUpdate,
    StaleQueryCache,
    AppliedTwice,
    WrongCas,
    SilentCas,
    OffByOneAfterSnapshot,
    ForgetsOnRestore,
    MergesOnRestore,
    AnswersOfOthers,
    Overflow,
    Evicts,
    IgnoresRepetitions,
    WritesInQueries,
    AnswersBeforeTheCommand,
    DropsTooMuch,
)
