"""`AdminRequestHandler`: executes admin requests and session requests.

Admin requests are membership changes, leadership transfers, upgrades and snapshot requests. Session requests open, keep
and close sessions. Each becomes one event of the replica, and gets one response. Only the leader executes
membership changes and transfers: other nodes reject them as `NotLeader`, with the leader's address.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Final

from qcore.core.entry import Membership
from qcore.core.version import ClusterVersion
from qcore.errors import ConfigError, NotLeader, Overloaded, QcoreError
from qcore.node.addresses.member_addresses import member_address, new_member_problem, same_address
from qcore.node.api.new_cluster import MAX_MEMBERS
from qcore.node.api.snapshot_requests import SnapshotRequestHandler
from qcore.node.peers.founder_keys import AskedPeers
from qcore.node.peers.joining_nodes import JoiningNodes
from qcore.node.peers.member_moves import MemberMoves
from qcore.node.runtime.submit_event import (
    MAX_TIMEOUT_MS,
    GetPermission,
    MakeEvent,
    Permission,
    SubmitEvent,
)
from qcore.replica import events
from qcore.replica.leadership import Leadership
from qcore.replica.replica import Replica
from qcore.replica.sessions import session_table
from qcore.security.keys.node_key import checked_public_key
from qcore.transport.server.server import MessageHandler, ServerConnection, user_of
from qcore.transport.wire import (
    ActiveVersion,
    AddLearner,
    AddLearnerResponse,
    ChangeMembership,
    ChangeMembershipResponse,
    CloseSession,
    CloseSessionResponse,
    Detail,
    KeepSession,
    KeepSessionResponse,
    MoveMember,
    MoveMemberResponse,
    Ok,
    OpenSession,
    OpenSessionResponse,
    ReinstallMember,
    ReinstallMemberResponse,
    TransferLeader,
    TransferLeaderResponse,
    UpgradeMachine,
    UpgradeMachineResponse,
    failure,
)

#: The timeout of a membership change that names none: a learner may need a snapshot first.
DEFAULT_CHANGE_TIMEOUT_MS: Final = 10_000

#: The most nodes that are asked for their keys at a time, and the retry hint beyond it.
_MAX_ASKED: Final = 8
_RETRY_MS: Final = 1000

#: Makes the response on the wire from the replica's result or error.
MakeResponse = Callable[[str | None, QcoreError | None], object]


class AdminRequestHandler:
    """Executes admin requests and session requests.

    Args:
        replica: read for the effective configuration.
        timeout_ms: the timeout of transfers and session requests.
        get_permission: see `GetPermission`.
        peers: asks new nodes for their keys, and members that move.
        submit_event: submits the entry that uses a join token.
        run: runs work that waits, until it ends or the node stops.

    Attributes:
        handlers: the handlers of these requests, by class; see `ServerHandler`.
    """

    def __init__(
        self,
        replica: Replica,
        timeout_ms: int,
        get_permission: GetPermission,
        peers: AskedPeers,
        submit_event: SubmitEvent,
        run: Callable[[Coroutine[None, None, None]], None],
    ) -> None:
        core = self._core = replica.core
        self._joining = JoiningNodes(replica, peers.ask_nodes, submit_event)
        self._moves = MemberMoves(core, peers)
        self._run = run
        self._asked = 0
        self._timeout_ms = timeout_ms
        self._get_permission = get_permission
        self._snapshots = SnapshotRequestHandler(core, timeout_ms, get_permission)
        self.handlers: dict[type, MessageHandler] = {
            TransferLeader: self._on_transfer,
            AddLearner: self._on_add_learner,
            MoveMember: self._on_move,
            ChangeMembership: self._on_change,
            UpgradeMachine: self._on_upgrade,
            ReinstallMember: self._on_reinstall,
            OpenSession: self._on_session,
            KeepSession: self._on_session,
            CloseSession: self._on_session,
            **self._snapshots.handlers,
        }

    def _on_transfer(self, connection: ServerConnection, message: TransferLeader) -> None:
        permission = self._get_permission(connection, message)
        event, respond = self._transfer(message)
        _execute(connection, event, respond, permission, permission.reject_all)

    def _on_add_learner(self, connection: ServerConnection, message: AddLearner) -> None:
        event, respond, problem = self._add_learner(message)
        if (
            problem is None
            and not message.public_key
            and self._joining.needs_token(message.node_id)
        ):
            self._ask_joining(connection, message, event, respond)
        else:
            self._write(connection, message, event, respond, problem)

    def _ask_joining(
        self,
        connection: ServerConnection,
        message: AddLearner,
        event: partial[events.AddLearner],
        respond: MakeResponse,
    ) -> None:
        """Add a node that proves a join token."""
        address = member_address(message.node_addr, "node_addr")

        async def with_key() -> MakeEvent:
            key = await self._joining.key_of(message.node_id, address, _timeout_ms(message))
            return partial(event, public_key=key)

        self._ask_first(connection, message, with_key, respond)

    def _on_move(self, connection: ServerConnection, message: MoveMember) -> None:
        moves, timeout_ms = self._moves, _timeout_ms(message)

        def event(request_id: int) -> events.ChangeMembers:
            return moves.event(request_id, {message.node_id: address}, timeout_ms)

        def respond(result: str | None, error: QcoreError | None) -> MoveMemberResponse:
            if error is not None:
                return MoveMemberResponse(message.id, *failure(error))
            return MoveMemberResponse(message.id, Ok("Success"))

        async def checked() -> MakeEvent:
            await moves.check(message.node_id, address, timeout_ms)
            return event

        try:
            address = member_address(message.node_addr, "node_addr")
        except ConfigError as problem:
            self._write(connection, message, event, respond, problem)
            return
        if self._core.role != "leader":
            self._write(connection, message, event, respond)  # rejected, with the leader's address
        elif moves.is_done(message.node_id, address):
            connection.send(respond("Success", None))
        else:
            self._ask_first(connection, message, checked, respond)

    def _ask_first(
        self,
        connection: ServerConnection,
        message: AddLearner | MoveMember,
        ask: Callable[[], Awaitable[MakeEvent]],
        respond: MakeResponse,
    ) -> None:
        """Execute a request for which this node first asks another one."""
        permission = self._get_permission(connection, message)
        rejection = permission.reject_all or permission.reject_writes
        if rejection is None and self._asked >= _MAX_ASKED:
            text = f"{_MAX_ASKED} nodes are asked for their keys already"
            rejection = Overloaded.because(text, _RETRY_MS)
        if rejection is not None:
            connection.send(respond(None, rejection))
            return

        async def work() -> None:
            try:
                event = await ask()
            except QcoreError as error:
                connection.send(respond(None, error))
            except asyncio.CancelledError:
                connection.send(respond(None, NotLeader()))  # the node stops
                raise
            else:
                self._write(connection, message, event, respond)
            finally:
                self._asked -= 1

        self._asked += 1  # before the task runs, or many requests of one frame would pass the bound
        self._run(work())

    def _on_change(self, connection: ServerConnection, message: ChangeMembership) -> None:
        event, respond = self._change(message)
        self._write(connection, message, event, respond, _invalid_change(message))

    def _on_upgrade(self, connection: ServerConnection, message: UpgradeMachine) -> None:
        self._write(connection, message, *_upgrade(message))

    def _on_reinstall(self, connection: ServerConnection, message: ReinstallMember) -> None:
        permission = self._get_permission(connection, message)
        event, respond = _reinstall(message)
        _execute(connection, event, respond, permission, permission.reject_all)

    def _on_session(
        self, connection: ServerConnection, message: OpenSession | KeepSession | CloseSession
    ) -> None:
        self._write(connection, message, *self._session(message, user_of(connection)))

    def _write(
        self,
        connection: ServerConnection,
        message: object,
        event: MakeEvent,
        respond: MakeResponse,
        problem: QcoreError | None = None,
    ) -> None:
        """Execute a request that writes to the log, unless there is a problem with it."""
        permission = self._get_permission(connection, message)
        rejection = permission.reject_all or permission.reject_writes or problem
        _execute(connection, event, respond, permission, rejection)

    def _add_learner(
        self, message: AddLearner
    ) -> tuple[partial[events.AddLearner], MakeResponse, ConfigError | None]:
        problem: ConfigError | None = None
        try:
            address = _checked_address(message, self._core.membership)
            key = message.public_key and checked_public_key(message.public_key, "public_key")
        except ConfigError as error:
            address, key, problem = "", None, error
        event = partial(
            events.AddLearner,
            node_id=message.node_id,
            address=address,
            timeout_ms=_timeout_ms(message),
            public_key=key or "",
        )

        def respond(result: str | None, error: QcoreError | None) -> AddLearnerResponse:
            if error is not None:
                return AddLearnerResponse(message.id, *failure(error))
            return AddLearnerResponse(message.id, Ok("Success"))

        return event, respond, problem

    def _change(self, message: ChangeMembership) -> tuple[MakeEvent, MakeResponse]:
        """Build a membership change. If the request names no `learners`, the current learners stay.

        The current learners are those of the effective configuration at this node. Then the change is rejected if that
        configuration is no longer effective when it is proposed.
        """
        members, learners = tuple(message.members), message.learners
        expected = message.expected_index
        if learners is None:
            membership = self._core.membership
            learners = [node for node in membership.learners if node not in members]
            expected = self._core.membership_index if expected is None else expected
        event = partial(
            events.ChangeMembers,
            voters=members,
            learners=tuple(learners),
            addresses=(),
            timeout_ms=_timeout_ms(message),
            expected_index=expected,
        )

        def respond(result: str | None, error: QcoreError | None) -> ChangeMembershipResponse:
            if error is not None:
                return ChangeMembershipResponse(message.id, *failure(error))
            return ChangeMembershipResponse(message.id, Ok("Success"))

        return event, respond

    def _transfer(self, message: TransferLeader) -> tuple[MakeEvent, MakeResponse]:
        def respond(result: str | None, error: QcoreError | None) -> TransferLeaderResponse:
            if error is not None:
                return TransferLeaderResponse(message.id, *failure(error))
            assert result is not None, "an outcome is a result or an error"
            led = Leadership.from_json(result)
            detail: Detail = {"leader_id": led.leader_id, "term": led.term}
            return TransferLeaderResponse(message.id, Ok("Success"), detail)

        event = partial(events.TransferLeader, to=message.to, timeout_ms=self._timeout_ms)
        return event, respond

    def _session(
        self, message: OpenSession | KeepSession | CloseSession, user: str
    ) -> tuple[MakeEvent, MakeResponse]:
        if isinstance(message, OpenSession):
            payload = session_table.open_session_payload(message.lifetime_ms)
        elif isinstance(message, KeepSession):
            payload = session_table.keep_session_payload(message.session)
        else:
            payload = session_table.close_session_payload(message.session)

        def respond(result: str | None, error: QcoreError | None) -> object:
            if isinstance(message, OpenSession):
                if error is not None:
                    return OpenSessionResponse(message.id, *failure(error))
                assert result is not None, "an outcome is a result or an error"
                return OpenSessionResponse(message.id, Ok(int(result)))
            made = KeepSessionResponse if isinstance(message, KeepSession) else CloseSessionResponse
            if error is not None:
                return made(message.id, *failure(error))
            return made(message.id, Ok(None))

        event = partial(
            events.ClientRequest,
            kind="session",
            payload=payload,
            timeout_ms=self._timeout_ms,
            user=user,
        )
        return event, respond


def _execute(
    connection: ServerConnection,
    event: MakeEvent,
    respond: MakeResponse,
    permission: Permission,
    rejection: QcoreError | None,
) -> None:
    if rejection is not None:
        connection.send(respond(None, rejection))
    else:
        permission.submit_event(
            event, lambda outcome: connection.send(respond(outcome.result, outcome.error))
        )


def _upgrade(message: UpgradeMachine) -> tuple[MakeEvent, MakeResponse]:
    event = partial(events.UpgradeMachine, version=message.version, timeout_ms=_timeout_ms(message))

    def respond(result: str | None, error: QcoreError | None) -> UpgradeMachineResponse:
        if error is not None:
            return UpgradeMachineResponse(message.id, *failure(error))
        assert result is not None, "an outcome is a result or an error"
        active = ClusterVersion.from_json(result)
        return UpgradeMachineResponse(
            message.id, Ok(ActiveVersion(active.rules, active.machine, active.machine_version))
        )

    return event, respond


def _reinstall(message: ReinstallMember) -> tuple[MakeEvent, MakeResponse]:
    event = partial(
        events.ReinstallMember, node_id=message.node_id, timeout_ms=_timeout_ms(message)
    )

    def respond(result: str | None, error: QcoreError | None) -> ReinstallMemberResponse:
        if error is not None:
            return ReinstallMemberResponse(message.id, *failure(error))
        assert result is not None, "an outcome is a result or an error"
        return ReinstallMemberResponse(message.id, Ok(int(result)))

    return event, respond


def _timeout_ms(
    message: AddLearner | MoveMember | ChangeMembership | UpgradeMachine | ReinstallMember,
) -> int:
    timeout_ms = DEFAULT_CHANGE_TIMEOUT_MS if message.timeout_ms is None else message.timeout_ms
    return min(timeout_ms, MAX_TIMEOUT_MS)


def _invalid_change(message: ChangeMembership) -> ConfigError | None:
    """Why this change cannot be intended, or None.

    A node that is named twice is a typing error: the operator may have meant another node.
    """
    for name, ids in (("members", message.members), ("learners", message.learners or [])):
        if len(ids) > MAX_MEMBERS:
            return ConfigError(
                f"{name}: {len(ids)} nodes are named; a cluster has at most {MAX_MEMBERS}"
            )
        twice = sorted({node for node in ids if ids.count(node) > 1})
        if twice:
            return ConfigError(f"{name}: node {twice[0]} is named twice in {ids}")
    return None


def _checked_address(message: AddLearner, membership: Membership) -> str:
    """The new member's address in canonical spelling, or as the configuration spells it if it is there already.

    Raises:
        ConfigError: the node cannot become a member, or cannot have this address.
    """
    if len(membership.addresses) >= MAX_MEMBERS and not membership.address_of(message.node_id):
        raise ConfigError(f"the cluster has {MAX_MEMBERS} members, and cannot have more")
    address = member_address(message.node_addr, "node_addr")
    configured = membership.address_of(message.node_id)
    if configured is not None and same_address(configured, address):
        return configured
    problem = new_member_problem(message.node_id, address, dict(membership.addresses))
    if problem is not None:
        raise ConfigError(f"node_addr: {problem}")
    return address
