"""Compares the members' states, to find divergence: on a leader (`DivergenceWatch`), and for `qcore cluster health`.

A member's metrics object holds digests: of its current state (`state_hash` at `applied_index`), and of its state at the
newest indexes that all members record (`state_digests`; see `qcore.replica.apply.state_digests`). Two members are
compared at the newest index for which both have a digest.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Final, Generic, TypeVar

from pydantic import JsonValue

from qcore.client.client import Client
from qcore.core.status import CoreStatus
from qcore.errors import QcoreError
from qcore.node.observability.logs import NodeLog
from qcore.runtime.interface import Runtime
from qcore.security.tls import TlsFiles

#: How often a leader compares the states, seconds.
CHECK_INTERVAL_S: Final = 2.0
#: How long one member may take to answer, seconds.
_ANSWER_S: Final = 2.0
#: A difference that lasts is logged again after this time, seconds.
LOG_AGAIN_S: Final = 60.0
#: The most digests that are read from one member, several times the number that a member sends.
_MAX_DIGESTS: Final = 64

#: What identifies a member: its id or its address.
M = TypeVar("M", int, str)


@dataclass(slots=True, frozen=True)
class Comparison(Generic[M]):
    """The result of a comparison.

    Attributes:
        compared: the largest group of members that could be compared with each other.
        index: the newest index at which members were compared, or 0.
        differs_at: an index at which two members differ and after which they are not known to be equal; None if there
            is none. Of several such indexes, those for which most members have a digest count, and of these the newest.
        digests: by member, the digests known at `differs_at`; empty if that is None.
    """

    compared: tuple[M, ...]
    index: int
    differs_at: int | None
    digests: Mapping[M, str]

    @property
    def different(self) -> int:
        """How many members are outside the largest group that agrees. It is above 0 exactly if members differ."""
        if not self.digests:
            return 0
        return len(self.digests) - max(Counter(self.digests.values()).values())

    def as_json(self) -> JsonValue:
        """The comparison as a part of the metrics object."""
        return {
            "compared": list(self.compared),
            "index": self.index,
            "differs_at": self.differs_at,
            "digests": {str(member): digest for member, digest in self.digests.items()},
        }


def compare(seen: Mapping[M, Mapping[int, str]]) -> Comparison[M]:
    """Compare every two members at the newest index for which both have a digest.

    Args:
        seen: by member, its digests by index.
    """
    newest = 0
    odd: set[int] = (
        set()
    )  # indexes at which two members differ, if they differ at their newest common index
    group = {member: member for member in seen}  # members that can be compared with each other
    for one, other in combinations(seen, 2):
        common = seen[one].keys() & seen[other].keys()
        if not common:
            continue
        index = max(common)
        newest = max(newest, index)
        if seen[one][index] != seen[other][index]:
            odd |= {at for at in common if seen[one][at] != seen[other][at]}
        joined, into = group[other], group[one]
        group = {member: into if name == joined else name for member, name in group.items()}
    where = {at: {m: known[at] for m, known in seen.items() if at in known} for at in odd}
    differs_at = max(odd, key=lambda at: (len(where[at]), at), default=None)
    sizes = Counter(group.values())
    compared: tuple[M, ...] = ()
    if sizes and max(sizes.values()) > 1:
        ((largest, _),) = sizes.most_common(1)
        compared = tuple(member for member, name in group.items() if name == largest)
    return Comparison(compared, newest, differs_at, {} if differs_at is None else where[differs_at])


def digests_in(metrics: Mapping[str, object]) -> dict[int, str]:
    """The digests by index in a member's metrics object. Version 0.1.0 sends only that of the current state."""
    found: dict[int, str] = {}
    extra = metrics.get("qcore")
    if not isinstance(extra, dict):
        return found
    kept = extra.get("state_digests")
    if isinstance(kept, dict):
        for index, digest in list(kept.items())[-_MAX_DIGESTS:]:
            if index.isascii() and index.isdigit() and len(index) <= 20 and isinstance(digest, str):
                found[int(index)] = digest
    applied, digest = extra.get("applied_index"), extra.get("state_hash")
    # A member has no digest while it restores from a snapshot, and before the first entry there is nothing to compare.
    if isinstance(applied, int) and applied and isinstance(digest, str) and digest:
        found[applied] = digest
    return found


class DivergenceWatch:
    """On a leader, compares the members' states every few seconds; logs when they differ and when they agree again.

    Args:
        status: returns the core's status.
        own: returns this node's digests by index.
        log: gets the lines.
        cluster_id: returns the id of the cluster that this node belongs to.
        runtime: the world that the node runs in.
        tls: the files for TLS of the connections to the members; None for none.
    """

    def __init__(
        self,
        status: Callable[[], CoreStatus],
        own: Callable[[], Mapping[int, str]],
        log: NodeLog,
        cluster_id: Callable[[], str | None],
        runtime: Runtime,
        tls: TlsFiles | None,
    ) -> None:
        self._status = status
        self._own = own
        self._log = log
        self._cluster_id = cluster_id
        self._runtime = runtime
        self._tls = tls
        self._client: Client | None = None
        self._addresses: dict[int, str] = {}
        self._task: asyncio.Task[None] | None = None
        self._found: Comparison[int] | None = None
        self._logged_at: float | None = None

    @property
    def found(self) -> Comparison[int] | None:
        """The result of the last comparison; None before the first one, and while this node does not lead."""
        return self._found if self._status().role == "leader" else None

    def start(self) -> None:
        """Start comparing, on the running event loop."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        """Stop comparing, and close the connections. Idempotent."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None
        await self._close_client()

    async def check(self) -> None:
        """Compare the states once, and log a change."""
        status = self._status()
        if status.role != "leader":
            self._found, self._logged_at = None, None
            await self._close_client()
            return
        others = {
            member: address
            for member, address in status.membership.addresses
            if member != status.node_id
        }
        if others != self._addresses:
            await self._close_client()
        if not others:
            self._found = None
            return
        if self._client is None:
            self._addresses = others
            self._client = Client(
                [*others.values()],
                attempt_timeout_s=_ANSWER_S,
                tls=self._tls,
                runtime=self._runtime,
            )
        own = dict(self._own())
        answers = await asyncio.gather(
            *(self._digests_of(self._client, member, address) for member, address in others.items())
        )
        own.update(
            self._own()
        )  # again: this node may have applied more meanwhile, and a member may have no older digest
        seen = {status.node_id: own, **dict(zip(others, answers, strict=True))}
        self._found = self._newest(compare(seen))
        self._log_difference(self._found)

    def _newest(self, found: Comparison[int]) -> Comparison[int]:
        """The result to keep. A known difference does not end only because one of its members is silent."""
        before = self._found
        if found.differs_at is not None or before is None or before.differs_at is None:
            return found
        silent = before.digests.keys() - {*found.compared}
        members = {member for member, _ in self._status().membership.addresses}
        return before if silent & members else found

    async def _digests_of(self, client: Client, member: int, address: str) -> dict[int, str]:
        try:
            async with asyncio.timeout(2 * _ANSWER_S):
                metrics = await client.get_metrics(address)
        except (QcoreError, TimeoutError) as error:
            # Only at debug: other parts of the node report that a member does not answer.
            self._log.debug("a member's state could not be read", member=member, why=str(error))
            return {}
        reported: Mapping[str, object] = {**metrics}  # by another node, so it may hold anything
        extra = reported.get("qcore")
        of_cluster = extra.get("cluster_id") if isinstance(extra, dict) else None
        if reported.get("id") != member or of_cluster != self._cluster_id():
            return {}  # another node has its address
        return digests_in(reported)

    def _log_difference(self, found: Comparison[int]) -> None:
        now = asyncio.get_running_loop().time()
        if found.differs_at is None:
            if self._logged_at is not None:
                self._logged_at = None
                self._log.info("the states of the members are equal again", index=found.index)
        elif self._logged_at is None or now - self._logged_at >= LOG_AGAIN_S:
            self._logged_at = now
            self._log.error(
                "the states of the members differ: see `qcore cluster health` and docs/how-to/operations.md",
                index=found.differs_at,
                **{f"node_{member}": digest for member, digest in found.digests.items()},
            )

    async def _close_client(self) -> None:
        client, self._client, self._addresses = self._client, None, {}
        if client is not None:
            await client.close()

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(CHECK_INTERVAL_S)
            await self.check()
