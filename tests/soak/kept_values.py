"""The last values of every round: after each later round they must still be there."""

from __future__ import annotations

import asyncio

from qcore.client.client import Client
from qcore.machines.entity.state.entity_id import EntityId
from qcore.sim.linearizability.operation import Value
from tests.soak.soak_cluster import SoakCluster


class KeptValues:
    """The values that the clients of each round read last. Nothing writes to them after their round."""

    def __init__(self) -> None:
        self._values: dict[tuple[EntityId, str], Value] = {}

    def __len__(self) -> int:
        return len(self._values)

    def add(self, values: dict[tuple[EntityId, str], Value]) -> None:
        """A round has ended with these values."""
        self._values.update(values)

    def check(self, cluster: SoakCluster) -> None:
        """Read everything once more.

        Raises:
            AssertionError: a value has changed.
        """
        asyncio.run(self._check(cluster))

    async def _check(self, cluster: SoakCluster) -> None:
        async with Client(cluster.cluster.endpoints, tls=cluster.tls) as client:
            found = await asyncio.gather(
                *(client.read(entity, field) for entity, field in self._values)
            )
        for (where, value), now in zip(self._values.items(), found, strict=True):
            assert now == value, f"{where} was {value!r} and is {now!r}"
