"""The active version of the cluster, as one replica has applied it, and when to raise it (`qcore.core.version`).

| what | who asks | appended once |
|---|---|---|
| next number of the apply rules | nobody: the leader does it by itself | every member is connected and supports it |
| next version of the state machine | the operator: `UpgradeMachine` | likewise |

An entry that asks for what is active already, or for another machine than the recorded one, changes nothing, on every
replica alike: two leaders may have appended the same step.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from qcore.core.effects import ProposalAccepted
from qcore.core.entry import DurableState, Entry
from qcore.core.events import Propose
from qcore.core.log.restore import restored_versions
from qcore.core.version import FIRST_VERSION, ClusterVersion, VersionSupport, activated_versions
from qcore.errors import ChangeRefused, IncompatibleVersion, OutcomeUnknown, QcoreError
from qcore.machines.interface import ApplyContext
from qcore.replica.events import PeerVersionSupport, UpgradeMachine
from qcore.replica.owner import ReplicaContext
from qcore.replica.requests.pending import PendingRequest

#: From these rules on the log says which state machine the cluster runs.
MACHINE_RECORDED_SINCE_RULES: Final = 2
ADVICE_STOPPED: Final = (
    "start this node with the state machine and the program that the cluster runs; it has applied nothing of that "
    "version"
)
ADVICE_UNTOUCHED: Final = (
    "start this node with the state machine and the program that the cluster runs; "
    "its data is as it was"
)


class Versions:
    """The active version, what the members support, and the requests to raise it.

    Args:
        replica: the replica.
        support: what this program can apply.

    Attributes:
        active: the version as of the last applied entry.
        members: what each member says that it supports, as far as it is connected; without this node.
    """

    def __init__(self, replica: ReplicaContext, support: VersionSupport) -> None:
        self._replica = replica
        self.support = support
        self.active = FIRST_VERSION
        self.members: dict[int, VersionSupport] = {}
        self._appended_term = 0  # in which this leader appended a raise that is not applied yet
        self._upgrades: list[tuple[PendingRequest, int]] = []

    @property
    def idle(self) -> bool:
        """Whether there is nothing to raise."""
        return self.active.rules >= self.support.rules_max and not self._upgrades

    def initial_version(self) -> ClusterVersion | None:
        """The version that a new cluster begins with; None for rules 1, whose logs do not say."""
        support = self.support
        if support.rules_max == FIRST_VERSION.rules:
            return None
        return ClusterVersion(support.rules_max, support.machine, support.machine_max)

    def apply_context(self, entry: Entry) -> ApplyContext:
        """What the state machine is told with the command of an entry."""
        active = self.active
        return ApplyContext(
            entry.index, entry.time_us, active.machine_version, entry.clock_us, active.rules
        )

    def on_restored(self, version: ClusterVersion) -> None:
        """The state is now that of a snapshot with this version.

        Raises:
            IncompatibleVersion: this program cannot apply what follows it.
        """
        check_supported(version, self.support, ADVICE_STOPPED)
        self.active = version

    def apply(self, entry: Entry) -> str:
        """Apply an entry of kind `version`; returns the version that is active then.

        Raises:
            IncompatibleVersion: this program cannot apply what follows it.
        """
        asked = ClusterVersion.from_json(entry.data)
        self._appended_term = 0
        if asked.takes_effect_after(self.active):
            check_supported(asked, self.support, ADVICE_STOPPED)
            self.active = asked
        return self.active.to_json()

    def on_peer_version_support(self, event: PeerVersionSupport) -> None:
        """A member said what it supports, or its connection is gone."""
        if event.support is None:
            self.members.pop(event.peer_id, None)
        else:
            self.members[event.peer_id] = event.support

    # -- raising ---------------------------------------------------------------------------------

    def upgrade(self, event: UpgradeMachine) -> None:
        """Take a request to raise the state machine's version; it ends in one `Reply`."""
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
        """After each step: settle the requests that are done, and append the next raise if it is time."""
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
        if self._unsupported_reason(step) is None:
            effects = self._replica.step_core(Propose([step.to_json()], wall_us, ["version"]))
            if isinstance(effects[0], ProposalAccepted):
                self._appended_term = core.term

    def expire(self, request: PendingRequest) -> QcoreError | None:
        """The error for a request of this kind whose deadline came; None if it is not one."""
        for item in self._upgrades:
            if item[0] is request:
                self._upgrades.remove(item)
                unsupported = self._unsupported_reason(
                    replace(self.active, machine_version=item[1])
                )
                why = "" if unsupported is None else f" ({unsupported})"
                return OutcomeUnknown(
                    f"the state machine's version was not raised in time{why}; it may still be: look at the cluster's "
                    "status"
                )
        return None

    def _settled(self, request: PendingRequest, wanted: int) -> bool:
        replica = self._replica
        if request.done:
            return True
        if self.active.machine_version >= wanted:
            replica.succeed(request, self.active.to_json(), replica.applied_index)
        elif replica.core.role != "leader":
            replica.fail(
                request,
                OutcomeUnknown(
                    "this node lost the leadership before the state machine's version was raised: look at the "
                    "cluster's status, and ask again"
                ),
            )
        else:
            return False
        return True

    @property
    def _is_current(self) -> bool:
        """Whether `active` is what this leader's log says: it may hold a raise that is committed and not applied."""
        return self._replica.core.has_committed_in_term and not self._replica.has_apply_backlog

    def _upgrade_rejection(self, wanted: int) -> QcoreError | None:
        core, active = self._replica.core, self.active
        if core.role != "leader":
            return self._replica.not_leader()
        if not self._is_current:
            return ChangeRefused(
                "not_ready",
                "this leader has not committed and applied an entry of its own term yet: retry in a moment",
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
        """Why some member could not apply this version, or None."""
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
    """Stop a program that cannot apply this version.

    Args:
        version: will be active.
        support: of this program.
        advice: ends the text of the error.

    Raises:
        IncompatibleVersion: says what is active and what is supported.
    """
    fault = support.incompatibility_with(version)
    if fault is not None:
        raise IncompatibleVersion(f"{fault}: {advice}")


def check_all_supported(durable: DurableState, support: VersionSupport) -> None:
    """Compare every version that a node's log and snapshot name, committed or not, with what its program supports.

    Raises:
        IncompatibleVersion: as `require`.
        LogCorrupt: an entry of kind `version` holds none.
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
            f"the cluster's apply rules are version {versions[-1].rules}: they know version "
            f"{versions[-1].machine_version} of a state machine only, and this program's {support.machine!r} does not "
            f"support it: {ADVICE_UNTOUCHED}"
        )
