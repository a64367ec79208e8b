"""`RequestRates`: how many requests, and how many bytes of them, each connection and each user may send in a second.

A request beyond a rate is rejected with the time after which it may be sent again. It costs a node little more than
parsing it, and it takes nothing from the rate. The rates hold at each node: a client that uses several nodes has the
rate at each of them. Peers have no rate.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from qcore.errors import QuotaExceeded
from qcore.node.config import NodeConfig
from qcore.node.quotas.token_bucket import TokenBucket
from qcore.replica.requests.storage_quotas import QuotaUse
from qcore.transport.server.server import ServerConnection

#: A client that was quiet may send as much as in this time, seconds.
_BURST_S: Final = 2
#: With more users than this, the node forgets those that have sent nothing for so long that it makes no difference.
_SWEEP_ABOVE: Final = 1024


@dataclass(slots=True, frozen=True)
class _Limit:
    """One rate.

    Attributes:
        quota: its name in errors; `quota` and `_per_s` are the name of the setting.
        unit: what it counts.
        rate: a second.
        burst: the most after a pause.
    """

    quota: str
    unit: str
    rate: int
    burst: int


class RequestRates:
    """The rates at one node.

    Args:
        config: the rates.
        now_us: the time on a monotonic clock, µs.
    """

    def __init__(self, config: NodeConfig, now_us: Callable[[], int]) -> None:
        largest = config.limits.max_client_frame_bytes

        def limits(whose: str, requests: int, size: int) -> tuple[_Limit | None, _Limit | None]:
            return (
                _Limit(f"{whose}_requests", "requests", requests, _BURST_S * requests)
                if requests
                else None,
                # Otherwise the largest request of all could leave a debt.
                _Limit(f"{whose}_bytes", "bytes", size, max(_BURST_S * size, largest))
                if size
                else None,
            )

        self._of_connections = limits(
            "connection", config.connection_requests_per_s, config.connection_bytes_per_s
        )
        self._of_users = limits("user", config.user_requests_per_s, config.user_bytes_per_s)
        self._limits = [one for one in (*self._of_connections, *self._of_users) if one is not None]
        self._refused = dict.fromkeys([limit.quota for limit in self._limits], 0)
        self._now_us = now_us
        #: By connection, and by user: the buckets for requests and for bytes.
        self._connections: dict[int, tuple[TokenBucket | None, TokenBucket | None]] = {}
        self._users: dict[str, tuple[TokenBucket | None, TokenBucket | None]] = {}
        self._sweep_above = _SWEEP_ABOVE

    @property
    def active(self) -> bool:
        """Whether there is any rate."""
        return bool(self._limits)

    def rejection(self, connection: ServerConnection, user: str = "") -> QuotaExceeded | None:
        """Count the message that the connection handles now; otherwise return the reason for its rejection.

        Args:
            connection: which handles a message.
            user: who sends it, by rights that it has now; empty for none.
        """
        now = self._now_us()
        taken: list[tuple[TokenBucket, int]] = []
        worst: tuple[int, _Limit] | None = None
        for limits, buckets in self._buckets(connection, user, now):
            amounts = (1, connection.message_bytes)
            for limit, bucket, amount in zip(limits, buckets, amounts, strict=True):
                if limit is None or bucket is None:
                    continue
                taken.append((bucket, amount))
                wait_us = bucket.wait_us(amount, now)
                if wait_us and (worst is None or wait_us > worst[0]):
                    worst = (wait_us, limit)
        if worst is not None:
            return self._exceeded(*worst, user)
        for bucket, amount in taken:
            bucket.take(amount)
        return None

    def forget(self, connection: ServerConnection) -> None:
        """The connection has ended."""
        self._connections.pop(connection.connection_id, None)

    def uses(self) -> list[QuotaUse]:
        """The limits, and how many requests were rejected."""
        return [
            QuotaUse(each.quota, each.rate, None, self._refused[each.quota], False)
            for each in self._limits
        ]

    def _buckets(
        self, connection: ServerConnection, user: str, now: int
    ) -> list[
        tuple[tuple[_Limit | None, _Limit | None], tuple[TokenBucket | None, TokenBucket | None]]
    ]:
        of_connection = self._connections.get(connection.connection_id)
        if of_connection is None:
            of_connection = _new_buckets(self._of_connections, now)
            self._connections[connection.connection_id] = of_connection
        found = [(self._of_connections, of_connection)]
        if user and self._of_users != (None, None):
            of_user = self._users.get(user)
            if of_user is None:
                self._sweep(now)
                of_user = self._users[user] = _new_buckets(self._of_users, now)
            found.append((self._of_users, of_user))
        return found

    def _sweep(self, now: int) -> None:
        """Forget users whose buckets are full, once there are many."""
        if len(self._users) >= self._sweep_above:
            self._users = {
                user: buckets
                for user, buckets in self._users.items()
                if not all(bucket is None or bucket.is_full(now) for bucket in buckets)
            }
            self._sweep_above = _SWEEP_ABOVE + 2 * len(self._users)

    def _exceeded(self, wait_us: int, limit: _Limit, user: str) -> QuotaExceeded:
        self._refused[limit.quota] += 1
        wait_ms = max(1, -(-wait_us // 1000))
        whose = "this connection"
        if limit.quota.startswith("user"):
            whose = f'the user "{user}"'
        return QuotaExceeded(
            f"{whose} sends more than {limit.rate} {limit.unit} a second to this node ({limit.quota}_per_s): retry in "
            f"{wait_ms} ms",
            limit.quota,
            limit.rate,
            limit.rate,
            wait_ms,
        )


def _new_buckets(
    limits: tuple[_Limit | None, _Limit | None], now: int
) -> tuple[TokenBucket | None, TokenBucket | None]:
    requests, size = limits
    return (
        None if requests is None else TokenBucket(requests.rate, requests.burst, now),
        None if size is None else TokenBucket(size.rate, size.burst, now),
    )
