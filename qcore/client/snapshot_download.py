"""A cluster's state into a file, while the cluster goes on: what `QcoreClient.save_snapshot` does."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

from pydantic import TypeAdapter, ValidationError

from qcore.client.endpoints import Endpoints
from qcore.client.errors import decode_error, retry_delay
from qcore.errors import (
    DeadlineExceeded,
    OutcomeUnknown,
    Overloaded,
    QcoreError,
    RemoteProtocolError,
    SnapshotGone,
    TransportError,
)
from qcore.storage.files.snapshot_file import SnapshotFileWriter, SnapshotHeader, check_target
from qcore.transport.wire import SnapshotInfo

T = TypeVar("T")

#: One message to one node, once: endpoint, name, fields, seconds; the reply's value.
Request = Callable[[str, str, Mapping[str, Any], float], Awaitable[dict[str, Any]]]

#: The least time, seconds, that one node gets before another is asked.
_ATTEMPT_S: Final = 5.0
#: How long one piece of the text may take, seconds.
_READ_S: Final = 10.0
_PAUSE_S: Final = 0.2
#: How long nodes may be out of reach, or without a leader, before the first of them has a snapshot ready.
_PATIENCE_S: Final = 15.0

_INFO: Final = TypeAdapter(SnapshotInfo)


async def save_snapshot(
    request: Request,
    endpoints: Endpoints,
    path: Path,
    *,
    stale: bool,
    force: bool,
    timeout_s: float,
) -> SnapshotHeader:
    """Ask one node after the other until one's state is in the file. See `QcoreClient.save_snapshot`.

    What is begun at one node is finished there: another node's text may differ in the order of its parts. If that
    node goes away meanwhile, it all begins again.
    """
    check_target(path, force=force)
    started = time.monotonic()
    deadline = started + timeout_s
    attempt, rng = 0, random.Random()
    while True:
        endpoint = endpoints.choose()
        attempt += 1
        remaining = deadline - time.monotonic()
        budget_s = max(_ATTEMPT_S, remaining / max(1, len(endpoints.configured) - attempt + 1))
        source = _SnapshotSource(request, endpoint, min(budget_s, remaining), deadline)
        try:
            return await _save_from(source, path, stale=stale, force=force)
        except QcoreError as error:
            endpoints.prefer_another(endpoint, error)
            transient = isinstance(error, TransportError | OutcomeUnknown | SnapshotGone)
            delay = retry_delay(error, _PAUSE_S, rng)
            patient = source.ready or isinstance(error, Overloaded)
            last = deadline if patient else min(deadline, started + _PATIENCE_S)
            if not (error.retryable or transient) or time.monotonic() + delay >= last:
                raise
        await asyncio.sleep(delay)


async def _save_from(
    source: _SnapshotSource, path: Path, *, stale: bool, force: bool
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
    # The file is written in a thread: other requests of this program go on.
    with contextlib.ExitStack() as stack:

        def begin() -> SnapshotFileWriter:
            return stack.enter_context(SnapshotFileWriter(path, header, force=force))

        writer = await _in_thread(begin)
        async for part in source.text(info):
            await _in_thread(partial(writer.write, part))
        await _in_thread(writer.finish)
    return header


async def _in_thread(work: Callable[[], T]) -> T:
    """Run it in a thread, and wait for its end in any case.

    Who is cancelled must not remove the file while the thread still writes it, or leave it because the thread has only
    just made it.
    """
    job = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(job)
    except asyncio.CancelledError:
        await asyncio.wait([job])
        if not job.cancelled():
            job.exception()  # looked at: nobody else will
        raise


class _SnapshotSource:
    """The node that a copy is made from.

    Args:
        request: sends a message.
        endpoint: the node.
        take_s: how long it may take to have its snapshot ready.
        deadline: when to give up, by `time.monotonic`.
    """

    def __init__(self, request: Request, endpoint: str, take_s: float, deadline: float) -> None:
        self._request = request
        self._endpoint = endpoint
        self._take_s = take_s
        self._deadline = deadline
        self.ready = False

    async def take(self, *, stale: bool) -> SnapshotInfo:
        """Have a snapshot made ready.

        Raises:
            QcoreError: the node refused, or did not answer.
        """
        # A little less than we wait, so that its own answer says what was in the way.
        fields = {"timeout_ms": max(1, int(self._take_s * 900)), "stale": stale}
        described = await self._ask("TakeSnapshot", fields, self._take_s)
        try:
            info = _INFO.validate_python(described)
            self.ready = True
            return info
        except ValidationError as error:
            raise RemoteProtocolError(
                f"{self._endpoint} describes its snapshot in a way that makes no sense: {error}"
            ) from error

    async def text(self, info: SnapshotInfo) -> AsyncIterator[str]:
        """The snapshot's text, piece by piece.

        Raises:
            SnapshotGone: the node does not hold it any more.
            QcoreError: the node did not answer.
        """
        offset, characters = 0, info.characters
        while offset < characters:
            data = await self._piece(info.last_included_index, offset)
            if not data:
                raise SnapshotGone(
                    f"{self._endpoint} sent {offset} of {characters} characters of its snapshot: take it anew"
                )
            offset += len(data)
            yield data

    async def _piece(self, index: int, offset: int) -> str:
        """Ask once more if the connection broke: the node keeps the snapshot for a while."""
        fields = {"last_included_index": index, "offset": offset}
        again = True
        while True:
            wait_s = min(_READ_S, self._deadline - time.monotonic())
            if wait_s <= 0:
                raise DeadlineExceeded(
                    f"{self._endpoint} sent {offset} characters of its snapshot in the time allowed: allow more"
                )
            try:
                data: str = (await self._ask("ReadSnapshot", fields, wait_s))["data"]
                return data
            except (TransportError, OutcomeUnknown):
                if not again:
                    raise
                again = False

    async def _ask(self, name: str, fields: Mapping[str, Any], timeout_s: float) -> dict[str, Any]:
        reply = await self._request(self._endpoint, name, fields, timeout_s)
        response: dict[str, Any] = reply["response"]
        if "Err" in response:
            raise decode_error(response["Err"], reply.get("detail"))
        value: dict[str, Any] = response["Ok"]
        return value
