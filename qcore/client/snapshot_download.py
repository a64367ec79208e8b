"""`save_snapshot`: copies a cluster's state into a file while the cluster runs; for `Client.save_snapshot`."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

from pydantic import TypeAdapter, ValidationError

from qcore.client.endpoints import Endpoints
from qcore.client.errors import decode_error, reason, retry_delay
from qcore.client.request_sender import MIN_ATTEMPT_S, Json, SendOnce
from qcore.errors import (
    DeadlineExceeded,
    ErrorReply,
    OutcomeUnknown,
    Overloaded,
    QcoreError,
    RemoteProtocolError,
    SnapshotGone,
    TransportError,
)
from qcore.runtime.interface import Runtime
from qcore.storage.files.snapshot_file import SnapshotFileWriter, SnapshotHeader, check_target
from qcore.transport.address import Address
from qcore.transport.wire import SnapshotInfo

T = TypeVar("T")

#: The least time, seconds, that one node gets before the client tries another.
_ATTEMPT_S: Final = 5.0
#: How long one chunk of the text may take, seconds.
_READ_S: Final = 10.0
_PAUSE_S: Final = 0.2
#: How long nodes may be unreachable, or without a leader, until the first of them has a snapshot ready, seconds.
_PATIENCE_S: Final = 15.0

_INFO: Final = TypeAdapter(SnapshotInfo)


async def save_snapshot(
    send: SendOnce,
    endpoints: Endpoints,
    path: Path,
    *,
    stale: bool,
    force: bool,
    timeout_s: float,
    runtime: Runtime,
) -> SnapshotHeader:
    """Try one node after the other until the state of one is in the file. See `Client.save_snapshot`.

    The whole copy comes from one node, because another node's text may differ in the order of its parts. If that node
    fails during the copy, the copy begins again.
    """
    check_target(path, force=force)
    seconds = runtime.seconds
    started = seconds()
    deadline = started + timeout_s
    attempt, rng = 0, runtime.new_rng()
    while True:
        endpoint = endpoints.choose()
        attempt += 1
        remaining = deadline - seconds()
        budget_s = max(_ATTEMPT_S, remaining / max(1, len(endpoints.configured) - attempt + 1))
        take_s = min(budget_s, max(MIN_ATTEMPT_S, remaining))
        source = _SnapshotSource(send, endpoint, take_s, deadline, seconds)
        try:
            return await _save_from(source, path, runtime, stale=stale, force=force)
        except QcoreError as error:
            endpoints.prefer_another(endpoint, error)
            transient = isinstance(error, TransportError | OutcomeUnknown | SnapshotGone)
            delay = retry_delay(error, _PAUSE_S, rng)
            patient = source.ready or isinstance(error, Overloaded)
            last = deadline if patient else min(deadline, started + _PATIENCE_S)
            if not (error.retryable or transient) or seconds() + delay >= last:
                raise
        await asyncio.sleep(delay)


async def _save_from(
    source: _SnapshotSource, path: Path, runtime: Runtime, *, stale: bool, force: bool
) -> SnapshotHeader:
    info = await source.take(stale=stale)
    header = SnapshotHeader(
        info.membership.cluster_id,
        info.last_included_index,
        info.last_included_term,
        info.last_included_time_us,
        info.membership,
        info.size,
        info.sha256,
        info.last_included_clock_us,
        info.version,
    )
    # A thread writes the file, so other requests of this program continue.
    with contextlib.ExitStack() as stack:

        def begin() -> SnapshotFileWriter:
            return stack.enter_context(SnapshotFileWriter(path, header, force=force))

        writer = await _in_thread(begin, runtime)
        async for part in source.text(info):
            await _in_thread(partial(writer.write, part), runtime)
        await _in_thread(writer.finish, runtime)
    return header


async def _in_thread(work: Callable[[], T], runtime: Runtime) -> T:
    """Run `work` in a thread, and wait for its end even if the caller is cancelled.

    Otherwise a cancelled caller could remove the file while the thread still writes it, or leave behind a file that the
    thread has just created.
    """
    job = asyncio.ensure_future(runtime.run_long(work))
    try:
        return await asyncio.shield(job)
    except asyncio.CancelledError:
        await asyncio.wait([job])
        if not job.cancelled():
            job.exception()  # retrieve it, because no other code does
        raise


class _SnapshotSource:
    """The node from which the copy comes.

    Args:
        send: sends a message.
        endpoint: the node.
        take_s: how long the node may take until its snapshot is ready.
        deadline: when the copy must be complete, by `seconds`.
        seconds: a monotonic clock.

    Attributes:
        ready: whether the node has a snapshot ready.
    """

    def __init__(
        self,
        send: SendOnce,
        endpoint: Address,
        take_s: float,
        deadline: float,
        seconds: Callable[[], float],
    ) -> None:
        self._send = send
        self._endpoint = endpoint
        self._take_s = take_s
        self._deadline = deadline
        self._seconds = seconds
        self.ready = False

    async def take(self, *, stale: bool) -> SnapshotInfo:
        """Have the node take a snapshot and keep it for reading.

        Raises:
            QcoreError: the node rejected it, or did not answer.
        """
        # A little less than this client waits, so the node's response arrives and gives the reason.
        fields = {"timeout_ms": max(1, int(self._take_s * 900)), "stale": stale}
        try:
            described = await self._ask("SaveSnapshot", fields, self._take_s)
        except ErrorReply as error:
            if not str(error).startswith("SaveSnapshot: unknown message type"):
                raise
            described = await self._ask("TakeSnapshot", fields, self._take_s)  # the name in 0.1.0
        try:
            info = _INFO.validate_python(described)
            self.ready = True
            return info
        except ValidationError as error:
            raise RemoteProtocolError(
                f"{self._endpoint} describes its snapshot in a way that makes no sense ({reason(error)})"
            ) from error

    async def text(self, info: SnapshotInfo) -> AsyncIterator[str]:
        """The snapshot's text, chunk by chunk.

        Raises:
            SnapshotGone: the node no longer holds it.
            QcoreError: the node did not answer.
        """
        offset, characters = 0, info.characters
        while offset < characters:
            data = await self._chunk(info.last_included_index, offset)
            if not data:
                raise SnapshotGone(
                    f"{self._endpoint} sent {offset} of {characters} characters of its snapshot: take it again"
                )
            offset += len(data)
            yield data

    async def _chunk(self, index: int, offset: int) -> str:
        """Read a chunk. If the connection breaks, try once more, because the node keeps the snapshot for a while."""
        fields = {"last_included_index": index, "offset": offset}
        may_retry = True
        while True:
            wait_s = min(_READ_S, self._deadline - self._seconds())
            if wait_s <= 0:
                raise DeadlineExceeded(
                    f"{self._endpoint} sent {offset} characters of its snapshot in the time allowed: allow more"
                )
            try:
                data: str = (await self._ask("ReadSnapshot", fields, wait_s))["data"]
                return data
            except (TransportError, OutcomeUnknown):
                if not may_retry:
                    raise
                may_retry = False

    async def _ask(
        self, name: str, fields: Mapping[str, Json], timeout_s: float
    ) -> dict[str, Json]:
        reply = await self._send(self._endpoint, name, fields, timeout_s)
        response: dict[str, Json] = reply["response"]
        if "Err" in response:
            raise decode_error(response["Err"], reply.get("detail"))
        value: dict[str, Json] = response["Ok"]
        return value
