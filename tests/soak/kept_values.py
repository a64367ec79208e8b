"""The last values of every round: at the end of a soak they must still be there."""

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
            for (entity, field), value in self._values.items():
                found = await client.read(entity, field)
                assert found == value, f"{entity} {field} was {value!r} and is {found!r}"
