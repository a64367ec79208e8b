"""`SyncLeaderElection`: `LeaderElection` for programs without asyncio."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from qcore.client.synchronous.sync_facade import (
    SyncFacade,
    sync_iterator,
    sync_method,
)
from qcore.kv.kv_client import KeyValue
from qcore.recipes.holding.leader_election import LeaderElection
from qcore.recipes.lease import DEFAULT_MAX_DRIFT, DEFAULT_TTL_S
from qcore.recipes.recipe_errors import LeaseLost
from qcore.recipes.synchronous.sync_held import SyncHeld

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from qcore.client.synchronous.sync_client import SyncClient
    from qcore.recipes.synchronous.sync_held import SyncLease


class SyncLeaderElection(SyncFacade[LeaderElection]):
    """A `LeaderElection` for programs without asyncio; its guarantees are the same.

        election = SyncLeaderElection(client, "scheduler", candidate="10.0.0.7:9000")
        with election.lead() as leadership:
            while True:
                leadership.check()
                schedule_one(leadership.token)

    Nothing can stop a thread that leads, so it must call `check`.

    Args:
        client: a client, which the caller closes.
        name, candidate, ttl_s, max_drift, lease: see `LeaderElection`.
    """

    def __init__(
        self,
        client: SyncClient,
        name: str,
        *,
        candidate: str = "",
        ttl_s: float = DEFAULT_TTL_S,
        max_drift: float = DEFAULT_MAX_DRIFT,
        lease: SyncLease | None = None,
    ) -> None:
        election = LeaderElection(
            KeyValue(client.asynchronous),
            name,
            candidate=candidate,
            ttl_s=ttl_s,
            max_drift=max_drift,
            lease=None if lease is None else lease.asynchronous,
        )
        super().__init__(election, client)

    def campaign(self, *, timeout_s: float | None = None) -> SyncHeld:
        """See `LeaderElection.campaign`."""
        return SyncHeld.acquired_by(self._wrapped.campaign(timeout_s=timeout_s), self._runner)

    @contextmanager
    def lead(self, *, timeout_s: float | None = None) -> Iterator[SyncHeld]:
        """Campaign, and lead within the context. Its end resigns.

        Raises:
            NotAcquired, QcoreError: see `LeaderElection.campaign`.
            LeaseLost: the leadership was lost, and the block ended without another error.
        """
        with self.campaign(timeout_s=timeout_s) as leadership:
            yield leadership

    def run(
        self,
        serve: Callable[[SyncHeld], object],
        *,
        on_elected: Callable[[SyncHeld], object] | None = None,
        on_lost: Callable[[LeaseLost], object] | None = None,
    ) -> None:
        """Campaign, and run `serve` while this worker leads; campaign again whenever the leadership is lost.

        It ends when `serve` returns while the leadership is held, or raises another error than the loss of it.

        Args:
            serve: what a leader does. Let it call `check`, which raises when the leadership is lost.
            on_elected: called before `serve`.
            on_lost: called with the reason after `serve` has ended.
        """
        while True:
            leadership = self.campaign()
            try:
                if on_elected is not None:
                    on_elected(leadership)
                serve(leadership)
                if not leadership.is_released:
                    leadership.check()
                return
            except LeaseLost:
                lost = leadership.lost
                if lost is None or leadership.is_released:
                    raise  # of another lease, on which `serve` relies
                if on_lost is not None:
                    on_lost(lost)
            finally:
                leadership.release()

    leader = sync_method(LeaderElection.leader)
    observe = sync_iterator(LeaderElection.observe)
