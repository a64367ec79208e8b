"""State machines that are deterministic, though they use much of what makes others differ. None may be blamed."""

from __future__ import annotations

import base64
import functools
import json
import os
import pickle
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, timedelta
from hashlib import sha256
from random import Random
from typing import Any

from qcore.machines import ApplyContext
from tests.sim.planted.machines.nondeterministic_machines import HonestMachine

STARTED = time.time()  # of this process, for logs only
LEVELS = {"low": 1, "high": 2}


class SetsInOrder(HonestMachine):
    """Sets are sorted where their order would matter, and used in any order elsewhere."""

    def result(self, key: str, value: int, context: ApplyContext) -> str:
        known = {*self.values, key, f"{key}!"}
        total = sum(len(name) for name in known)  # the order of integers does not matter
        longest = max(map(len, known))
        return json.dumps([sorted(known), total, longest, any(name == key for name in known)])


class GeneratorWithSeed(HonestMachine):
    """Random numbers come from a generator whose seed is the index."""

    def result(self, key: str, value: int, context: ApplyContext) -> str:
        generator = Random(context.index)
        self.values[key] = generator.random()
        return str(generator.randrange(1000))


class TimesOfTheLog(HonestMachine):
    """Times come from the context; the snapshot holds them as pickled objects."""

    def __init__(self) -> None:
        super().__init__()
        self.times: dict[str, datetime] = {}

    def result(self, key: str, value: int, context: ApplyContext) -> str:
        moment = datetime.fromtimestamp(context.time_us // 1_000_000, UTC) + timedelta(days=value)
        self.times[key] = moment
        assert isinstance(moment, datetime)
        assert isinstance(moment.date(), date)
        assert datetime.fromisoformat(moment.isoformat()) == moment
        clock = time.strftime("%H:%M:%S", time.gmtime(context.time_us // 1_000_000))
        return f"{moment:%Y-%m-%d} {moment!r} {clock} {datetime(2020, 1, 1).isoformat()}"

    def snapshot(self) -> Iterable[str]:
        return [base64.b64encode(pickle.dumps((self.values, self.times))).decode()]

    def restore(self, chunks: Iterable[str]) -> None:
        self.values, self.times = pickle.loads(base64.b64decode("".join(chunks)))

    def state_hash(self) -> str:
        times = sorted((key, moment.isoformat()) for key, moment in self.times.items())
        return sha256(repr((sorted(self.values.items()), times)).encode()).hexdigest()


class MyMoment(datetime):
    """A subclass of `datetime`."""

    def day_text(self) -> str:
        return f"{self:%d.%m.%Y}"


class SubclassOfDatetime(HonestMachine):
    """A subclass of `datetime` works as usual."""

    def result(self, key: str, value: int, context: ApplyContext) -> str:
        moment = MyMoment.fromtimestamp(context.time_us // 1_000_000, UTC)
        assert type(moment) is MyMoment
        assert not isinstance(datetime(2020, 1, 1), MyMoment)
        return moment.day_text()


@functools.lru_cache
def _squared(number: int) -> int:
    return number * number


class MeasuresAndCaches(HonestMachine):
    """It measures, caches what is a pure function, shards by hash, and remembers identities, all without effect."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds = 0.0
        self.answers: dict[str, str] = {}
        self.shards: list[dict[str, int]] = [{} for _ in range(4)]

    def result(self, key: str, value: int, context: ApplyContext) -> str:
        begun = time.perf_counter()
        self.answers.clear()
        self.shards[hash(key) % 4][key] = value
        seen = {id(shard) for shard in self.shards}
        self.seconds += time.perf_counter() - begun
        limit = int(os.environ.get("NO_SUCH_LIMIT", "100"))
        return json.dumps([_squared(value), len(seen), limit, LEVELS["low"]])

    def query(self, query: str) -> str:
        if query not in self.answers:
            self.answers[query] = json.dumps(self.shards[hash(query) % 4].get(query))
        return self.answers[query]

    def restore(self, chunks: Iterable[str]) -> None:
        super().restore(chunks)
        self.answers.clear()
        self.shards = [{} for _ in range(4)]
        for key, value in self.values.items():
            self.shards[hash(key) % 4][key] = value


_STATES = ("is open", "is closed")


class SharedTextsInPickle(HonestMachine):
    """The snapshot is a pickle of texts that are one object, and after a restore several."""

    def result(self, key: str, value: int, context: ApplyContext) -> str:
        self.values[key] = _STATES[value % 2]
        return "ok"

    def snapshot(self) -> Iterable[str]:
        return [base64.b64encode(pickle.dumps(self.values)).decode()]

    def restore(self, chunks: Iterable[str]) -> None:
        self.values = pickle.loads(base64.b64decode("".join(chunks)))


class LargeInChunks(HonestMachine):
    """A large state in many chunks, restored gradually; the snapshot is a view of a copy and is read late."""

    def __init__(self) -> None:
        super().__init__()
        self.values = {f"key {number}": "x" * 50 for number in range(200)}

    def snapshot(self) -> Iterable[str]:
        frozen = dict(self.values)
        return (json.dumps([key, value]) + "\n" for key, value in frozen.items())

    def restore(self, chunks: Iterable[str]) -> None:
        for _ in self.restore_gradually(chunks):
            pass

    def restore_gradually(self, chunks: Iterable[str]) -> Iterator[None]:
        self.values = {}
        rest = ""
        for chunk in chunks:
            *lines, rest = (rest + chunk).split("\n")
            self.values.update(map(json.loads, lines))
            yield
        assert not rest

    def state_hash(self) -> str:
        return sha256(json.dumps(sorted(self.values.items())).encode()).hexdigest()


class HistoryOrder(HonestMachine):
    """A dictionary in the order of the commands: the order of its keys is part of the state."""

    def apply(self, command: str, context: ApplyContext) -> str:
        request: dict[str, Any] = json.loads(command)  # Any: JSON values
        self.values.pop(request["key"], None)
        return super().apply(command, context)

    def result(self, key: str, value: int, context: ApplyContext) -> str:
        return ",".join(self.values)

    def snapshot(self) -> Iterable[str]:
        return [json.dumps(self.values)]


HONEST = (
    HonestMachine,
    SetsInOrder,
    GeneratorWithSeed,
    TimesOfTheLog,
    SubclassOfDatetime,
    MeasuresAndCaches,
    SharedTextsInPickle,
    LargeInChunks,
    HistoryOrder,
)
