"""`NodeAccess`: who may use one node: puts together what this package holds."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Final

from qcore.errors import Overloaded, Unauthenticated
from qcore.node.access.access_gate import AccessGate
from qcore.node.access.audit_log import AuditLog, LineSink
from qcore.node.access.join_token_requests import JoinTokenRequestHandler
from qcore.node.access.passwords import Passwords
from qcore.node.access.proofs import LOGIN_TTL_S, Proofs
from qcore.node.access.user_requests import UserRequestHandler
from qcore.node.config import NodeConfig
from qcore.node.runtime.submit_event import GetPermission
from qcore.replica.peers.identity import ClusterIdentity
from qcore.replica.replica import Replica
from qcore.runtime.interface import Runtime
from qcore.security.keys.node_key import NodeKey
from qcore.security.users.password import PasswordHashing
from qcore.transport.server.server import MessageHandler

#: The retry hint while this node has not applied the log yet, ms.
_LAG_MS: Final = 50


class NodeAccess:
    """The users at one node.

    Args:
        replica: holds the users.
        identity: the node's cluster.
        key: the node's key pair.
        config: the node's id, and how long a change may take.
        get_permission: see `GetPermission`.
        audit_sink: gets the lines of the audit log, or None.
        runtime: the world that the node runs in.
        hashing: makes and checks the hashes of passwords.

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
        audit_sink: LineSink | None,
        runtime: Runtime,
        hashing: PasswordHashing,
    ) -> None:
        self._runtime = runtime
        self._replica = replica
        self._proofs = Proofs(replica, lambda: identity.cluster_id, key, config.node_id, runtime)
        passwords = Passwords(replica.access, runtime, hashing)
        audit = AuditLog(audit_sink, runtime.wall_us, runtime.seconds)
        self.gate = AccessGate(replica.access, self._proofs, passwords, audit)
        self._requests = UserRequestHandler(
            replica.access,
            replica.core,
            self.gate,
            self._proofs,
            passwords,
            audit,
            get_permission,
            config.request_timeout_ms,
        )

        self._join_tokens = JoinTokenRequestHandler(
            replica.access,
            replica.core,
            self._proofs.time,
            audit,
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
            f"the program of this node acts as the user {name!r}, which does not exist: add it"
        )

    def tick(self) -> None:
        """Follow the cluster clock. Call it every second or so."""
        self._proofs.time.now_us()


def _import_libraries() -> None:
    for name in ("argon2.low_level", "jwt"):
        importlib.import_module(name)
