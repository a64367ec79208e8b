"""The active version of the cluster at one replica, and when to raise it (see `qcore.core.version`).

| step | requested by | appended once |
|---|---|---|
| next number of the apply rules | the leader, without a request | every member is connected and supports it |
| before rules 5: the members' public keys | the leader, without a request | every member has proved its key |
| next version of the state machine | the operator: `UpgradeMachine` | every member is connected and supports it |

An entry has no effect if its version is already active, or if it names another machine than the recorded one. Every
replica decides this in the same way. Two leaders may have appended the same step.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from qcore.core.effects import ProposalAccepted
from qcore.core.entry import DurableState, Entry
from qcore.core.events import ChangeMembership, Propose
from qcore.core.log.restore import restored_versions
from qcore.core.version import (
    FIRST_VERSION,
    KEYS_SINCE_RULES,
    LATEST_RULES,
    ClusterVersion,
    VersionSupport,
    activated_versions,
)
from qcore.errors import ChangeRefused, IncompatibleVersion, OutcomeUnknown, QcoreError
from qcore.machines.interface import ApplyContext
from qcore.replica.events import PeerVersionSupport, UpgradeMachine
from qcore.replica.replica_context import ReplicaContext
from qcore.replica.requests.pending import PendingRequest

#: From these rules on, the log records which state machine the cluster runs.
MACHINE_RECORDED_SINCE_RULES: Final = 2
ADVICE_STOPPED: Final = (
    "start this node with the state machine and the program that the cluster runs; it has applied nothing of that "
    "version"
)
ADVICE_UNTOUCHED: Final = (
    "start this node with the state machine and the program that the cluster runs; "
    "its data is unchanged"
)


class Versions:
    """The active version, what the members support, and the requests to raise it.

    Args:
        replica: the replica.
        support: what this program can apply.

    Attributes:
        active: the version after the last applied entry.
        members: what each connected member supports, except for this node.
    """

    def __init__(self, replica: ReplicaContext, support: VersionSupport) -> None:
        self._replica = replica
        self.support = support
        self.active = FIRST_VERSION
        self.members: dict[int, VersionSupport] = {}
        #: The public keys of this node and of the connected members that have proved one.
        self._public_keys: dict[int, str] = {}
        self._appended_term = 0  # in which this leader appended a raise that is not applied yet
        self._upgrades: list[tuple[PendingRequest, int]] = []
        #: The active version, once it is known that this node would not raise its rules: every step asks.
        self._highest: ClusterVersion | None = None

    @property
    def idle(self) -> bool:
        """True if there is nothing to raise."""
        if self.active is not self._highest:
            if self.active.rules < self.support.rules_max:
                return False
            self._highest = self.active
        return not self._upgrades

    def initial_version(self) -> ClusterVersion | None:
        """The version that a new cluster begins with; None for rules 1, whose logs record none."""
        support = self.support
        if support.rules_max == FIRST_VERSION.rules:
            return None
        return ClusterVersion(support.rules_max, support.machine, support.machine_max)

    def apply_context(self, entry: Entry) -> ApplyContext:
        """The context that the state machine receives with the command of an entry."""
        active = self.active
        return ApplyContext(
            entry.index, entry.time_us, active.machine_version, entry.clock_us, active.rules
        )

    def on_restored(self, version: ClusterVersion) -> None:
        """The state was restored from a snapshot with this version.

        Raises:
            IncompatibleVersion: this program cannot apply what follows it.
        """
        check_supported(version, self.support, ADVICE_STOPPED)
        self.active = version

    def apply(self, entry: Entry) -> str:
        """Apply an entry of kind `version`; return the version that is active afterwards.

        Raises:
            IncompatibleVersion: this program cannot apply what follows it.
        """
        requested = ClusterVersion.from_json(entry.data)
        self._appended_term = 0
        if requested.takes_effect_after(self.active):
            check_supported(requested, self.support, ADVICE_STOPPED)
            self.active = requested
        return self.active.to_json()

    def on_peer_version_support(self, event: PeerVersionSupport) -> None:
        """A member has reported what it supports, or is no longer connected."""
        if event.public_key:
            self._public_keys[event.peer_id] = event.public_key
        elif event.support is None:
            self._public_keys.pop(event.peer_id, None)
        if event.peer_id == self._replica.core.node_id:
            return
        if event.support is None:
            self.members.pop(event.peer_id, None)
        else:
            self.members[event.peer_id] = event.support

    # -- raising ---------------------------------------------------------------------------------

    def upgrade(self, event: UpgradeMachine) -> None:
        """Accept a request to raise the state machine's version; it ends in one `Reply`."""
        request = self._replica.start_request(event.request_id, event.timeout_ms)
        wanted = event.version or self.support.machine_max
        rejection = self._upgrade_rejection(wanted)
        if rejection is not None:
            self._replica.fail(request, rejection)
        elif wanted == self.active.machine_version:
            self._replica.succeed(request, self.active.to_json(), self._replica.applied_index)
        else:
            self._upgrades.append((request, wanted))

    def advance(self, wall_us: int) -> None:
        """After each step: give the finished requests their outcome, and append the next raise if it is time."""
        core = self._replica.core
        self._upgrades = [item for item in self._upgrades if not self._settled(*item)]
        if not self._is_current or self._appended_term == core.term:
            return
        active = self.active
        if active.rules < self.support.rules_max:
            # The step to rules 2 records which machine the cluster runs.
            step = replace(active, rules=active.rules + 1, machine=self.support.machine)
        elif self._upgrades:
            step = replace(active, machine_version=active.machine_version + 1)
        else:
            return
        if self._unsupported_reason(step) is not None:
            return
        if step.rules >= KEYS_SINCE_RULES > active.rules and not self._keys_committed(wall_us):
            return
        if self._is_current:  # appending the keys may have ended the leadership
            effects = self._replica.step_core(Propose([step.to_json()], wall_us, ["version"]))
            if isinstance(effects[0], ProposalAccepted):
                self._appended_term = core.term

    def raise_waits_for(self) -> str | None:
        """On a leader with older rules than the latest: the members for which it waits; None if it waits for none."""
        core, wanted = self._replica.core, self.active.rules + 1
        if core.role != "leader" or wanted > LATEST_RULES:
            return None
        if wanted > self.support.rules_max:
            return f"node {core.node_id} supports only up to {self.support.rules_max} (--max-rules)"
        waiting = []
        for member in core.membership.members():
            support = self.support if member == core.node_id else self.members.get(member)
            if support is None:
                waiting.append(f"node {member} is not connected")
            elif not support.rules_min <= wanted <= support.rules_max:
                waiting.append(f"node {member} supports only up to {support.rules_max}")
        return "; ".join(waiting) or None

    def _keys_committed(self, wall_us: int) -> bool:
        """Whether the committed configuration has the members' public keys. If not, append one that has them.

        The keys are those that the members have proved to own on their current connections: they are trusted on first
        use, and from then on they stay.
        """
        core = self._replica.core
        if core.node_id not in self._public_keys:
            return True  # the members of this cluster need no keys
        membership = core.membership
        if core.membership_index > core.commit_index or membership.is_joint:
            return False
        if membership.keys:
            return True
        known = self._public_keys
        keys = tuple((node, known[node]) for node in membership.members() if node in known)
        if len(keys) == len(membership.members()):
            self._replica.step_core(
                ChangeMembership(
                    membership.voters,
                    membership.learners,
                    (),
                    wall_us,
                    core.membership_index,
                    keys=keys,
                )
            )
        return False

    def expire(self, request: PendingRequest) -> QcoreError | None:
        """The error for an upgrade whose deadline has come; None if the request is not one of these."""
        for item in self._upgrades:
            if item[0] is request:
                self._upgrades.remove(item)
                unsupported = self._unsupported_reason(
                    replace(self.active, machine_version=item[1])
                )
                why = "" if unsupported is None else f" ({unsupported})"
                return OutcomeUnknown(
                    f"the state machine's version was not raised in time{why}; it may still happen: check the "
                    "cluster's status"
                )
        return None

    def _settled(self, request: PendingRequest, wanted: int) -> bool:
        replica = self._replica
        if self.active.machine_version >= wanted:
            replica.succeed(request, self.active.to_json(), replica.applied_index)
        elif replica.core.role != "leader":
            replica.fail(
                request,
                OutcomeUnknown(
                    "this node lost the leadership before the state machine's version was raised: check the "
                    "cluster's status, and retry"
                ),
            )
        else:
            return False
        return True

    @property
    def _is_current(self) -> bool:
        """True if `active` is the newest committed version. A raise that is committed may not be applied yet."""
        return self._replica.core.has_committed_in_term and not self._replica.has_apply_backlog

    def _upgrade_rejection(self, wanted: int) -> QcoreError | None:
        core, active = self._replica.core, self.active
        if core.role != "leader":
            return self._replica.not_leader()
        if not self._is_current:
            return ChangeRefused(
                "not_ready",
                "this leader has not yet committed and applied an entry in its current term: retry in a moment",
            )
        if not active.machine:
            return ChangeRefused(
                "not_ready",
                f"the cluster's apply rules are version {active.rules}, which do not record the state machine: they "
                "are raised once every member runs this version of qcore and is connected",
            )
        if wanted < active.machine_version:
            return ChangeRefused(
                "going_back",
                f"version {active.machine_version} of state machine {active.machine!r} is active, and versions never "
                "go back",
            )
        unsupported = self._unsupported_reason(replace(active, machine_version=wanted))
        return None if unsupported is None else ChangeRefused("unsupported", unsupported)

    def _unsupported_reason(self, version: ClusterVersion) -> str | None:
        """Why a member could not apply this version; None if all could."""
        core = self._replica.core
        for member in core.membership.members():
            support = self.support if member == core.node_id else self.members.get(member)
            if support is None:
                why = self._replica.silence_reason(member)
                return f"node {member} is not connected ({why}): what it supports is not known"
            fault = support.incompatibility_with(version)
            if fault is not None:
                return f"node {member} cannot follow: {fault}: upgrade it first"
        return None


def check_supported(
    version: ClusterVersion, support: VersionSupport, advice: str = ADVICE_UNTOUCHED
) -> None:
    """Raise an error if this program cannot apply a version.

    Args:
        version: the version that will be active.
        support: what this program supports.
        advice: ends the text of the error.

    Raises:
        IncompatibleVersion: names the active and the supported versions.
    """
    fault = support.incompatibility_with(version)
    if fault is not None:
        raise IncompatibleVersion(f"{fault}: {advice}")


def check_all_supported(durable: DurableState, support: VersionSupport) -> None:
    """Compare every version in a node's log and snapshot, committed or not, with what its program supports.

    Raises:
        IncompatibleVersion: the program does not support one of them.
        LogCorrupt: an entry of kind `version` holds no version.
    """
    versions = activated_versions(version for _, version in restored_versions(durable))
    if not durable.entries and durable.snapshot is None:
        return
    for version in versions:
        check_supported(version, support)
    if (
        versions[-1].rules < MACHINE_RECORDED_SINCE_RULES
        and support.machine_min > versions[-1].machine_version
    ):
        raise IncompatibleVersion(
            f"the cluster's apply rules are version {versions[-1].rules}, which allow only version "
            f"{versions[-1].machine_version} of a state machine, and this program's {support.machine!r} does not "
            f"support that version: {ADVICE_UNTOUCHED}"
        )
