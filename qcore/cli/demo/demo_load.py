"""The clients of the demo. They create entities concurrently and remember which were acknowledged."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from qcore.client.client import Client
from qcore.errors import OutcomeUnknown, QcoreError, StoreError
from qcore.machines.entity.state.entity_id import EntityId

_CLIENTS = 8
_READ_BATCH = 100


class Writers:
    """Clients in a background thread, each of which creates one `User` after another.

    As a context manager, it starts the clients on entry. On exit it lets them finish their current requests.

    Attributes:
        created: name and id of every entity whose creation was acknowledged.
        unknown: the number of requests whose outcome is unknown.
    """

    def __init__(self, endpoints: Sequence[str]) -> None:
        self._endpoints = list(endpoints)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)
        self.created: list[tuple[str, EntityId]] = []
        self.unknown = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()

    @property
    def acknowledged(self) -> int:
        """The number of writes acknowledged until now."""
        return len(self.created)

    def wait_for(self, number: int, timeout_s: float = 60.0) -> None:
        """Wait until this many more writes are acknowledged.

        Raises:
            QcoreError: the timeout ended first.
        """
        goal = self.acknowledged + number
        deadline = time.monotonic() + timeout_s
        while self.acknowledged < goal:
            if time.monotonic() > deadline or not self._thread.is_alive():
                raise QcoreError(f"only {self.acknowledged} writes were acknowledged in time")
            time.sleep(0.002)

    async def _run(self) -> None:
        await asyncio.gather(*(self._client(number) for number in range(_CLIENTS)))

    async def _client(self, number: int) -> None:
        turn = number % len(self._endpoints)
        endpoints = self._endpoints[turn:] + self._endpoints[:turn]
        async with Client(endpoints) as client:
            position = 0
            while not self._stop.is_set():
                position += 1
                name = f"user-{number}-{position}"
                try:
                    self.created.append(
                        (name, (await client.create_entity("User", name)).entity_id)
                    )
                except OutcomeUnknown:
                    self.unknown += 1
                await asyncio.sleep(0.002)


def count_present(endpoints: Sequence[str], created: Sequence[tuple[str, EntityId]]) -> int:
    """Count the entities that linearizable reads find, each with its name."""

    async def present(client: Client, name: str, entity_id: EntityId) -> bool:
        try:
            return await client.read(entity_id, "Name") == name
        except StoreError:
            return False

    async def work() -> int:
        found = 0
        async with Client(endpoints) as client:
            for start in range(0, len(created), _READ_BATCH):
                batch = created[start : start + _READ_BATCH]
                found += sum(await asyncio.gather(*(present(client, *item) for item in batch)))
        return found

    return asyncio.run(work())
