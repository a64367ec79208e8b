"""`NodeAccess`: who may use one node: puts together what this package holds."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Mapping
from typing import Final

from qcore.errors import Overloaded, Unauthenticated
from qcore.node.access.access_gate import AccessGate
from qcore.node.access.audit.audit_log import AuditLog, LineSink
from qcore.node.access.audit.logins import Logins
from qcore.node.access.join_token_requests import JoinTokenRequestHandler
from qcore.node.access.passwords import Passwords
from qcore.node.access.proofs import LOGIN_TTL_S, Proofs
from qcore.node.access.user_requests import UserRequestHandler
from qcore.node.config import NodeConfig
from qcore.node.observability.logs import NodeLog
from qcore.node.observability.metrics import NodeMetrics
from qcore.node.runtime.submit_event import GetPermission, SubmitEvent
from qcore.replica.access.awaited_users import AwaitedUsers
from qcore.replica.events import ClientRequest, Reply
from qcore.replica.peers.identity import ClusterIdentity
from qcore.replica.replica import Replica
from qcore.runtime.interface import Runtime
from qcore.security.keys.node_key import NodeKey
from qcore.security.users.password import PasswordHashing
from qcore.transport.server.server import MessageHandler

#: The retry hint while this node has not applied the log yet, ms.
_LAG_MS: Final = 50
#: How long a login waits for the newest users, ms. A node with a majority has them in less time.
_CATCH_UP_MS: Final = 1000


class NodeAccess:
    """The users at one node.

    Args:
        replica: holds the users.
        identity: the node's cluster.
        key: the node's key pair.
        config: the node's id, and how long a change may take.
        get_permission: see `GetPermission`.
        submit_event: see `SubmitEvent`.
        audit_sink: gets the lines of the audit log, or None.
        runtime: the world that the node runs in.
        hashing: makes and checks the hashes of passwords.
        metrics, log: count and report logins that fail.

    Attributes:
        gate: decides which requests pass.
    """

    def __init__(
        self,
        replica: Replica,
        identity: ClusterIdentity,
        key: NodeKey,
        config: NodeConfig,
        get_permission: GetPermission,
        submit_event: SubmitEvent,
        audit_sink: LineSink | None,
        runtime: Runtime,
        hashing: PasswordHashing,
        metrics: NodeMetrics,
        log: NodeLog,
    ) -> None:
        self._runtime = runtime
        self._replica = replica
        self._submit_event = submit_event
        self._proofs = Proofs(replica, lambda: identity.cluster_id, key, config.node_id, runtime)
        passwords = Passwords(replica.access, runtime, hashing, self._catch_up)
        audit = self._audit = AuditLog(audit_sink, runtime.wall_us, runtime.seconds)
        logins = self._logins = Logins(audit, metrics, log, runtime.seconds)
        awaited = AwaitedUsers(replica.core, lambda: replica.applied_index)
        self.gate = AccessGate(
            replica.access, awaited, self._proofs, passwords, audit, self._index_of, logins
        )
        self._requests = UserRequestHandler(
            replica.access,
            awaited,
            replica.core,
            self.gate,
            self._proofs,
            passwords,
            logins,
            get_permission,
            config.request_timeout_ms,
        )

        self._join_tokens = JoinTokenRequestHandler(
            replica.access,
            replica.core,
            self._proofs.time,
            get_permission,
            config.request_timeout_ms,
        )

    def guarded(
        self, handlers: Mapping[type, MessageHandler], perform_type: type
    ) -> dict[type, MessageHandler]:
        """These handlers and those of the messages about users, behind the gate; see `AccessGate.guarded`."""
        own = {**self._requests.handlers, **self._join_tokens.handlers}
        return self.gate.guarded({**handlers, **own}, perform_type)

    def start(self) -> None:
        """Import the libraries in a thread, because on the event loop the first login would wait 0.1 s for them."""
        self.gate.run(self._runtime.run_long(_import_libraries))

    def own_token(self, name: str) -> str | None:
        """A token for a client within this process, which acts as the user `name`; None while there are no users.

        Raises:
            Unauthenticated: there is no such user, or this node cannot issue tokens.
            Overloaded: this node may not know the user yet.
        """
        core, users = self._replica.core, self._replica.access
        if not users.active:
            return None
        user = users.user(name)
        if user is not None:
            return self._proofs.issue(user, LOGIN_TTL_S)[0]
        if core.leader_id is None or self._replica.applied_index < core.commit_index:
            raise Overloaded.because("this node may not know all users yet", _LAG_MS)
        raise Unauthenticated(
            f'the program of this node acts as the user "{name}", which does not exist: add it'
        )

    def tick(self) -> None:
        """Follow the cluster clock, and write what is due of the audit log. Call it every second or so."""
        self._proofs.time.now_us()
        self._logins.tick()
        self._audit.tick()

    def close(self) -> None:
        """Cancel the password checks in progress, and write what the audit log and the log still miss."""
        self.gate.close()
        self._logins.tick(at_end=True)
        self._audit.tick(at_end=True)

    async def _catch_up(self) -> None:
        """Wait until this node has applied everything acknowledged before, or stop if no majority confirms it.

        It waits as a read without a user. Such a read has no right to an answer, but that is looked at last.
        """
        ended = asyncio.get_running_loop().create_future()

        def on_reply(_reply: Reply) -> None:
            if not ended.done():
                ended.set_result(None)

        self._submit_event(
            lambda number: ClientRequest(number, "follower_read", "", _CATCH_UP_MS), on_reply
        )
        await ended

    def _index_of(self, name: str) -> int | None:
        """See `IndexOf`. Messages about users note the index by themselves."""
        match name:
            case "Init" | "AddLearner" | "ChangeMembership" | "MoveMember":
                return self._replica.core.membership_index
            case "UpgradeMachine":
                return self._replica.applied_index
        return None


def _import_libraries() -> None:
    for name in ("argon2.low_level", "jwt"):
        importlib.import_module(name)
