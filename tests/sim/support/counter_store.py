"""A small user-defined machine, its sequential model, and the requests of its clients, for tests of oracles."""

from __future__ import annotations

import json
from collections.abc import Iterable
from hashlib import sha256
from random import Random
from typing import Literal

from qcore.machines.interface import ApplyContext
from qcore.sim.oracles import Request

KEYS = ("a", "b", "c", "d")

State = dict[str, int]


class CounterStore:
    """Numbers under keys: `["add", key, number]`, `["cas", key, old, new]`, `["drop", key]`; a query is a key."""

    name = "counter_store"
    versions = (1, 1)

    def __init__(self) -> None:
        self.numbers: State = {}

    def apply(self, command: str, context: ApplyContext) -> str:
        match json.loads(command):
            case ["add", str() as key, int() as number]:
                self.numbers[key] = self.numbers.get(key, 0) + number
                return str(self.numbers[key])
            case ["cas", str() as key, int() as old, int() as new]:
                if self.numbers.get(key, 0) != old:
                    return "no"
                self.numbers[key] = new
                return "yes"
            case ["drop", str() as key]:
                return str(self.numbers.pop(key, 0))
        return "bad command"

    def query(self, query: str) -> str:
        return str(self.numbers.get(query, 0))

    def snapshot(self) -> Iterable[str]:
        return [json.dumps(self.numbers, sort_keys=True)]

    def restore(self, chunks: Iterable[str]) -> None:
        self.numbers = json.loads("".join(chunks))

    def state_hash(self) -> str:
        return sha256("".join(self.snapshot()).encode()).hexdigest()


class CounterModel:
    """What a correct `CounterStore` answers, for one key."""

    def initial(self) -> int:
        return 0

    def partition(self, request: Request) -> str:
        return request.text if request.kind == "read" else str(json.loads(request.text)[1])

    def _next(self, number: int, request: Request) -> tuple[str, int]:
        if request.kind == "read":
            return str(number), number
        match json.loads(request.text):
            case ["add", _, int() as more]:
                return str(number + more), number + more
            case ["cas", _, int() as old, int() as new]:
                return ("yes", new) if number == old else ("no", number)
            case ["drop", _]:
                return str(number), 0
        return "bad command", number

    def answer(self, number: int, request: Request) -> str:
        return self._next(number, request)[0]

    def step(self, number: int, request: Request, answer: str | None) -> tuple[bool, int]:
        expected, after = self._next(number, request)
        return answer is None or answer == expected, after


def draw_request(rng: Random) -> tuple[Literal["write", "read"], str]:
    """The next request of a client."""
    key = rng.choice(KEYS)
    dice = rng.random()
    if dice < 0.35:
        return "read", key
    if dice < 0.75:
        return "write", json.dumps(["add", key, rng.randrange(1, 4)])
    if dice < 0.95:
        return "write", json.dumps(["cas", key, rng.randrange(6), rng.randrange(6)])
    return "write", json.dumps(["drop", key])
