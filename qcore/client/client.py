"""`Client`: the client of a cluster, with a method for each request.

    async with Client(["127.0.0.1:8080", "127.0.0.1:8081"]) as client:
        await client.set_schema(schema)
        user = await client.create_entity("User", "ada")
        await client.write(user, "Email", {"String": "ada@example.org"})
        value = await client.read(user, "Email")

The client keeps one connection to each node that it uses, shared by all requests in progress, and follows the leader.
It repeats a request only if a repetition cannot apply it twice: if it is a read, or after a definite rejection
(`NotLeader`, or `Overloaded`, after which it waits as long as the node asks). If it cannot know whether a write took
effect, it raises `OutcomeUnknown`, and the caller decides.

It leaves a silent node: one that does not answer a ping while a request waits, or does not accept a connection. A slow
node answers pings, and the client waits for it. See `qcore.client.endpoints`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Literal, Self, TypeAlias

from qcore.client import cluster_init, snapshot_download
from qcore.client.attempts import (
    try_admin_request,
    try_leader_metrics,
    try_metrics,
    try_perform,
    try_session_request,
)
from qcore.client.endpoints import PATIENCE_S
from qcore.client.errors import decode_error
from qcore.client.request_sender import Json, RequestSender
from qcore.core.version import ClusterVersion
from qcore.replica.leadership import Leadership
from qcore.storage.files.snapshot_file import SnapshotHeader
from qcore.transport.address import Address

#: An entity of the entity store, such as `{"typ": "User", "id": 7}`.
EntityId: TypeAlias = Mapping[str, str | int]
#: A tagged value such as `{"String": "x"}`, or None for the schema's default.
Value: TypeAlias = Mapping[str, Json] | None


def _is_read(request: Mapping[str, Json]) -> bool:
    """Whether the request only reads, and so may be repeated."""
    if "UpdateEntity" in request:
        return all("Read" in item for item in request["UpdateEntity"]["request"])
    return "GetSchema" in request or "GetCompleteSchema" in request or "Read" in request


class Client:
    """A client of a cluster. Use it as an async context manager, or call `close`.

    Args:
        endpoints: `host:port` of some nodes. The client learns others when a node names the leader.
        timeout_s: how long one operation may take, with all its retries.
        attempt_timeout_s: how long one attempt waits for the response of a node that answers pings.
        silent_after_s: how long a node may leave a ping unanswered while a request waits. After that the client leaves
            the node. The requests that wait there are repeated elsewhere if that is harmless, or else end in
            `OutcomeUnknown`.
        admin: whether to open admin connections, which nodes reserve for operators.

    Raises:
        ConfigError: an endpoint is not `host:port`, or there is none.
    """

    def __init__(
        self,
        endpoints: Sequence[str],
        *,
        timeout_s: float = 15.0,
        attempt_timeout_s: float = 8.0,
        silent_after_s: float = 1.0,
        admin: bool = False,
    ) -> None:
        self._sender = RequestSender(
            endpoints, timeout_s, attempt_timeout_s, silent_after_s, admin=admin
        )
        self._timeout_s = timeout_s
        self._attempt_timeout_s = attempt_timeout_s

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close every connection; requests in progress fail."""
        await self._sender.endpoints.close()

    # -- the entity store ------------------------------------------------------------------------

    async def create_entity(
        self, entity_type: str, name: str, parent: EntityId | None = None
    ) -> EntityId:
        """Create an entity and return its id."""
        created: EntityId = await self._value(
            "CreateEntity",
            {
                "entity_type": entity_type,
                "parent_id": None if parent is None else dict(parent),
                "name": name,
            },
        )
        return created

    async def delete_entity(self, entity_id: EntityId) -> None:
        """Delete an entity and its descendants."""
        await self._value("DeleteEntity", {"entity_id": dict(entity_id)})

    async def set_schema(self, schema: Mapping[str, Json]) -> None:
        """Add or replace the schema of an entity type."""
        await self._value("SetSchema", {"entity_schema": dict(schema)})

    async def get_schema(self, entity_type: str, *, complete: bool = False) -> Json:
        """The schema of an entity type; with `complete`, including the fields that it inherits."""
        command = "GetCompleteSchema" if complete else "GetSchema"
        return await self._value(command, {"entity_type": entity_type})

    async def write(
        self,
        entity_id: EntityId,
        field_type: str,
        value: Value,
        *,
        push_condition: Literal["Always", "Changes"] = "Always",
        adjust_behavior: Literal["Set", "Add", "Subtract"] = "Set",
    ) -> None:
        """Write a field."""
        await self.update(
            [
                {
                    "Write": {
                        "entity_id": dict(entity_id),
                        "field_type": field_type,
                        "value": value,
                        "push_condition": push_condition,
                        "adjust_behavior": adjust_behavior,
                        "write_time": None,
                        "writer_id": None,
                    }
                }
            ]
        )

    async def read(self, entity_id: EntityId, field_type: str, *, consistency: Json = None) -> Json:
        """Read the tagged value of a field. The read is linearizable: it reflects every write acknowledged before.

        `consistency` selects another kind of read: see `perform`.
        """
        (item,) = await self.update(
            [
                {
                    "Read": {
                        "entity_id": dict(entity_id),
                        "field_type": field_type,
                        "value": None,
                        "write_time": None,
                        "writer_id": None,
                    }
                }
            ],
            consistency=consistency,
        )
        return item["Read"]["value"]

    async def update(
        self, requests: Sequence[Mapping[str, Json]], *, consistency: Json = None
    ) -> list[Json]:
        """Execute reads and writes together, all or none; returns the list with their results."""
        response: list[Json] = await self._value(
            "UpdateEntity", {"request": list(requests)}, consistency
        )
        return response

    async def perform(
        self,
        request: Mapping[str, Json],
        *,
        consistency: Json = None,
        session: Mapping[str, int] | None = None,
    ) -> Json:
        """Send any `Perform` request and return `PerformResponse.response`, which may hold a store error.

        Args:
            request: one command by name.
            consistency: for a read: `linearizable` (the default), `lease`, `follower` or `{"stale": MS}`.
            session: for a write: `id`, `sequence`, `acknowledged`; see `qcore.client.session.ClientSession`.

        Raises:
            OutcomeUnknown: a write may or may not take effect.
            ProposalError: every attempt was rejected until the timeout; the request had no effect.
            RemoteProtocolError: the request is malformed; the text names the field.
            TransportError: no node could be reached.
        """
        repeatable = session is not None or _is_read(request)
        fields: dict[str, Json] = {"request": dict(request)}
        if consistency is not None:
            fields["consistency"] = consistency
        if session is not None:
            fields["session"] = dict(session)

        async def ask(endpoint: Address, left_s: float) -> Json:
            return await try_perform(
                self._sender.send, endpoint, fields, left_s, repeatable=repeatable
            )

        # A mapping asks for a stale read.
        any_node = isinstance(consistency, Mapping)
        return await self._sender.send_with_retries(ask, repeatable=repeatable, any_node=any_node)

    async def _value(
        self, command: str, fields: Mapping[str, Json] | str, consistency: Json = None
    ) -> Json:
        """Perform one command; returns its value, or raises its error."""
        response = await self.perform({command: fields}, consistency=consistency)
        body = response[command]
        if body["error"] is not None:
            raise decode_error(body["error"], body.get("detail"))
        return body.get("response")

    # -- a custom state machine ------------------------------------------------------------------

    async def execute(self, command: str, *, read: bool = False) -> str:
        """Send a command (with `read`, a query) to a cluster whose state machine is not the entity store.

        Returns:
            The state machine's result.

        Raises:
            QcoreError: as `perform`; `StoreError` if the state machine rejects the query.
        """
        result: str = await self._value("Read" if read else "Write", command)
        return result

    # -- admin requests --------------------------------------------------------------------------

    async def init(
        self,
        nodes: Sequence[tuple[int, str]] = (),
        *,
        endpoint: str | Address | None = None,
        token: str | None = None,
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
            timeout_s=self._timeout_s,
        )

    async def add_learner(self, node_id: int, address: str) -> None:
        """Add a learner; returns once it has caught up.

        Raises:
            NotCaughtUp: the node is a learner, and the text gives how far it is behind. Or it never answered: then it
                was removed again, or got its previous address back.
            ChangeRefused: the change was rejected; the text gives the reason.
        """
        fields: dict[str, Json] = {"node_id": node_id, "node_addr": address}
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
        return await snapshot_download.save_snapshot(
            self._sender.send,
            self._sender.endpoints,
            target,
            stale=stale,
            force=force,
            timeout_s=timeout_s,
        )

    def _node_timeout_ms(self) -> int:
        """The timeout of a change at a node: shorter than this client's, so that the response arrives in time."""
        return max(1, int(self._attempt_timeout_s * 900))

    async def leader_metrics(self) -> dict[str, Json]:
        """The metrics object of the leader, once it has committed an entry in its term.

        Raises:
            NotLeader: no leader was found in time.
            ChangeRefused: the leader committed no entry of its term in time (`not_ready`).
            TransportError: no node could be reached.
        """

        return await self._sender.send_with_retries(
            partial(try_leader_metrics, self._sender.send), any_node=True
        )

    async def session_request(self, name: str, fields: Mapping[str, Json]) -> Json:
        """Send `OpenSession`, `KeepSession` or `CloseSession`, and repeat it until a node answers.

        An `OpenSession` whose response was lost leaves a session that no client uses and that expires.

        Raises:
            SessionExpired: the session is gone. If a `CloseSession` was repeated, its first attempt may have closed it.
            QcoreError: every attempt was rejected until the timeout.
        """

        async def ask(endpoint: Address, left_s: float) -> Json:
            return await try_session_request(self._sender.send, endpoint, name, fields, left_s)

        return await self._sender.send_with_retries(ask)

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

    async def get_metrics(self, endpoint: str | Address | None = None) -> dict[str, Json]:
        """The metrics object of the node at this endpoint, or of any node that answers."""
        if endpoint is None:
            return await self._sender.send_with_retries(
                partial(try_metrics, self._sender.send), any_node=True
            )
        reply = await self.request(endpoint, "GetMetrics", {})
        metrics: dict[str, Json] = reply["response"]
        return metrics

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
