"""How a node stops: wait for the reason to stop, transfer the leadership, and let the disk thread finish."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from qcore.core.raft import RaftCore
from qcore.errors import OutcomeUnknown
from qcore.node.observability.logs import NodeLog
from qcore.node.runtime.disk_writer import DiskWriter
from qcore.node.runtime.submit_event import SubmitEvent
from qcore.replica.events import Reply, TransferLeader
from qcore.replica.leadership import Leadership
from qcore.storage.group_commit import PendingWrites
from qcore.storage.log_size import Footprint

#: A stopping node stops waiting for a disk that makes no progress for this long, seconds.
DISK_HANG_TIMEOUT_S: Final = 10.0
_DISK_POLL_S: Final = 0.005


async def wait_for_any(*events: asyncio.Event) -> None:
    """Wait until one of the events is set."""
    waits = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()


async def transfer_before_stop(
    core: RaftCore, submit_event: SubmitEvent, timeout_ms: int, log: NodeLog
) -> None:
    """On a leader, transfer the leadership, so clients need not wait for an election timeout.

    Args:
        core: this node's core.
        submit_event: see `SubmitEvent`.
        timeout_ms: how long to wait for the outcome.
        log: gets a line about the outcome.
    """
    if core.role != "leader" or len(core.membership.voters) == 1:
        return
    outcome: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()

    def settle(reply: Reply) -> None:
        if not outcome.done():
            outcome.set_result(reply)

    submit_event(lambda number: TransferLeader(number, None, timeout_ms), settle)
    await asyncio.wait([outcome], timeout=timeout_ms / 1000)
    unknown = "it is not known whether another node becomes leader"
    if not outcome.done():
        outcome.cancel()
        log.warning(unknown, why="no outcome in time")
        return
    reply = outcome.result()
    if reply.result is not None:
        led = Leadership.from_json(reply.result)
        log.info("leadership transferred", leader=led.leader_id, in_term=led.term)
    elif isinstance(reply.error, OutcomeUnknown):
        log.warning(unknown, why=str(reply.error))
    else:
        log.warning("leadership was not transferred", why=str(reply.error))


async def drain_writer(
    writer: DiskWriter,
    log: NodeLog,
    seconds: Callable[[], float],
    timeout_s: float = DISK_HANG_TIMEOUT_S,
) -> bool:
    """Let the disk thread write what is queued; returns False if the disk makes no progress for `timeout_s`.

    The thread is polled, not awaited in an executor, because asyncio joins an executor's threads at exit, however long
    they hang. After False the storage must no longer be used.

    Args:
        writer: the disk thread.
        log: gets a line if the disk hangs.
        seconds: a monotonic clock.
        timeout_s: see above.
    """
    seen: tuple[PendingWrites, Footprint] | None = None
    since = 0.0
    while not writer.close(timeout_s=0):
        state = (writer.pending, writer.footprint)
        if state != seen:
            seen, since = state, seconds()
        elif seconds() - since >= timeout_s:
            log.error(
                "the disk hangs: the node ends without it; nothing that was acknowledged is lost",
                waited_s=timeout_s,
            )
            return False
        await asyncio.sleep(_DISK_POLL_S)
    return True
