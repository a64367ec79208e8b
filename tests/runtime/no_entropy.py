"""For tests of the seam: a runtime with a seed, and a process whose own entropy raises."""

from __future__ import annotations

import os
import random
import secrets
import types
import uuid
from random import Random
from typing import NoReturn

import pytest
import websockets.client
import websockets.protocol

from qcore.runtime.real import AsyncioRuntime

_OF_RANDOM = [
    *("random", "randint", "randrange", "choice", "choices", "shuffle", "uniform"),
    "sample",
]
_OF_RANDOM += ["getrandbits", "randbytes", "expovariate", "gauss", "SystemRandom", "_urandom"]
_OF_SECRETS = ("token_bytes", "token_hex", "token_urlsafe", "randbits", "randbelow", "choice")


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
