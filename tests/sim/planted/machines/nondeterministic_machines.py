"""State machines with planted faults: each gives something else on another replica, or after a restore.

The commands are `{"key": ..., "value": ...}`, the query is a key. Each class names the fault in its first line.
"""

from __future__ import annotations

import datetime
import functools
import json
import os
import pickle
import random
import socket
import time
import uuid
from collections.abc import Iterable, Iterator
from datetime import datetime as moment
from hashlib import sha256
from itertools import count
from pathlib import Path
from random import random as draw
from time import time as now
from typing import Any

from qcore.machines import ApplyContext, TopicChange


class HonestMachine:
    """The values of keys. The others below derive from it, so each has exactly one fault."""

    name = "planted"
    versions = (1, 1)

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}  # Any: JSON values

    def apply(self, command: str, context: ApplyContext) -> str:
        request = json.loads(command)
        self.values[request["key"]] = request["value"]
        return self.result(request["key"], request["value"], context)

    def result(self, key: str, value: int, context: ApplyContext) -> str:
        """The result of a command; a fault may change the state here, too."""
        return json.dumps([key, value])

    def query(self, query: str) -> str:
        return json.dumps(self.values.get(query))

    def snapshot(self) -> Iterable[str]:
        return [json.dumps(self.values, sort_keys=True)]

    def restore(self, chunks: Iterable[str]) -> None:
        self.values = json.loads("".join(chunks))

    def state_hash(self) -> str:
        return sha256(json.dumps(self.values, sort_keys=True).encode()).hexdigest()


# -- the order of sets, and hashes ----------------------------------------------------------------


class SetInResult(HonestMachine):
    """A result lists a set of two texts."""

    def result(self, key: str, value: int, context: ApplyContext) -> str:
        return ",".join({key, f"{key}!"})


class SetOfNumbersInResult(HonestMachine):
    """A result lists a set of numbers, whose order depends on how the set came about."""

    def result(self, key: str, value: int, context: ApplyContext) -> str:
        return json.dumps(list({value, value + 1}))


class PopOfSet(HonestMachine):
    """A result is any element of a set."""

    def result(self, key: str, value: int, context: ApplyContext) -> str:
        return {"one", "two", key, str(value)}.pop()


class SetInSnapshot(HonestMachine):
    """The snapshot lists a set."""

    def snapshot(self) -> Iterable[str]:
        names = {*self.values}
        return [json.dumps([(name, self.values[name]) for name in names])]

    def restore(self, chunks: Iterable[str]) -> None:
        self.values = dict(json.loads("".join(chunks)))


class DictFromSet(HonestMachine):
    """A dictionary has the order of a set, and an answer lists it."""

    def query(self, query: str) -> str:
        return json.dumps({name: self.values[name] for name in {*self.values}})


class FloatsFromSet(HonestMachine):
    """Floating-point numbers are added in the order of a set."""

    def result(self, key: str, value: int, context: ApplyContext) -> str:
        return repr(sum({0.1 * value + 1e-3, 1e16, -1e16, 0.7 + value}))


class BucketByHash(HonestMachine):
    """A bucket is chosen by `hash` of a text."""

    def result(self, key: str, value: int, context: ApplyContext) -> str:
        return f"bucket {hash(key) % 2}"


class OrderById(HonestMachine):
    """Objects are sorted by `id`."""

    def result(self, key: str, value: int, context: ApplyContext) -> str:
        parts = [[key], [value], [context.index]]
        return json.dumps(sorted(parts, key=id))


class AddressInResult(HonestMachine):
    """A result shows an object without `__repr__`."""

    def result(self, key: str, value: int, context: ApplyContext) -> str:
        return repr(self)


# -- clocks ---------------------------------------------------------------------------------------


class ClockInResult(HonestMachine):
    """A result has the wall clock."""

    def result(self, key: str, value: int, context: ApplyContext) -> str:
        return str(time.time())


class ClockInState(HonestMachine):
    """The state has the wall clock, imported by name, and no result shows it."""

    def result(self, key: str, value: int, context: ApplyContext) -> str:
        self.values[f"{key} at"] = now()
        return "ok"


class DayInState(HonestMachine):
    """The state has the day, which is the same in all runs of a day."""

    def result(self, key: str, value: int, context: ApplyContext) -> str:
        self.values["day"] = datetime.date.today().isoformat()
        return "ok"


class HourInResult(HonestMachine):
    """A result has the hour of `datetime.now`, imported by name."""

    def result(self, key: str, value: int, context: ApplyContext) -> str:
        return f"{moment.now():%Y-%m-%d %H}"


class LateClock(HonestMachine):
    """The state has the wall clock from one index on."""

    def __init__(self, from_index: int = 30) -> None:
        super().__init__()
        self.from_index = from_index

    def result(self, key: str, value: int, context: ApplyContext) -> str:
        if context.index >= self.from_index:
            self.values["late"] = time.time()
        return "ok"


class ExpiryByMonotonicClock(HonestMachine):
    """Values expire by the monotonic clock of the process."""

    def __init__(self) -> None:
        super().__init__()
        self.started = time.monotonic()

    def result(self, key: str, value: int, context: ApplyContext) -> str:
        if time.monotonic() - self.started > 1000:
            self.values.clear()
        return json.dumps(len(self.values))


# -- entropy --------------------------------------------------------------------------------------


class RandomInResult(HonestMachine):
    """A result is drawn."""

    def result(self, key: str, value: int, context: ApplyContext) -> str:
        return str(random.random())


class RandomByName(HonestMachine):
    """A result is drawn by a function that was imported by name."""

    def result(self, key: str, value: int, context: ApplyContext) -> str:
        return str(draw() < 0.5)


class UnseededGenerator(HonestMachine):
    """Each machine has a generator without a seed."""

    def __init__(self) -> None:
        super().__init__()
        self.generator = random.Random()

    def result(self, key: str, value: int, context: ApplyContext) -> str:
        return str(self.generator.randrange(1000))


class UuidInState(HonestMachine):
    """A new entry gets a random id."""

    def result(self, key: str, value: int, context: ApplyContext) -> str:
        self.values[key] = str(uuid.uuid4())
        return "ok"


class BytesFromSystem(HonestMachine):
    """A token comes from the operating system."""

    def result(self, key: str, value: int, context: ApplyContext) -> str:
        return os.urandom(4).hex()


# -- the process and its environment ---------------------------------------------------------------


class EnvironmentVariable(HonestMachine):
    """A limit comes from an environment variable."""

    def result(self, key: str, value: int, context: ApplyContext) -> str:
        return os.environ.get("HOME", "none")


class LocalTime(HonestMachine):
    """A time of the log is shown in the time zone of the node."""

    def result(self, key: str, value: int, context: ApplyContext) -> str:
        return moment.fromtimestamp(context.time_us // 1_000_000).isoformat()


class WorkingDirectory(HonestMachine):
    """A file is looked up in the working directory."""

    def result(self, key: str, value: int, context: ApplyContext) -> str:
        return str(Path("pyproject.toml").exists()) + str(Path.cwd())


class ProcessId(HonestMachine):
    """A result has the id of the process and the name of the computer."""

    def result(self, key: str, value: int, context: ApplyContext) -> str:
        return f"{os.getpid()} {socket.gethostname()}"


# -- state that several machines share --------------------------------------------------------------

_numbers = count()
_key_numbers = count()
_seen: dict[str, int] = {}


class ModuleCounter(HonestMachine):
    """A counter of the module numbers the commands."""

    def result(self, key: str, value: int, context: ApplyContext) -> str:
        return str(next(_numbers))


class ModuleDict(HonestMachine):
    """A dictionary of the module decides whether a key is new."""

    def result(self, key: str, value: int, context: ApplyContext) -> str:
        _seen[key] = _seen.get(key, 0) + 1
        return str(_seen[key])


class ClassList(HonestMachine):
    """A list of the class collects all commands, and only an answer shows it."""

    log: list[str] = []  # noqa: RUF012  # the fault

    def result(self, key: str, value: int, context: ApplyContext) -> str:
        self.log.append(key)
        return "ok"

    def query(self, query: str) -> str:
        return str(len(self.log))


class MutableDefault(HonestMachine):
    """A default argument collects all commands."""

    def result(
        self,
        key: str,
        value: int,
        context: ApplyContext,
        seen: list[str] = [],  # noqa: B006  # the fault
    ) -> str:
        seen.append(key)
        return str(len(seen))


@functools.cache
def _number_of(key: str) -> int:
    return next(_key_numbers)


class CachedFunction(HonestMachine):
    """A cached function of the module numbers the keys."""

    def result(self, key: str, value: int, context: ApplyContext) -> str:
        return str(_number_of(key))


# -- snapshots ------------------------------------------------------------------------------------


class MergingRestore(HonestMachine):
    """`restore` adds to the state; keys that were removed come back."""

    def apply(self, command: str, context: ApplyContext) -> str:
        request = json.loads(command)
        if request["value"] % 3 == 0:
            self.values.pop(request["key"], None)
            return "removed"
        return super().apply(command, context)

    def restore(self, chunks: Iterable[str]) -> None:
        self.values.update(json.loads("".join(chunks)))


class PlainMergingRestore(HonestMachine):
    """`restore` adds to the state, and no command ever removes a key."""

    def restore(self, chunks: Iterable[str]) -> None:
        self.values.update(json.loads("".join(chunks)))


class ForgettingRestore(HonestMachine):
    """`restore` forgets a field, which the state hash does not cover."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def result(self, key: str, value: int, context: ApplyContext) -> str:
        self.total += value
        return "ok"

    def snapshot(self) -> Iterable[str]:
        return [json.dumps({"values": self.values, "total": self.total}, sort_keys=True)]

    def restore(self, chunks: Iterable[str]) -> None:
        self.values = json.loads("".join(chunks))["values"]
        self.total = 0


class ForgettingPickle(HonestMachine):
    """The snapshot is a pickle, and `restore` forgets a key; the hash hides that."""

    def snapshot(self) -> Iterable[str]:
        return [pickle.dumps(self.values).hex()]

    def restore(self, chunks: Iterable[str]) -> None:
        self.values = pickle.loads(bytes.fromhex("".join(chunks)))
        self.values.pop("c", None)

    def query(self, query: str) -> str:
        return "ok"

    def state_hash(self) -> str:
        return "00"


class LazySnapshot(HonestMachine):
    """The snapshot is read from the state when it is consumed."""

    def snapshot(self) -> Iterable[str]:
        for name in sorted(self.values):
            yield json.dumps([name, self.values.get(name)]) + "\n"

    def restore(self, chunks: Iterable[str]) -> None:
        self.values = dict(map(json.loads, "".join(chunks).splitlines()))


class ChunkReader(HonestMachine):
    """`restore` expects the chunks of `snapshot`."""

    def snapshot(self) -> Iterable[str]:
        return [json.dumps([name, value]) for name, value in sorted(self.values.items())]

    def restore(self, chunks: Iterable[str]) -> None:
        self.values = dict(map(json.loads, chunks))


class CountsApplies(HonestMachine):
    """A result depends on how many commands this object has applied, which no snapshot has."""

    def __init__(self) -> None:
        super().__init__()
        self.applied = 0

    def result(self, key: str, value: int, context: ApplyContext) -> str:
        self.applied += 1
        return str(self.applied % 5)


class CachedResults(HonestMachine):
    """A command that came before gets its old result, from a cache that no snapshot has."""

    def __init__(self) -> None:
        super().__init__()
        self.results: dict[str, str] = {}

    def apply(self, command: str, context: ApplyContext) -> str:
        if command not in self.results:
            self.results[command] = f"{super().apply(command, context)} {context.index}"
        return self.results[command]


class GradualMergingRestore(HonestMachine):
    """`restore_gradually` adds to the state; `restore` is right."""

    def restore_gradually(self, chunks: Iterable[str]) -> Iterator[None]:
        text = ""
        for chunk in chunks:
            text += chunk
            yield
        self.values.update(json.loads(text))


# -- changes for watches --------------------------------------------------------------------------


class ClockInChanges(HonestMachine):
    """What watches receive has the wall clock."""

    def last_changes(self) -> list[TopicChange]:
        return [TopicChange(("all",), json.dumps(time.time()))]


class SetInChanges(HonestMachine):
    """The changes of a command come in the order of a set."""

    def last_changes(self) -> list[TopicChange]:
        return [TopicChange((topic,), "null") for topic in {"all", *self.values}]


class OldChanges(HonestMachine):
    """A command that changes nothing gives the changes of the one before it."""

    def __init__(self) -> None:
        super().__init__()
        self.changes: list[TopicChange] = []

    def result(self, key: str, value: int, context: ApplyContext) -> str:
        if value == 5:
            self.changes = [TopicChange((key,), str(value))]
        return "ok"

    def last_changes(self) -> list[TopicChange]:
        return self.changes


# -- queries --------------------------------------------------------------------------------------


class WritingQuery(HonestMachine):
    """A query counts how often it was asked."""

    def query(self, query: str) -> str:
        self.values["asked"] = self.values.get("asked", 0) + 1
        return super().query(query)


class StaleQuery(HonestMachine):
    """Answers are cached, and no command clears the cache."""

    def __init__(self) -> None:
        super().__init__()
        self.answers: dict[str, str] = {}

    def query(self, query: str) -> str:
        return self.answers.setdefault(query, super().query(query))


class RaisesElsewhere(HonestMachine):
    """`apply` raises on a replica with another environment."""

    def result(self, key: str, value: int, context: ApplyContext) -> str:
        return os.environ["HOME"][:0] + "ok"
