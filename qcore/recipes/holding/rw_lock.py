"""`RWLock`: many readers, or one writer, among all programs of a cluster."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from qcore.recipes.holding.acquiring import Acquirer
from qcore.recipes.holding.task_contexts import TaskBlocks, TaskContexts, task_blocks
from qcore.recipes.holding.tickets import Rule, WaitFor, kind_of, nothing_before
from qcore.recipes.key_reads import prefix_of
from qcore.recipes.lease import DEFAULT_MAX_DRIFT, DEFAULT_TTL_S

if TYPE_CHECKING:
    from qcore.kv.key_values import KeyVersion
    from qcore.kv.kv_client import KeyValue
    from qcore.recipes.holding.held import Held
    from qcore.recipes.holding.tickets import Participant
    from qcore.recipes.lease import Lease

READ: Final = "read"
WRITE: Final = "write"
#: What to do in place of a context inside another one.
NO_NESTING: Final = (
    "leave that context first (a reader cannot become a writer, nor a writer a reader)"
)


def no_writer_before(before: Sequence[KeyVersion]) -> WaitFor | None:
    """The rule of a reader: it waits for the last writer before it. With that one, all earlier ones are gone, too."""
    for kv in reversed(before):
        if kind_of(kv.key) == WRITE:
            return WaitFor(kv.key)
    return None


class RWLock:
    """A lock that many readers hold at the same time, or one writer alone.

        lock = RWLock(kv, "catalogue", ttl_s=10)
        async with lock.read():
            show(await storage.read())
        async with lock.write() as held:
            await storage.write(data, fencing_token=held.token)

    **Guarantee.** While a writer passes `Held.check`, no other writer and no reader passes it, as long as clocks differ
    in speed by less than `max_drift`. It is fair: a participant waits only for those that asked before it. So neither
    readers nor writers wait forever if each holder releases. A later writer has a larger token than all readers and
    writers before it, and a later reader a larger one than all writers before it. A storage that must reject the late
    write of a paused writer must also see the tokens of the readers.

    A task that holds it for reading cannot acquire it for writing: it would wait for itself. Release it first, and read
    again after the write lock is acquired. A context that a task enters inside another one of the same lock raises
    `ConfigError`.

    - Disconnect: the client tries other nodes. If no keep-alive succeeds in time, the lock is lost, and the task in the
      block is cancelled with `LeaseLost`.
    - Pause of the process: if it is longer than `ttl_s`, the lock is lost. `check` says so as soon as the process runs.
    - Leader change: nothing is lost if it takes less than about two thirds of `ttl_s`.
    - Expiry: another program gets the lock at the earliest when this one has stopped by its clock.
    - Clock jump: without effect, because no wall clock is read.
    - End of the process without a release: its place is free after at most `ttl_s`.

    One `RWLock` may be used by many tasks. Each acquires it for itself.

    Args:
        kv: the keys of the cluster.
        name: names the lock. Its keys are below `rwlock/NAME//`.
        ttl_s: how long the lock stays taken after its holder has ended, seconds; see `Lease`.
        max_drift: see `Lease`.
        lease: a lease to depend on, which the caller opens and closes, in place of a new one for each holder. Then
            `ttl_s` and `max_drift` have no effect.

    Raises:
        ConfigError: an argument is out of its range.
    """

    def __init__(
        self,
        kv: KeyValue,
        name: str,
        *,
        ttl_s: float = DEFAULT_TTL_S,
        max_drift: float = DEFAULT_MAX_DRIFT,
        lease: Lease | None = None,
    ) -> None:
        self.name = name
        prefix = prefix_of("rwlock", name)
        self._acquirer = Acquirer(kv, prefix, ttl_s=ttl_s, max_drift=max_drift, lease=lease)
        blocks = task_blocks()
        self._reading = _Side(self._acquirer, name, READ, no_writer_before, blocks)
        self._writing = _Side(self._acquirer, name, WRITE, nothing_before, blocks)

    def read(self) -> TaskContexts:
        """A context in which the current task holds the lock for reading: `async with lock.read() as held`."""
        return self._reading

    def write(self) -> TaskContexts:
        """A context in which the current task holds the lock for writing: `async with lock.write() as held`."""
        return self._writing

    async def acquire_read(self, *, timeout_s: float | None = None, label: str = "") -> Held:
        """Acquire the lock for reading. It waits also while the cluster cannot be reached.

        Args:
            timeout_s: how long to wait, seconds; None for any time.
            label: names the program for people; see `line`.

        Raises:
            NotAcquired: the time was over first.
            LeaseLost: the shared lease was lost.
            QcoreError: the cluster rejects a request.
        """
        return await self._reading.acquire(timeout_s=timeout_s, label=label)

    async def acquire_write(self, *, timeout_s: float | None = None, label: str = "") -> Held:
        """Acquire the lock for writing; see `acquire_read`."""
        return await self._writing.acquire(timeout_s=timeout_s, label=label)

    async def try_acquire_read(self, *, label: str = "") -> Held | None:
        """Acquire the lock for reading if no writer holds it or waits for it; None otherwise.

        Raises:
            QcoreError: the cluster did not answer in time, or rejects a request.
        """
        return await self._reading.try_acquire(label)

    async def try_acquire_write(self, *, label: str = "") -> Held | None:
        """Acquire the lock for writing if it is free; None otherwise. It raises as `try_acquire_read`."""
        return await self._writing.try_acquire(label)

    async def line(self) -> list[Participant]:
        """Who holds the lock, and who waits for it, in the order in which they asked. The kind is `read` or `write`."""
        return await self._acquirer.participants()


class _Side(TaskContexts):
    """The lock for reading, or for writing."""

    def __init__(
        self, acquirer: Acquirer, name: str, kind: str, rule: Rule, blocks: TaskBlocks
    ) -> None:
        super().__init__(
            f"rwlock {name}",
            no_nesting=NO_NESTING,
            blocks=blocks,
        )
        self._acquirer = acquirer
        self._kind = kind
        self._rule = rule

    async def acquire(self, *, timeout_s: float | None = None, label: str = "") -> Held:
        """See `RWLock.acquire_read`."""
        return await self._acquirer.acquire(
            self._rule, value=label, kind=self._kind, timeout_s=timeout_s
        )

    async def try_acquire(self, label: str) -> Held | None:
        """See `RWLock.try_acquire_read`."""
        return await self._acquirer.try_acquire(self._rule, value=label, kind=self._kind)
