"""What responses say about the cluster, and about the gateways, which are its members for clients of etcd."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from qcore.errors import (
    AccessRefused,
    PermissionDenied,
    QcoreError,
    Unauthenticated,
)
from qcore.gateway.etcd_errors import Code, EtcdError
from qcore.gateway.json_forms import message
from qcore.gateway.machine_access import Machine

if TYPE_CHECKING:
    from qcore.client import Client
    from qcore.client.methods.metrics_types import Metrics

#: The version of etcd whose API the gateway offers.
API_VERSION: Final = "3.4.0"
_ID_DIGITS: Final = 16
#: How often the number of the cluster is asked for until it is known, and how long that may take, seconds.
_ASK_EVERY_S: Final = 5.0
_ASK_S: Final = 0.5


def number_of(text: str) -> int:
    """A number of 64 bits for a text, never 0. Every gateway has the same one for the same text."""
    return int(hashlib.sha256(text.encode()).hexdigest()[:_ID_DIGITS], 16) or 1


#: The machine whose requests the gateway sends.
_MACHINE: Final = "kv"


class ClusterFacts:
    """The facts, and the headers of responses.

    Args:
        client: of the gateway itself.
        urls: at which clients reach the gateways, this one first.
    """

    def __init__(self, client: Client, urls: Sequence[str]) -> None:
        self._client = client
        self._urls = urls
        self._cluster_id = 0
        self._machine_name = ""
        #: When to ask for it again, by the monotonic clock.
        self._ask_again = 0.0
        self.member_id = number_of(urls[0])

    def header(self, revision: int | None) -> dict[str, object]:
        """A header. etcd's newest revision is never below 1; that of an empty machine is 0."""
        return message(
            cluster_id=self._cluster_id,
            member_id=self.member_id,
            revision=None if revision is None else max(1, revision),
        )

    async def learn(self, machine: Machine | None = None) -> None:
        """Learn the number of the cluster, if it is not known. A user may not be allowed to ask for it.

        It delays a request only from time to time, and not for long: headers without it are good enough.

        Raises:
            EtcdError: the cluster runs another machine, which could take a command for one that it has, too.
        """
        if not self._cluster_id and time.monotonic() >= self._ask_again:
            await self._ask(machine)
        if self._machine_name not in ("", _MACHINE):
            raise EtcdError(
                Code.UNAVAILABLE,
                f"etcdserver: the nodes run machine {self._machine_name}: start the nodes with --machine {_MACHINE}",
            )

    async def _ask(self, machine: Machine | None) -> None:
        self._ask_again = time.monotonic() + _ASK_EVERY_S
        clients = [self._client] if machine is None else [machine.client, self._client]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_ASK_S):
                for client in clients:
                    with contextlib.suppress(QcoreError):
                        self._take(await client.get_metrics())
                        break

    def _take(self, metrics: Metrics) -> None:
        self._machine_name = str(metrics["qcore"]["machine"]["name"])
        found = metrics["qcore"].get("cluster_id")
        if found:
            self._cluster_id = int(found[:_ID_DIGITS], 16) or 1

    async def status(self, machine: Machine) -> dict[str, object]:
        """etcd's `StatusResponse`. Any gateway is as good as a leader, so each calls itself the leader.

        Raises:
            QcoreError: there is no leader, or the user may not do this.
        """
        numbers = await machine.read({"op": "status"})
        try:
            metrics = await machine.client.leader_metrics()
        except (PermissionDenied, AccessRefused) as denied:
            try:
                metrics = await self._client.leader_metrics()
            except Unauthenticated:  # the gateway has no user; the token is a good one
                raise denied from None
        self._take(metrics)
        return message(
            header=self.header(int(numbers["revision"])),
            version=API_VERSION,
            dbSize=int(numbers["bytes"]),
            leader=self.member_id,
            raftIndex=metrics["last_log_index"] or 0,
            raftTerm=metrics["current_term"],
            raftAppliedIndex=metrics["qcore"]["applied_index"],
            dbSizeInUse=int(numbers["bytes"]),
        )

    def member_list(self) -> dict[str, object]:
        """etcd's `MemberListResponse`."""
        members = [
            message(ID=number_of(url), name=urlsplit(url).netloc, peerURLs=[url], clientURLs=[url])
            for url in self._urls
        ]
        members.sort(key=lambda each: int(str(each["ID"])))
        return message(header=self.header(None), members=members)

    async def is_healthy(self, machine: Machine) -> bool:
        """Whether the cluster serves reads. A user who is refused was refused by a node, as in etcd."""
        try:
            await machine.read({"op": "status"})
        except (AccessRefused, PermissionDenied, Unauthenticated):
            return True
        except QcoreError:
            return False
        return True
