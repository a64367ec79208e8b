"""A follower whose disk is fast stores an append and acknowledges it before it applies what the append commits."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence

from qcore.core.config import RaftConfig
from qcore.core.effects import AppendLog, Write
from qcore.core.entry import DurableState, Entry, HardState, Membership
from qcore.core.events import MessageReceived
from qcore.core.messages import AppendEntries, AppendEntriesResponse
from qcore.errors import StorageError
from qcore.machines import RegisterMachine
from qcore.machines.interface import ApplyContext
from qcore.node.observability.metrics import NodeMetrics
from qcore.node.runtime.driver import ReplicaDriver
from qcore.replica.config import ReplicaConfig
from qcore.replica.messages import PeerMessage
from qcore.replica.replica import Replica
from qcore.runtime.real import REAL
from tests.transport.support.endpoints import async_test

MEMBERSHIP = Membership((1, 2, 3), addresses=((1, "a:1"), (2, "a:2"), (3, "a:3")), cluster_id="c")
COMMAND = '{"op":"add","key":"k","amount":1}'


class World:
    """A follower: what happens to it, in order. Its disk is fast at first."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.is_fast = True
        self.failure: StorageError | None = None
        self.fatal: BaseException | None = None
        seen = self.seen

        class Machine(RegisterMachine):
            def apply(self, command: str, context: ApplyContext) -> str:
                seen.append(f"apply {context.index}")
                return super().apply(command, context)

        entries = [Entry(1, 1, "membership", MEMBERSHIP.to_json(), 1)]
        durable = DurableState(HardState(1, None, 1), None, entries)
        config = ReplicaConfig(raft=RaftConfig(node_id=2))
        self.replica = Replica(
            config, Machine(), durable, rng=random.Random(1), now=REAL.monotonic_us()
        )
        self.driver = ReplicaDriver(self.replica, NodeMetrics(), runtime=REAL)

    def append(self, index: int) -> None:
        """The leader sends an entry, and commits those before it."""
        entry = Entry(index, 1, "command", COMMAND, index)
        message = AppendEntries(1, 1, index - 1, 1, index - 1, [entry], index)
        self.driver.inbox.offer_message(MessageReceived(1, message))

    # -- the parts around the driver ---------------------------------------------------------------

    def try_write(self, writes: Sequence[Write], commit: int | None = None) -> bool:
        if self.failure is not None:
            raise self.failure
        if self.is_fast:
            self.store(writes)
        return self.is_fast

    def submit(self, writes: Sequence[Write], commit: int | None = None) -> None:
        self.store(writes)
        if writes:
            asyncio.get_running_loop().call_soon(self.driver.on_durable, writes[-1].write_id)

    def store(self, writes: Sequence[Write]) -> None:
        for write in writes:
            assert isinstance(write, AppendLog)
            self.seen += [f"store {entry.index}" for entry in write.entries]

    def send(self, to: int, message: PeerMessage) -> None:
        if isinstance(message, AppendEntriesResponse):
            self.seen.append(f"acknowledge {message.match_index}")

    def on_fatal(self, error: BaseException) -> None:
        self.fatal = error


class Anything:
    """Stands for the parts that this test does not need: each method does nothing."""

    def __init__(self, **methods: Callable[..., None]) -> None:
        self._methods = methods

    def __getattr__(self, name: str) -> Callable[..., None]:
        return self._methods.get(name, lambda *_: None)


async def started() -> World:
    world = World()
    world.driver.start(world, world, Anything(), Anything(), Anything(fatal=world.on_fatal))
    world.append(2)
    await turns()
    world.seen.clear()
    return world


async def turns() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


@async_test
async def test_acknowledgement_leaves_before_entries_are_applied() -> None:
    world = await started()
    world.append(3)
    await turns()
    assert world.seen == ["store 3", "acknowledge 3", "apply 2"]
    world.append(4)
    await turns()
    assert world.seen[3:] == ["store 4", "acknowledge 4", "apply 3"]
    assert world.replica.applied_index == 3
    world.driver.stop()


@async_test
async def test_several_appends_of_one_step_keep_their_order() -> None:
    """Only the effects of a lone event may leave early: no write may pass an earlier one."""
    world = await started()
    for index in (3, 4, 5):
        world.append(index)
    await turns()
    stored = [seen for seen in world.seen if seen.startswith("store")]
    assert stored == ["store 3", "store 4", "store 5"]
    assert world.seen[:3] == ["apply 2", "apply 3", "apply 4"]
    assert world.seen.count("acknowledge 5") == 1
    world.driver.stop()


@async_test
async def test_slow_disk_works_while_entries_are_applied() -> None:
    world = await started()
    world.is_fast = False
    world.append(3)
    await turns()
    assert world.seen == ["apply 2", "store 3", "acknowledge 3"]
    world.driver.stop()


@async_test
async def test_failed_write_is_fatal_before_anything_is_applied() -> None:
    world = await started()
    world.failure = StorageError("the disk is broken")
    world.append(3)
    await turns()
    assert world.fatal is world.failure
    assert world.seen == []
