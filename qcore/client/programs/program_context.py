"""`ProgramContext`: what a client program gets, in the simulator and against real nodes.

    async def client(ctx):
        token = int(await ctx.client.execute("acquire"))
        ctx.expect(token > 0, "the service gives a token")

A client program is such a function. The same function runs in a scenario (`workload: {program: client}`), with
`run_scenario(..., program=client)`, and against a cluster of real nodes with `LocalCluster.run_programs`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import TypeAlias

from pydantic import JsonValue

from qcore.client.client import Client
from qcore.client.login.credentials import Credentials
from qcore.errors import ConfigError


class ExpectationFailed(AssertionError):
    """A condition that a client program expects does not hold."""


@dataclass(slots=True, frozen=True)
class ProgramRecord:
    """What a client program recorded.

    Attributes:
        client: the number of the client.
        time_s: when, by `ProgramContext.time`.
        what: the name of the record.
        details: its values.
    """

    client: int
    time_s: float
    what: str
    details: Mapping[str, JsonValue] = field(default_factory=dict)


class ProgramContext:
    """What one client program may use.

    Use no other clock than `time` and no other randomness than `random`. Then each run of the simulator with the same
    seed is the same.

    Args:
        number, clients, client, rng: see the attributes.
        on_record: takes the records.
        new_client: makes a client of the same cluster with these credentials.

    Attributes:
        number: the number of this client, from 1.
        clients: how many clients run the program.
        client: the client of the cluster. It is closed when the program ends.
        random: a generator whose seed depends on the seed of the run and on `number`.
    """

    def __init__(
        self,
        number: int,
        clients: int,
        client: Client,
        rng: Random,
        on_record: Callable[[ProgramRecord], object],
        new_client: Callable[[Credentials], Client],
    ) -> None:
        self.number = number
        self.clients = clients
        self.client = client
        self.random = rng
        self._on_record = on_record
        self._new_client = new_client
        self._users: list[Client] = []
        self._began = asyncio.get_running_loop().time()

    def time(self) -> float:
        """Seconds since the program began; simulated seconds in the simulator."""
        return asyncio.get_running_loop().time() - self._began

    def client_of(self, user: str, password: str) -> Client:
        """Another client of this program, which proves that it is this user. It is closed when the program ends.

        In the simulator it needs `fidelity: node`: only then the simulated nodes have users.
        """
        client = self._new_client(Credentials(user=user, password=password))
        self._users.append(client)
        return client

    async def close(self) -> None:
        """Close the clients. Who runs the program calls it."""
        for client in (*self._users, self.client):
            await client.close()

    def record(self, what: str, **details: JsonValue) -> None:
        """Keep a record: in the simulator in the trace and in the result's metrics, else in the returned list.

        Raises:
            ConfigError: a value is no JSON value. A set and an object without `__repr__` differ from run to run.
        """
        for name, value in details.items():
            try:
                json.dumps(value)
            except (TypeError, ValueError, RecursionError) as error:
                raise ConfigError(
                    f"record {what}: the value of {name} is no JSON value ({error}); give it as a text, a number or a "
                    "sorted list"
                ) from None
        self._on_record(ProgramRecord(self.number, self.time(), what, details))

    def expect(self, condition: object, text: str) -> None:
        """Check a condition. `text` says what should hold.

        Raises:
            ExpectationFailed: it does not hold. If nothing catches this, the run fails.
        """
        if not condition:
            raise ExpectationFailed(text)


#: A client program: an asynchronous function of its context.
ClientProgram: TypeAlias = Callable[[ProgramContext], Awaitable[object]]
