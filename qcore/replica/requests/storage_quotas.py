"""Storage quotas: the leader rejects commands that may add to the state or the log while either is too large.

A quota must not lock the cluster. What makes room is never rejected: reads, deletes, the end of sessions, admin
requests, users. Nothing has to be reset: the leader compares with the current use, so it accepts commands again as soon
as the use has fallen.

**State.** The use is the size of the state and that of the log behind it, which is about to become state. So requests
that are in progress cannot exceed the quota together. A command whose effect is larger than its text can: by that
effect.

**Log.** A node takes a snapshot long before the quota, whatever its policy (`SnapshotBuilder.due`), and a snapshot
removes the log before it. So only a cluster whose snapshots cannot keep pace reaches the quota. The commands that make
room need a little log, too: they have an eighth more.

Only the leader judges, with its own settings. The outcome is not part of the replicated rules, so members may have
different settings, for example while an operator raises a quota on one node after the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from qcore.compiled_build import register_copies
from qcore.errors import QuotaExceeded
from qcore.machines.interface import StateMachine, counted_part
from qcore.replica.config import ReplicaConfig
from qcore.replica.replica_context import ReplicaContext
from qcore.replica.requests.pending import AnyRequestKind, PendingRequest
from qcore.replica.sessions.session_table import command_of_session
from qcore.replica.snapshot_builder import SnapshotBuilder

#: The part of the log quota by which commands that make room may exceed it.
_RESERVE: Final = 8
#: When a client may retry a command that the log had no room for: snapshots take some seconds.
_SNAPSHOT_MS: Final = 1_000


@dataclass(frozen=True)
class QuotaUse:
    """One quota of one node.

    Attributes:
        name: as in `qcore.errors.QuotaExceeded.quota`.
        limit: the configured limit; 0 for none.
        use: what is used now; for `disk` what is free. None for the rates, which differ from client to client.
        refused: how many requests this node has rejected because of it, since its start.
        reached: whether it is used up now.
    """

    name: str
    limit: int
    use: int | None
    refused: int
    reached: bool


class StorageQuotas:
    """The quotas of one replica.

    Args:
        replica: the replica.
        config: the quotas.
        machine: the state machine.
        snapshots: knows the size of the newest snapshot, for machines that do not count the bytes of their state.
    """

    def __init__(
        self,
        replica: ReplicaContext,
        config: ReplicaConfig,
        machine: StateMachine,
        snapshots: SnapshotBuilder,
    ) -> None:
        self._replica = replica
        self._machine = counted_part(machine)
        self._snapshots = snapshots
        self._state_limit = config.state_quota_bytes
        self._log_limit = config.log_quota_bytes
        self._refused = {"state": 0, "log": 0}

    @property
    def snapshot_bytes(self) -> int:
        """About the bytes of the next snapshot; 0 if that is not known yet."""
        return max(self._snapshots.size, self._state_bytes())

    @property
    def stored_snapshot_bytes(self) -> int:
        """The bytes of the newest snapshot."""
        return self._snapshots.size

    def uses(self) -> list[QuotaUse]:
        """The use of each quota: bytes of the state, and of the log in memory, which the log on disk follows."""
        found = {
            "state": (self._state_bytes(), self._state_limit),
            "log": (self._replica.core.log_bytes_after(0), self._log_limit),
        }
        return [
            QuotaUse(name, limit, use, self._refused[name], 0 < limit <= use)
            for name, (use, limit) in found.items()
        ]

    def admit(self, batch: list[PendingRequest]) -> list[PendingRequest]:
        """Fail the requests that a quota forbids, and return the others, in the same order.

        Args:
            batch: the requests that this leader is about to append.
        """
        if not (self._state_limit or self._log_limit):
            return batch
        core, size = self._replica.core, sum(request.size or 0 for request in batch)
        log = core.log_bytes_after(0)
        state = self._state_bytes() + core.log_bytes_after(self._replica.applied_index)
        if not (0 < self._log_limit <= log + size or 0 < self._state_limit <= state + size):
            return batch
        admitted: list[PendingRequest] = []
        for request in batch:
            error = None if request.kind == "access" else self._error(request, state, log)
            if error is None:
                admitted.append(request)
                state += request.size or 0
                log += request.size or 0
            else:
                self._refused[error.quota] += 1
                self._replica.fail(request, error)
        return admitted

    def _state_bytes(self) -> int:
        return self._snapshots.size if self._machine is None else self._machine.state_bytes

    def _error(self, request: PendingRequest, state: int, log: int) -> QuotaExceeded | None:
        """The error for a request, if state and log are as large as this."""
        limit = self._log_limit
        if 0 < limit <= log and (
            log >= limit + limit // _RESERVE or self.may_grow(request.kind, request.payload)
        ):
            return QuotaExceeded(
                f"the log has {log} bytes, and its quota is {limit} (log_quota_bytes): retry in some seconds, when a "
                "snapshot has replaced it; if the error stays, look for the reason in the log lines of the leader",
                "log",
                limit,
                log,
                _SNAPSHOT_MS,
            )
        limit = self._state_limit
        if 0 < limit <= state and self.may_grow(request.kind, request.payload):
            advice = "delete something, or raise" if self._machine is not None else "raise"
            return QuotaExceeded(
                f"the state has {state} bytes with what is in progress, and its quota is {limit}: {advice} "
                "state_quota_bytes of every node",
                "state",
                limit,
                state,
            )
        return None

    def may_grow(self, kind: AnyRequestKind, payload: str) -> bool:
        """Whether a request that goes through the log may make the state larger."""
        if kind not in ("write", "session"):
            return False
        command = payload if kind == "write" else command_of_session(payload)
        if command is None:
            return (
                False  # sessions themselves have bounds: see `qcore.replica.sessions.session_table`
            )
        return self._machine is None or self._machine.may_grow(command)


register_copies(globals())
