"""For tests of the seam: a runtime with a seed, and a process whose own entropy, clocks and threads raise."""

from __future__ import annotations

import os
import random
import secrets
import sys
import threading
import time
import types
import uuid
from collections.abc import Callable
from random import Random
from typing import NoReturn

import pytest
import websockets.client
import websockets.protocol
import websockets.server

from qcore.runtime.real import AsyncioRuntime

_OF_RANDOM = [
    *("random", "randint", "randrange", "choice", "choices", "shuffle", "uniform"),
    "sample",
]
_OF_RANDOM += ["getrandbits", "randbytes", "expovariate", "gauss", "SystemRandom", "_urandom"]
_OF_SECRETS = ("token_bytes", "token_hex", "token_urlsafe", "randbits", "randbelow", "choice")

_CLOCKS = ["time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns"]
_CLOCKS += ["clock_gettime", "clock_gettime_ns", "localtime", "gmtime", "process_time"]
#: Who may read a clock of the process: the event loop, log records, the real runtime, and tests.
_MAY_READ = ("asyncio", "logging", "qcore.runtime", "tests", "_pytest")


class SeededRuntime(AsyncioRuntime):
    """As `REAL`, with entropy from a seed.

    Attributes:
        drawn: what was drawn, in order: `rng`, `token`, or the number of bytes.
        tokens: the tokens.
    """

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)
        self.drawn: list[str | int] = []
        self.tokens: list[str] = []

    def new_rng(self) -> Random:
        self.drawn.append("rng")
        return Random(self._random.random())

    def random_bytes(self, number: int, /) -> bytes:
        self.drawn.append(number)
        return self._random.randbytes(number)

    def new_token(self) -> str:
        self.drawn.append("token")
        self.tokens.append(str(uuid.UUID(int=self._random.getrandbits(128))))
        return self.tokens[-1]


def forbid_entropy(patch: pytest.MonkeyPatch) -> None:
    """Make the process's sources of entropy raise.

    The library `websockets` draws a key and an id for each connection, which have no effect: the client replaces the
    key, and only the library's log lines name the id.
    """

    def forbidden(*_args: object, **_options: object) -> NoReturn:
        raise AssertionError("entropy that the runtime did not give")

    patch.setattr(websockets.client, "generate_key", lambda: "no effect")
    nothing = types.SimpleNamespace(uuid4=lambda: uuid.UUID(int=0))
    patch.setattr(websockets.protocol, "uuid", nothing)
    patch.setattr(os, "urandom", forbidden)
    for name in ("uuid1", "uuid4"):
        patch.setattr(uuid, name, forbidden)
    for name in _OF_RANDOM:
        patch.setattr(random, name, forbidden)
    for name in _OF_SECRETS:
        patch.setattr(secrets, name, forbidden)


def forbid_clocks(patch: pytest.MonkeyPatch) -> None:
    """Make the clocks of the process raise where a node or a client reads them.

    The library `websockets` reads one for a header that the server replaces.
    """

    def guarded(name: str, read: Callable[..., object]) -> Callable[..., object]:
        def clock(*args: object) -> object:
            reader = sys._getframe(1).f_globals["__name__"]
            if f"{reader}.".startswith(tuple(f"{each}." for each in _MAY_READ)):
                return read(*args)
            raise AssertionError(f"{reader} reads time.{name}, which the runtime did not give")

        return clock

    no_effect = types.SimpleNamespace(formatdate=lambda **_options: "no effect")
    patch.setattr(websockets.server, "email", types.SimpleNamespace(utils=no_effect))
    for name in _CLOCKS:
        patch.setattr(time, name, guarded(name, getattr(time, name)))


def forbid_threads(patch: pytest.MonkeyPatch) -> None:
    """Make it an error to start a thread."""

    def forbidden(*_args: object, **_options: object) -> NoReturn:
        raise AssertionError("a thread that the runtime did not give")

    patch.setattr(threading.Thread, "start", forbidden)
