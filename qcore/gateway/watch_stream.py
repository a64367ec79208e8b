"""The watches of one stream: `create_request`, `cancel_request` and `progress_request`, and what they send."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from qcore.errors import QcoreError, WatchCompacted
from qcore.gateway.cluster_facts import ClusterFacts
from qcore.gateway.etcd_errors import etcd_error
from qcore.gateway.json_forms import Fields, message
from qcore.gateway.machine_access import NO_END, Machine
from qcore.gateway.ranges_of_keys import version_message
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
    """

    def __init__(self, machine: Machine, facts: ClusterFacts, send: Send) -> None:
        self._machine = machine
        self._facts = facts
        self._send = send
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
        revision = await self._machine.revision()
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
        first = request.start_revision if request.start_revision > 0 else revision + 1
        self._sent[watch_id] = max(revision, first - 1) if first > revision else first - 1
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
        """Send the changes of one watch until it is cancelled."""
        try:
            async with self._machine.watch(
                request.key,
                request.end,
                first,
                kinds=request.kinds,
                previous=request.previous,
            ) as watch:
                await self._send_changes(watch_id, watch, request)
        except WatchCompacted:
            await self._end(watch_id, compact_revision=await self._compacted())
        except QcoreError as error:
            known = etcd_error(error, has_token=self._machine.has_token)
            await self._end(watch_id, cancel_reason=known.text)

    async def _send_changes(self, watch_id: int, watch: KeyWatch, request: WatchRequest) -> None:
        while True:
            changes = [await self._next(watch_id, watch, request)]
            while watch.has_waiting and len(changes) < _MOST_EVENTS:
                changes.append(await watch.next_change())
            revision = changes[-1].revision
            await self._answer(
                revision, watch_id=watch_id, events=[_event(change) for change in changes]
            )
            self._sent[watch_id] = revision

    async def _next(self, watch_id: int, watch: KeyWatch, request: WatchRequest) -> KeyChange:
        return await watch.next_change()

    async def _end(self, watch_id: int, **fields: object) -> None:
        self._watches.pop(watch_id, None)
        self._sent.pop(watch_id, None)
        await self._answer(None, watch_id=watch_id, canceled=True, **fields)

    async def _compacted(self) -> int:
        status = await self._machine.read({"op": "status"})
        return int(status["compacted"])

    async def _answer(self, revision: int | None, **fields: object) -> None:
        await self._send(message(header=self._facts.header(revision), **fields))


def _event(change: KeyChange) -> dict[str, object]:
    previous = None if change.previous is None else version_message(change.previous)
    return message(
        type="DELETE" if change.kind == "delete" else None,
        kv=version_message(change.kv),
        prev_kv=previous,
    )
