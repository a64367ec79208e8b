"""The client library: one object for a whole cluster.

    async with QcoreClient(["127.0.0.1:8080", "127.0.0.1:8081"]) as client:
        await client.set_schema(schema)
        user = await client.create_entity("User", "ada")
        await client.write(user, "Email", {"String": "ada@example.org"})
        value = await client.read(user, "Email")

It keeps one connection to each node that it talks to, shared by all requests in flight; follows the
leader; and repeats a request only when that cannot apply it twice: after a definite rejection
(`NotLeader`, or `Overloaded`, after which it waits as long as the node asked), or a read. When it cannot know
whether a write took effect it says so with `OutcomeUnknown`, and the caller decides.

It leaves a node that gives no sign of life: one that does not answer a ping while a request waits, or does not take a
connection. A node that is only slow answers pings, and is waited for. See `qcore.client.endpoints`.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Literal, Self, TypeAlias

from qcore.client import snapshot_download
from qcore.client.ask import MIN_ATTEMPT_S, Json, RequestSender
from qcore.client.endpoints import PATIENCE_S
from qcore.client.errors import decode_error
from qcore.core.version import ClusterVersion
from qcore.errors import (
    ChangeRefused,
    DeadlineExceeded,
    DiskFull,
    NotLeader,
    OutcomeUnknown,
    ProposalError,
    TransportError,
)
from qcore.replica.leadership import Leadership
from qcore.storage.files.snapshot_file import SnapshotHeader
from qcore.transport.connection.client_connection import ConnectionLost, ErrorReply

EntityId: TypeAlias = Mapping[str, str | int]
#: A tagged value, `{"String": "x"}`, or None for the schema's default.
Value: TypeAlias = Mapping[str, Json] | None

#: The pause before the node that `Init` is for is dialled again.
_INIT_RECONNECT_PAUSE_S: Final = 0.5
#: Refusals of an `Init` that pass by themselves, which has written nothing then, and the longest pause before it is
#: repeated, about.
_INIT_TRANSIENT: Final = ("initialising", "unreachable")
_INIT_PAUSE_S: Final = 1.0


def _is_read(request: Mapping[str, Json]) -> bool:
    """Whether the request is a linearizable read, and so may be repeated."""
    if "UpdateEntity" in request:
        return all("Read" in item for item in request["UpdateEntity"]["request"])
    return "GetSchema" in request or "GetCompleteSchema" in request or "Read" in request


class QcoreClient:
    """A client of a cluster. Use it as an async context manager, or call `close`.

    Args:
        endpoints: `host:port` of some nodes; others are found when a node names the leader.
        timeout_s: how long one operation may take, with all its retries.
        attempt_timeout_s: how long one attempt waits for the reply of a node that lives.
        silent_after_s: how long a node may leave a ping unanswered while a request waits. Then it is left, and what
            waits there is repeated elsewhere if that is harmless, or else ends in `OutcomeUnknown`.
        admin: for an operator's program: it takes the places that nodes keep for those.

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
        """The schema of an entity type: its own, or complete with what it inherits."""
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
        """The tagged value of a field, linearizable: it reflects every write acknowledged before.

        `consistency` asks for another kind of read: see `perform`.
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
        """Carry out reads and writes together, all or none; returns the list filled in."""
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
        """Send any `Perform` request and return `PerformResponse.response`, store errors included.

        Args:
            request: one command by name.
            consistency: for a read: `linearizable` (the default), `lease`, `follower` or `{"stale": MS}`.
            session: for a write: `id`, `sequence`, `acknowledged`; see `qcore.client.session.ClientSession`.

        Raises:
            OutcomeUnknown: a write may or may not take effect.
            ProposalError: refused until the time was over; certainly without effect.
            RemoteProtocolError: the request is malformed; the text names the field.
            TransportError: no node could be reached.
        """
        repeatable = session is not None or _is_read(request)
        fields: dict[str, Json] = {"request": dict(request)}
        if consistency is not None:
            fields["consistency"] = consistency
        if session is not None:
            fields["session"] = dict(session)

        async def ask(endpoint: str, left_s: float) -> Json:
            return await self._attempt(endpoint, fields, repeatable, left_s)

        # A mapping is a stale read.
        any_node = isinstance(consistency, Mapping)
        return await self._sender.send_with_retries(ask, repeatable=repeatable, any_node=any_node)

    async def _value(
        self, command: str, fields: Mapping[str, Json] | str, consistency: Json = None
    ) -> Json:
        """Perform one command; its value, or its error raised."""
        response = await self.perform({command: fields}, consistency=consistency)
        body = response[command]
        if body["error"] is not None:
            raise decode_error(body["error"], body.get("detail"))
        return body.get("response")

    # -- a state machine of your own -------------------------------------------------------------

    async def execute(self, command: str, *, read: bool = False) -> str:
        """Send a command, or with `read` a query, to a node that runs a machine other than the store.

        Returns:
            the machine's result.

        Raises:
            QcoreError: as `perform`; a query that the machine refuses is a `StoreError`.
        """
        result: str = await self._value("Read" if read else "Write", command)
        return result

    # -- management ------------------------------------------------------------------------------

    async def init(
        self,
        nodes: Sequence[tuple[int, str]] = (),
        *,
        endpoint: str | None = None,
        token: str | None = None,
    ) -> None:
        """Begin a cluster of these nodes (id and `host:port`); none: of the one node that is asked.

        It is repeated, after random pauses, while the nodes cannot accept it yet: one does not answer, or another
        `Init` is under way. The last time is one whose answer can come in time: cut short, it would leave open whether
        the cluster begins. A node that is not there yet is waited for.

        Args:
            nodes: the voters.
            endpoint: the node that is asked; by default the first endpoint of this client.
            token: any text, another one for each cluster. The same nodes and token may be given to several nodes, and
                again: they form one cluster.

        Raises:
            ChangeRefused: the nodes did not accept it in time; nothing was written.
            OutcomeUnknown: the cluster has begun, and a majority did not confirm it in time; or the node is silent.
            TransportError: the node was not there in time.
            QcoreError: the node refused; says why.
        """
        fields: dict[str, Json] = {"nodes": [[node_id, address] for node_id, address in nodes]}
        if token is not None:
            fields["token"] = token
        target = endpoint or self._sender.endpoints.configured[0]
        deadline = time.monotonic() + self._timeout_s
        while True:
            asked_at = time.monotonic()
            try:
                reply = await self.request(
                    target, "Init", fields, max(MIN_ATTEMPT_S, deadline - asked_at)
                )
                response = reply["response"]
                if "Err" not in response:
                    return
                raise decode_error(response["Err"], reply.get("detail"))
            except ChangeRefused as rejection:
                pause_s = _INIT_PAUSE_S * (0.2 + random.random())
                now = time.monotonic()
                # The node takes about as long the next time.
                if (
                    rejection.name not in _INIT_TRANSIENT
                    or now + pause_s + now - asked_at >= deadline
                ):
                    raise
            except ConnectionLost as error:
                raise OutcomeUnknown(
                    f"{error}: the cluster may have begun: look at `qcore cluster status`"
                ) from None
            except TransportError as error:
                pause_s = _INIT_RECONNECT_PAUSE_S
                if not error.retryable or time.monotonic() + pause_s >= deadline:
                    raise
            except ErrorReply as error:
                if "Init.token: unknown field" not in str(error):
                    raise
                raise ErrorReply(
                    f"{error}: the node at {target} runs an older qcore, which knows no token: give this Init to a "
                    "newer node; the others join its cluster by themselves",
                    error.detail(),
                ) from None
            await asyncio.sleep(pause_s)

    async def add_learner(self, node_id: int, address: str) -> None:
        """Add a member without a vote; returns once it has caught up.

        Raises:
            NotCaughtUp: it is a member, and says how far behind; or it never answered, and was removed again, or has
                its address of before.
            ChangeRefused: not begun; says why.
        """
        fields: dict[str, Json] = {"node_id": node_id, "node_addr": address}
        # To repeat it changes nothing: a learner that is there is waited for.
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
            voters: members that exist; voters that are not named leave the cluster.
            learners: exactly these stay as learners; None: those there are and are not made voters.
            expected_index: only if the configuration in force is the one of this log index.

        Raises:
            ChangeRefused: not begun; says why.
            OutcomeUnknown: begun, and maybe finished later: look at the members.
        """
        fields: dict[str, Json] = {"members": list(voters), "timeout_ms": self._node_timeout_ms()}
        if learners is not None:
            fields["learners"] = list(learners)
        if expected_index is not None:
            fields["expected_index"] = expected_index
        await self._request_leader("ChangeMembership", fields)

    async def transfer_leader(self, to: int | None = None) -> Leadership | None:
        """Hand leadership to a voter, by default the best one.

        Returns:
            who leads now, and in which term; None if the node is of 0.1.0, which only says that it moved.

        Raises:
            TransferFailed: it did not go there, and by this request it will not; says why, and who leads.
            OutcomeUnknown: it may still move, or has moved: look who leads. As `TransferUnknown` if the leader said so.
            ChangeRefused: there is nobody to take over.
        """
        detail = (await self._leader_reply("TransferLeader", {"to": to})).get("detail") or {}
        leader_id, term = detail.get("leader_id"), detail.get("term")
        return None if leader_id is None or term is None else Leadership(leader_id, term)

    async def upgrade_machine(self, version: int | None = None) -> ClusterVersion:
        """Raise the state machine's active version, by default to the newest; returns once that is applied.

        Raises:
            ChangeRefused: a member does not support it, or is not connected; says which.
            OutcomeUnknown: it may still be raised: look at the metrics.
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
        """Copy the state of the cluster into a file while the cluster goes on; returns what the file holds.

        Args:
            path: the file; it appears whole or not at all. Its format: `qcore.storage.files.snapshot_file`.
            stale: what the node has applied is recent enough; else the copy holds all that was acknowledged
                before, which needs a leader and a quorum.
            force: replace the file if it exists.
            timeout_s: give up after so long.

        Raises:
            SnapshotFileError: the file cannot be written.
            ConfigError: it exists.
            QcoreError: no node gave its state in time; says why.
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
        """What a node may take for a change, so that its answer comes before we give up."""
        return max(1, int(self._attempt_timeout_s * 900))

    async def leader_metrics(self) -> dict[str, Json]:
        """The metrics object of the leader, once it knows what is committed.

        Raises:
            NotLeader: none was found in time.
            ChangeRefused: the leader committed no entry of its term in time (`not_ready`).
            TransportError: no node could be reached.
        """

        async def ask(endpoint: str, left_s: float) -> dict[str, Json]:
            metrics = await self._metrics_of(endpoint, left_s)
            leader = metrics["current_leader"]
            if metrics["state"] == "Leader":
                # A leader of 0.1.0 does not say whether it is ready.
                if metrics["qcore"].get("leader_ready") is False:
                    raise ChangeRefused(
                        "not_ready", "the leader has not committed an entry of its own term yet"
                    )
                return metrics
            known = metrics["membership_config"]["membership"]["nodes"].get(str(leader), {})
            raise NotLeader(leader, known.get("addr"))

        return await self._sender.send_with_retries(ask, any_node=True)

    async def session_request(self, name: str, fields: Mapping[str, Json]) -> Json:
        """`OpenSession`, `KeepSession` or `CloseSession`, repeated until it is answered.

        An `OpenSession` whose reply was lost leaves a session that nobody knows and that expires.

        Raises:
            SessionExpired: the session is gone (for a repeated `CloseSession`: maybe by the first).
            QcoreError: refused until the time was over.
        """

        async def ask(endpoint: str, left_s: float) -> Json:
            try:
                reply = await self._sender.send(endpoint, name, fields, left_s)
            except (ConnectionLost, OutcomeUnknown) as error:
                raise DeadlineExceeded(str(error)) from None
            response = reply["response"]
            if "Err" not in response:
                return response["Ok"]
            rejection = decode_error(response["Err"], reply.get("detail"))
            if isinstance(rejection, OutcomeUnknown):
                raise DeadlineExceeded(str(rejection))
            raise rejection

        return await self._sender.send_with_retries(ask)

    async def _request_leader(
        self, name: str, fields: Mapping[str, Json], *, repeatable: bool = False
    ) -> Json:
        """The `Ok` of a request that only the leader takes, wherever it is."""
        reply = await self._leader_reply(name, fields, repeatable=repeatable)
        return reply["response"]["Ok"]

    async def _leader_reply(
        self, name: str, fields: Mapping[str, Json], *, repeatable: bool = False
    ) -> dict[str, Json]:
        """The whole reply, if it is no error."""

        async def ask(endpoint: str, left_s: float) -> dict[str, Json]:
            try:
                reply = await self._sender.send(endpoint, name, fields, left_s)
            except ConnectionLost as error:
                raise OutcomeUnknown(f"{error}: look whether it took effect") from None
            response = reply["response"]
            if "Err" in response:
                raise decode_error(response["Err"], reply.get("detail"))
            return reply

        return await self._sender.send_with_retries(ask, repeatable=repeatable)

    async def get_metrics(self, endpoint: str | None = None) -> dict[str, Json]:
        """The metrics object of one node; of any one that answers if none is named."""
        if endpoint is None:
            return await self._sender.send_with_retries(self._metrics_of, any_node=True)
        reply = await self.request(endpoint, "GetMetrics", {})
        metrics: dict[str, Json] = reply["response"]
        return metrics

    async def _metrics_of(self, endpoint: str, left_s: float) -> dict[str, Json]:
        try:
            reply = await self._sender.send(endpoint, "GetMetrics", {}, left_s)
        except (ConnectionLost, OutcomeUnknown) as error:
            raise TransportError(str(error)) from None  # it only reads: ask again
        metrics: dict[str, Json] = reply["response"]
        return metrics

    async def request(
        self, endpoint: str, name: str, fields: Mapping[str, Json], timeout_s: float | None = None
    ) -> dict[str, Json]:
        """Send one message to one node, once; returns the reply's value.

        Raises:
            TransportError: the node cannot be reached.
            OutcomeUnknown: it did not answer.
            RemoteProtocolError: it did not understand.
        """
        timeout_s = self._attempt_timeout_s if timeout_s is None else timeout_s
        return await self._sender.send(endpoint, name, fields, timeout_s, patience_s=PATIENCE_S)

    # -- one attempt -----------------------------------------------------------------------------

    async def _attempt(
        self, endpoint: str, fields: Mapping[str, Json], repeatable: bool, left_s: float
    ) -> Json:
        """Ask one node once; raises retryable errors only where a retry is harmless."""
        try:
            reply = await self._sender.send(endpoint, "Perform", fields, left_s)
        except (OutcomeUnknown, ConnectionLost) as error:
            if repeatable and "session" not in fields:
                raise DeadlineExceeded(str(error)) from None
            raise OutcomeUnknown(str(error)) from None
        response: Json = reply["response"]
        ((_, body),) = response.items()
        if body.get("error") is not None:
            rejection = decode_error(body["error"], body.get("detail"))
            if isinstance(rejection, ProposalError | DiskFull):
                raise rejection
        return response
