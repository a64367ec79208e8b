"""The watches of one stream: `create_request`, `cancel_request` and `progress_request`, and what they send."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from prometheus_client import Gauge

from qcore.errors import Overloaded, PermissionDenied, QcoreError, TransportError, WatchCompacted
from qcore.gateway.cluster_facts import ClusterFacts
from qcore.gateway.etcd_errors import INTERNAL, PERMISSION_DENIED, etcd_error
from qcore.gateway.json_forms import Fields, message
from qcore.gateway.json_stream import Disconnected
from qcore.gateway.machine_access import NO_END, Machine
from qcore.gateway.operations.ranges_of_keys import version_message
from qcore.kv import KeyChange, KeyWatch
from qcore.kv.key_values import ChangeKind

_FILTERS: Final = ("NOPUT", "NODELETE")
#: What each filter leaves out.
_KINDS: Final[tuple[ChangeKind, ...]] = ("put", "delete")
_FIRST_KEY: Final = b"\0"
#: The number in an answer that is about no watch.
_NO_WATCH: Final = -1
#: The most events of one answer, unless one transaction has more.
_MOST_EVENTS: Final = 1000
#: How often a watch without changes reports that there are none, seconds, if its client asks for that.
PROGRESS_S: Final = 600.0

_DENIED: Final = f"rpc error: code = PermissionDenied desc = {PERMISSION_DENIED[1]}"

logger = logging.getLogger("qcore.gateway")

#: Sends one answer.
Send = Callable[[dict[str, object]], Awaitable[None]]


@dataclass(slots=True, frozen=True)
class WatchRequest:
    """etcd's `WatchCreateRequest`."""

    key: bytes
    end: bytes
    start_revision: int
    kinds: tuple[ChangeKind, ...]
    previous: bool
    progress: bool
    watch_id: int

    @classmethod
    def read(cls, fields: Fields) -> WatchRequest:
        """The request of its JSON.

        Raises:
            EtcdError: it is invalid.
        """
        filters = fields.choices("filters", "etcdserverpb.WatchCreateRequest_FilterType", _FILTERS)
        kinds = tuple(kind for number, kind in enumerate(_KINDS) if number not in filters)
        return cls(
            fields.data("key") or _FIRST_KEY,
            fields.data("range_end"),
            fields.integer("start_revision"),
            kinds,
            fields.flag("prev_kv"),
            fields.flag("progress_notify"),
            fields.integer("watch_id"),
        )


class WatchStream:
    """The watches of one stream.

    Args:
        machine: of the user.
        facts: makes headers.
        send: sends an answer to the client.
        count: counts the watches.
        progress_s: how long a watch that reports its progress is silent.
    """

    def __init__(
        self,
        machine: Machine,
        facts: ClusterFacts,
        send: Send,
        count: Gauge,
        progress_s: float = PROGRESS_S,
    ) -> None:
        self._machine = machine
        self._facts = facts
        self._send = send
        self._count = count
        self._progress_s = progress_s
        self._watches: dict[int, asyncio.Task[None]] = {}
        self._next_id = 0
        #: Up to which revision each watch has sent everything.
        self._sent: dict[int, int] = {}

    async def take(self, fields: Fields) -> None:
        """Do what one message asks for. One that asks for nothing is ignored, as in etcd.

        Raises:
            EtcdError: it is invalid.
            QcoreError: the cluster could not be asked.
        """
        if (create := fields.inner("create_request")) is not None:
            await self._create(WatchRequest.read(create))
        elif (cancel := fields.inner("cancel_request")) is not None:
            await self._cancel(cancel.integer("watch_id"))
        elif fields.inner("progress_request") is not None:
            await self._answer(min(self._sent.values(), default=None), watch_id=_NO_WATCH)

    async def close(self) -> None:
        """End all watches."""
        tasks = list(self._watches.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _create(self, request: WatchRequest) -> None:
        try:
            revision = await self._machine.revision()
        except PermissionDenied:
            await self._refuse(0, _DENIED)
            return
        if request.end and request.end != NO_END and request.end <= request.key:
            await self._refuse(revision, "mvcc: watcher range is empty")
            return
        watch_id = request.watch_id
        if watch_id in self._watches and watch_id:
            await self._refuse(revision, "mvcc: duplicate watch ID provided on the WatchStream")
            return
        if not watch_id:
            while self._next_id in self._watches:
                self._next_id += 1
            watch_id = self._next_id
            self._next_id += 1
        await self._answer(revision, watch_id=watch_id, created=True)
        # etcd takes a start below 0 for one in the past, which is compacted, or else the beginning.
        first = max(1, request.start_revision) if request.start_revision else revision + 1
        self._sent[watch_id] = min(revision, first - 1)
        task = asyncio.ensure_future(self._run(watch_id, request, first))
        self._watches[watch_id] = task

    async def _refuse(self, revision: int, reason: str) -> None:
        await self._answer(
            revision, watch_id=_NO_WATCH, created=True, canceled=True, cancel_reason=reason
        )

    async def _cancel(self, watch_id: int) -> None:
        task = self._watches.pop(watch_id, None)
        if task is None:
            return  # etcd says nothing, either
        task.cancel()
        await asyncio.wait([task])
        revision = self._sent.pop(watch_id)
        await self._answer(revision, watch_id=watch_id, canceled=True)

    async def _run(self, watch_id: int, request: WatchRequest, first: int) -> None:
        """Serve one watch until it is cancelled."""
        with contextlib.suppress(Disconnected), self._count.track_inprogress():  # the stream ends
            await self._serve(watch_id, request, first)

    async def _serve(self, watch_id: int, request: WatchRequest, first: int) -> None:
        # The state may not have reached a start in the future: watch from now on, and leave out what comes before.
        begin = min(first, self._sent[watch_id] + 1)
        watch = self._machine.watch(
            request.key, request.end, begin, kinds=request.kinds, previous=request.previous
        )
        try:
            await self._send_changes(watch_id, watch, request)
        except Disconnected:
            raise
        except WatchCompacted as error:
            await self._end(watch_id, compact_revision=await self._compacted(error))
        except QcoreError as error:
            known = etcd_error(error, has_token=self._machine.has_token)
            await self._end(watch_id, cancel_reason=known.text)
        except Exception:
            logger.exception("a watch has failed")
            await self._end(watch_id, cancel_reason=INTERNAL[1])
        finally:
            await watch.close()

    async def _send_changes(self, watch_id: int, watch: KeyWatch, request: WatchRequest) -> None:
        while True:
            changes = [await self._first_change(watch_id, watch, request)]
            # The changes of one transaction belong in one answer.
            while changes[-1].more or (watch.has_waiting and len(changes) < _MOST_EVENTS):
                changes.append(await _next_change(watch))
            revision = changes[-1].revision
            events = [_event(each) for each in changes if each.revision >= request.start_revision]
            if events:
                await self._answer(revision, watch_id=watch_id, events=events)
            self._sent[watch_id] = revision

    async def _first_change(
        self, watch_id: int, watch: KeyWatch, request: WatchRequest
    ) -> KeyChange:
        """The next change. Until it comes, report from time to time that there is none, if the client asks for that."""
        if not request.progress:
            return await _next_change(watch)
        waiting = asyncio.ensure_future(_next_change(watch))
        try:
            while not (await asyncio.wait([waiting], timeout=self._progress_s))[0]:
                await self._answer(self._sent[watch_id], watch_id=watch_id)
            return waiting.result()
        finally:
            waiting.cancel()

    async def _end(self, watch_id: int, **fields: object) -> None:
        self._watches.pop(watch_id, None)
        self._sent.pop(watch_id, None)
        await self._answer(None, watch_id=watch_id, canceled=True, **fields)

    async def _compacted(self, error: WatchCompacted) -> int:
        """The oldest revision from which a watch may begin."""
        try:
            status = await self._machine.read({"op": "status"})
        except QcoreError:  # the client must learn that the watch has ended, whatever happens
            return max(1, error.first_index)
        return max(1, int(status["compacted"]))

    async def _answer(self, revision: int | None, **fields: object) -> None:
        await self._send(message(header=self._facts.header(revision), **fields))


async def _next_change(watch: KeyWatch) -> KeyChange:
    """The next change, also while the cluster cannot be reached.

    Raises:
        Overloaded: the nodes accept no more watches.
        QcoreError: see `KeyWatch`.
    """
    while True:
        try:
            return await watch.next_change()
        except TransportError as error:
            if isinstance(error.__cause__, Overloaded):
                logger.warning("a watch is cancelled, because %s", error)
                raise error.__cause__ from None


def _event(change: KeyChange) -> dict[str, object]:
    previous = None if change.previous is None else version_message(change.previous)
    return message(
        type="DELETE" if change.kind == "delete" else None,
        kv=version_message(change.kv),
        prev_kv=previous,
    )
