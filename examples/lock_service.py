"""A lock with fencing tokens, and a client program that uses the token it was given.

A client that holds the lock may be paused for longer than its lease. Then another client gets the lock, and the first
one writes too late. The store rejects such a write, because it has seen a newer token.
"""

import asyncio
from collections.abc import Iterable
from hashlib import sha256
from json import dumps, loads
from typing import Any

from qcore.machines import ApplyContext

LEASE_US = 200_000


class LockService:
    """`acquire NAME` gives a token, or `held`. `write TOKEN TEXT` adds a line; a query gives all lines."""

    name = "lock_service"
    versions = (1, 1)
    checks_tokens = True

    def __init__(self) -> None:
        self.token = 0
        self.expires_us = 0
        self.newest = 0  # the newest token that the store has seen
        self.lines: list[list[Any]] = []  # the token and the text of each write

    def apply(self, command: str, context: ApplyContext) -> str:
        word, _, rest = command.partition(" ")
        if word == "acquire":
            if context.clock_us < self.expires_us:
                return "held"
            self.token += 1
            self.expires_us = context.clock_us + LEASE_US
            return str(self.token)
        token_text, _, text = rest.partition(" ")
        if word != "write" or not token_text.isdecimal() or len(token_text) > 9:
            return "bad command"
        token = int(token_text)
        if self.checks_tokens and token < self.newest:
            return "stale token"
        self.newest = max(self.newest, token)
        self.lines.append([token, text])
        return "written"

    def query(self, query: str) -> str:
        return dumps(self.lines)

    def snapshot(self) -> Iterable[str]:
        return [dumps([self.token, self.expires_us, self.newest, self.lines])]

    def restore(self, chunks: Iterable[str]) -> None:
        self.token, self.expires_us, self.newest, self.lines = loads("".join(chunks))

    def state_hash(self) -> str:
        return sha256("".join(self.snapshot()).encode()).hexdigest()


class CarelessLockService(LockService):
    """The same with a bug: the store does not look at the token."""

    checks_tokens = False


async def client(ctx: Any) -> None:
    """Take the lock a few times, and write with its token; sometimes so late that the lease is over."""
    written = 0
    while written < 3:
        answer = await ctx.client.execute(f"acquire client-{ctx.number}")
        if answer == "held":
            await asyncio.sleep(0.05)
            continue
        await asyncio.sleep(ctx.random.choice([0.01, 0.4]))  # the work; or a pause of this machine
        outcome = await ctx.client.execute(f"write {answer} by client {ctx.number}")
        ctx.record("write", token=int(answer), outcome=outcome)
        written += 1
    lines = loads(await ctx.client.execute("lines", read=True))
    tokens = [token for token, _ in lines]
    ctx.expect(
        tokens == sorted(tokens), f"no holder of an older token writes after a newer one: {tokens}"
    )
