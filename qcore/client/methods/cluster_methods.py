"""`ClusterMethods`: the admin requests, and those that concern the cluster as a whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import cast

from qcore.client import cluster_init, snapshot_download
from qcore.client.attempts import try_admin_request, try_leader_metrics, try_metrics
from qcore.client.endpoints import PATIENCE_S
from qcore.client.methods.method_base import ClientMethods
from qcore.client.methods.metrics_types import Metrics
from qcore.client.request_sender import Json
from qcore.core.version import ClusterVersion
from qcore.replica.leadership import Leadership
from qcore.storage.files.snapshot_file import SnapshotHeader
from qcore.transport.address import Address


class ClusterMethods(ClientMethods):
    """The methods about the cluster: members, leader, version, metrics, copies of the state."""

    async def init(
        self,
        nodes: Sequence[tuple[int, str]] = (),
        *,
        endpoint: str | Address | None = None,
        token: str | None = None,
        public_keys: Sequence[tuple[int, str]] = (),
    ) -> None:
        """Initialise a cluster of these nodes.

        The client waits for a node that is not up yet. While the nodes cannot accept the `Init`, because one does not
        answer or another `Init` is in progress, the client repeats it after random pauses. It does not repeat it if too
        little time is left for a response, because then it could not know whether the cluster begins.

        Args:
            nodes: id and `host:port` of each voter; none for a cluster of the one node at `endpoint`.
            endpoint: the node to send `Init` to; by default the first endpoint of this client.
            token: any text, a different one for each cluster. An `Init` with the same nodes and token may be sent to
                several nodes, and repeatedly: they form one cluster.
            public_keys: id and public key of nodes that are not to be asked for their key (`qcore node key`). Without
                a key here a node must answer, and is trusted on first use.

        Raises:
            ChangeRefused: the nodes did not accept it in time; nothing was written.
            OutcomeUnknown: the cluster has begun, and a majority did not confirm it in time; or the node is silent.
            TransportError: the node could not be reached in time.
            QcoreError: the node rejected it; the text gives the reason.
        """
        address = self._sender.endpoints.configured[0] if endpoint is None else _address(endpoint)
        await cluster_init.initialise(
            self.request,
            address,
            nodes,
            token,
            public_keys=public_keys,
            timeout_s=self._timeout_s,
            seconds=self._sender.runtime.seconds,
            rng=self._sender.rng,
        )

    async def add_learner(self, node_id: int, address: str, public_key: str | None = None) -> None:
        """Add a learner; returns once it has caught up.

        Args:
            node_id, address: of the new node.
            public_key: its public key, which `qcore node key` prints. Leave it out for a node that has a join token,
                for a member, or if the members have no keys (apply rules below 5).

        Raises:
            NotCaughtUp: the node is a learner, and the text gives how far it is behind. Or it never answered: then it
                was removed again, or got its previous address back.
            ChangeRefused: the change was rejected; the text gives the reason.
        """
        fields: dict[str, Json] = {"node_id": node_id, "node_addr": address}
        if public_key is not None:
            fields["public_key"] = public_key
        # A repetition changes nothing: it waits for the learner that the first request added.
        fields["timeout_ms"] = self._node_timeout_ms()
        await self._request_leader("AddLearner", fields, repeatable=True)

    async def change_membership(
        self,
        voters: Sequence[int],
        *,
        learners: Sequence[int] | None = None,
        expected_index: int | None = None,
    ) -> None:
        """Make these members the voters; returns once that is committed.

        Args:
            voters: ids of current members; voters that are not named leave the cluster.
            learners: ids of the members that are learners afterwards; None for all current learners that do not become
                voters.
            expected_index: if given, the change is made only if the effective configuration has this log index.

        Raises:
            ChangeRefused: the change was rejected; the text gives the reason.
            OutcomeUnknown: the change has begun, and may finish later: look at the members.
        """
        fields: dict[str, Json] = {"members": list(voters), "timeout_ms": self._node_timeout_ms()}
        if learners is not None:
            fields["learners"] = list(learners)
        if expected_index is not None:
            fields["expected_index"] = expected_index
        await self._request_leader("ChangeMembership", fields)

    async def move_member(self, node_id: int, address: str) -> None:
        """Change the address of a member; returns once that is committed. The member must run there already.

        Raises:
            ChangeRefused: the change was rejected; the text gives the reason.
            OutcomeUnknown: the change has begun, and may finish later: look at the members.
        """
        fields: dict[str, Json] = {"node_id": node_id, "node_addr": address}
        fields["timeout_ms"] = self._node_timeout_ms()
        await self._request_leader("MoveMember", fields, repeatable=True)

    async def transfer_leader(self, to: int | None = None) -> Leadership | None:
        """Transfer the leadership to a voter, by default to the most suitable one.

        Returns:
            The new leader and its term; None if the node runs 0.1.0, which does not report them.

        Raises:
            TransferFailed: the target does not lead, and will not because of this request; the text gives the reason
                and the leader.
            OutcomeUnknown: the leadership may have moved, or may still move: look which node leads. If the leader
                reported it, the error is a `TransferUnknown`.
            ChangeRefused: there is no suitable voter.
        """
        detail = (await self._leader_response("TransferLeader", {"to": to})).get("detail") or {}
        leader_id, term = detail.get("leader_id"), detail.get("term")
        return None if leader_id is None or term is None else Leadership(leader_id, term)

    async def reinstall_member(self, node_id: int) -> int:
        """Replace the state of a member, and its log up to there, by a snapshot of the leader; returns its index.

        Raises:
            ChangeRefused: the node is no member, or it leads and no other node can.
            OutcomeUnknown: the member may still be reinstalled: look at its metrics, and retry.
        """
        fields: dict[str, Json] = {"node_id": node_id, "timeout_ms": self._node_timeout_ms()}
        return int(await self._request_leader("ReinstallMember", fields, repeatable=True))

    async def upgrade_machine(self, version: int | None = None) -> ClusterVersion:
        """Raise the active version of the state machine, by default to the newest; returns once this is applied.

        Raises:
            ChangeRefused: a member does not support it, or is not connected; the text names it.
            OutcomeUnknown: the version may still be raised: look at the metrics.
        """
        fields = {"version": version, "timeout_ms": self._node_timeout_ms()}
        active = await self._request_leader("UpgradeMachine", fields, repeatable=True)
        return ClusterVersion(active["rules"], active["machine"], active["machine_version"])

    async def save_snapshot(
        self,
        path: Path | str,
        *,
        stale: bool = False,
        force: bool = False,
        timeout_s: float = 300.0,
    ) -> SnapshotHeader:
        """Copy the state of the cluster into a file while the cluster goes on; returns the file's header.

        Args:
            path: the file. It appears whole or not at all. See `qcore.storage.files.snapshot_file` for its format.
            stale: copy the state that a node has applied, even if it is old. Otherwise the copy holds every write
                acknowledged before, which needs a leader and a quorum.
            force: replace the file if it exists.
            timeout_s: how long the whole copy may take.

        Raises:
            SnapshotFileError: the file cannot be written.
            ConfigError: the file exists.
            QcoreError: no node sent its state in time; the text gives the reason.
        """
        target = Path(path)
        self._sender.event_loop.enter()
        return await snapshot_download.save_snapshot(
            self._sender.send,
            self._sender.endpoints,
            target,
            stale=stale,
            force=force,
            timeout_s=timeout_s,
            runtime=self._sender.runtime,
        )

    def _node_timeout_ms(self) -> int:
        """The timeout of a change at a node: shorter than this client's, so that the response arrives in time."""
        return max(1, int(self._attempt_timeout_s * 900))

    async def leader_metrics(self) -> Metrics:
        """The metrics object of the leader, once it has committed an entry in its term.

        Raises:
            NotLeader: no leader was found in time.
            ChangeRefused: the leader committed no entry of its term in time (`not_ready`).
            TransportError: no node could be reached.
        """
        found = await self._sender.send_with_retries(
            partial(try_leader_metrics, self._sender.send), any_node=True
        )
        return cast("Metrics", found)

    async def _request_leader(
        self, name: str, fields: Mapping[str, Json], *, repeatable: bool = False
    ) -> Json:
        """Send a request that only the leader executes; returns the `Ok` of its response."""
        reply = await self._leader_response(name, fields, repeatable=repeatable)
        return reply["response"]["Ok"]

    async def _leader_response(
        self, name: str, fields: Mapping[str, Json], *, repeatable: bool = False
    ) -> dict[str, Json]:
        """Send a request that only the leader executes; returns the whole response."""

        async def ask(endpoint: Address, left_s: float) -> dict[str, Json]:
            return await try_admin_request(self._sender.send, endpoint, name, fields, left_s)

        return await self._sender.send_with_retries(ask, repeatable=repeatable)

    async def get_metrics(self, endpoint: str | Address | None = None) -> Metrics:
        """The metrics object of the node at this endpoint, or of any node that answers."""
        if endpoint is None:
            found = await self._sender.send_with_retries(
                partial(try_metrics, self._sender.send), any_node=True
            )
        else:
            found = (await self.request(endpoint, "GetMetrics", {}))["response"]
        return cast("Metrics", found)

    async def request(
        self,
        endpoint: str | Address,
        name: str,
        fields: Mapping[str, Json],
        timeout_s: float | None = None,
    ) -> dict[str, Json]:
        """Send one message to one node, once; returns the content of the response.

        Raises:
            ConfigError: the endpoint is not `host:port`.
            TransportError: the node cannot be reached.
            OutcomeUnknown: the node did not answer.
            RemoteProtocolError: the node rejected the message as malformed.
        """
        timeout_s = self._attempt_timeout_s if timeout_s is None else timeout_s
        return await self._sender.send(
            _address(endpoint), name, fields, timeout_s, patience_s=PATIENCE_S
        )


def _address(endpoint: str | Address) -> Address:
    return endpoint if isinstance(endpoint, Address) else Address.parse(endpoint, "endpoint")
