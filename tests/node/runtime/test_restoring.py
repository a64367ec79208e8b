"""A node that installs a large snapshot does not use its state machine until the state is complete."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, cast
from zlib import crc32

from qcore.core.entry import Membership
from qcore.core.events import MessageReceived
from qcore.core.messages import InstallSnapshot
from qcore.machines.interface import ApplyContext
from qcore.node.application import TextApplication
from qcore.node.config import NodeConfig
from qcore.node.observability.logs import NodeLog
from qcore.node.replica_node import ReplicaNode
from qcore.storage.memory import MemoryStorage
from qcore.transport.address import Address

LINES = 200


class InPlace:
    """A state machine that restores line by line into its only state, as `SupportsGradualRestore` allows."""

    name = "inplace"
    versions = (1, 1)

    def __init__(self) -> None:
        self.lines: list[str] | None = []

    def apply(self, command: str, context: ApplyContext) -> str:
        assert self.lines is not None
        self.lines.append(command)
        return ""

    def query(self, query: str) -> str:
        return self.state_hash()

    def snapshot(self) -> Iterable[str]:
        assert self.lines is not None
        return [f"{line}\n" for line in self.lines]

    def restore(self, chunks: Iterable[str]) -> None:
        for _ in self.restore_gradually(chunks):
            pass

    def restore_gradually(self, chunks: Iterable[str]) -> Iterator[None]:
        self.lines = None
        lines: list[str] = []
        for line in "".join(chunks).splitlines():
            lines.append(line)
            yield
        self.lines = lines

    def state_hash(self) -> str:
        assert self.lines is not None, "used in the middle of a restore"
        return f"{crc32(chr(10).join(self.lines).encode()):064x}"


def test_a_node_does_not_query_its_machine_while_restoring(tmp_path: Path) -> None:
    async def scenario() -> None:
        machine = InPlace()
        config = NodeConfig.of(1, tmp_path, ws_addr=Address("127.0.0.1", 0))
        node = ReplicaNode(config, TextApplication(machine), MemoryStorage(1), NodeLog(1))
        await node.start()
        data = "[]\n" + "".join(f"line {number}\n" for number in range(LINES))
        membership = Membership(
            voters=(1, 2), addresses=((1, "127.0.0.1:1"), (2, "127.0.0.1:2")), cluster_id="c"
        )
        chunk = InstallSnapshot(
            2, 2, 500, 2, 0, membership, 0, len(data), crc32(data.encode()), data
        )
        assert node._driver.inbox.offer_message(MessageReceived(2, chunk))
        seen: list[tuple[int, str]] = []
        async with asyncio.timeout(20):
            while not seen or seen[-1][0] < 500:
                await asyncio.sleep(0)
                status = cast("dict[str, Any]", node.metrics_object()["qcore"])
                seen.append((status["applied_index"], status["state_hash"]))
                node._state_hash.refresh()
        assert machine.lines is not None
        assert (0, "") in seen, "the node was never observed in the middle of it"
        assert seen[-1] == (500, machine.state_hash())
        assert len(machine.lines) == LINES
        assert node.failure is None
        await node.stop()

    asyncio.run(scenario())
