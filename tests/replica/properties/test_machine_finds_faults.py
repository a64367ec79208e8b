"""Checks that `test_state_machine` can fail: it finds each broken rule of Raft or of sessions.

Each search is derandomised, so that it finds the same example each time. It runs only the rules that matter.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Generator
from typing import ClassVar

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RULE_MARKER, initialize

from qcore.core import Membership, Safeguards, Snapshot, quorum
from qcore.core.leadership import election, transfer
from qcore.core.messages import AppendEntries
from qcore.core.quorum import VoteResult
from qcore.core.raft_server import RaftServer
from qcore.core.reads import freshness, read_index
from qcore.machines.interface import ApplyContext, StateMachine
from qcore.replica.sessions import session_table
from qcore.replica.sessions.client_session import Session
from qcore.replica.sessions.session_table import ApplyOutcome, SessionTable
from tests.core.support.safety_checks import SafetyViolation
from tests.replica.properties.test_state_machine import (
    QUICK,
    ReplicaMachine,
    ReplicaMachineOfFive,
    run,
)

SEARCH = settings(
    QUICK,
    max_examples=500,
    stateful_step_count=20,
    phases=[Phase.generate],
    database=None,
    derandomize=True,
)


class Skewed(ReplicaMachine):
    """Node 1 is the preferred leader and has the slowest clock within the bound; lease reads are on."""

    @initialize(seed=st.integers(0, 1000))
    def start(self, seed: int) -> None:
        super().start(
            elections=(True, True),
            clocks="within 50 %",
            speeds=[0, 2, 2, 2],
            limits=(16, 1 << 18, 1 << 18),
            snapshot_entries=0,
            priorities=[2, 1, 1, 1],
            walls=[0, 0, 0, 0],
            bootstrap=False,
            seed=seed,
            warm=True,
        )
        self.run(1500)


class LeadersStay(ReplicaMachineOfFive):
    """Without check quorum a leader in a minority stays the leader, and its followers hear it."""

    @initialize(seed=st.integers(0, 1000))
    def start(self, seed: int) -> None:
        super().start(
            elections=(True, False),
            clocks="equal",
            speeds=[0] * 6,
            limits=(16, 1 << 18, 1 << 18),
            snapshot_entries=0,
            priorities=[1] * 6,
            walls=[0] * 6,
            bootstrap=False,
            seed=seed,
            warm=True,
        )


class LeadersStayAndNothingIsChecked(LeadersStay):
    """Freshness as in 0.1.0."""

    safeguards: ClassVar[Safeguards] = Safeguards(freshness_check=False)


class SkewedWithoutMargin(Skewed):
    """Leases last as long as the followers' promise, by the leader's clock."""

    safeguards: ClassVar[Safeguards] = Safeguards(lease_drift_margin=False)


def followers_count_from_the_receipt(patch: pytest.MonkeyPatch) -> None:
    """An append that waited on a link makes the state look fresher than it is."""

    def wrong(server: RaftServer, request: AppendEntries) -> None:
        if request.is_current and server.commit_index >= request.leader_commit:
            server.fresh_as_of = server.now

    patch.setattr(freshness, "on_append_entries", wrong)


def commands_run_again(patch: pytest.MonkeyPatch) -> None:
    """P12: a session does not check whether it has seen a sequence number."""
    right = session_table._run

    def wrong(
        session: Session, request: session_table._Run, context: ApplyContext, machine: StateMachine
    ) -> ApplyOutcome:
        session.replies.pop(request.sequence, None)
        return right(session, request, context, machine)

    patch.setattr(session_table, "_run", wrong)


def sessions_stay_behind(patch: pytest.MonkeyPatch) -> None:
    """P12: a snapshot is restored without its sessions."""

    right = SessionTable.load

    def wrong(table: SessionTable, text: str, at: int = 0) -> Generator[None, None, int]:
        begin = yield from right(table, text, at)
        table._sessions.clear()
        return begin

    patch.setattr(SessionTable, "load", wrong)


def every_read_is_confirmed(patch: pytest.MonkeyPatch) -> None:
    """P4: a leader serves reads without a confirmation that it still leads."""

    def wrong(server: RaftServer) -> dict[int, int]:
        return dict.fromkeys([*server.progress, server.node_id], server.reads.round)

    patch.setattr(read_index, "_acknowledged_rounds", wrong)


def one_half_decides(patch: pytest.MonkeyPatch) -> None:
    """A joint configuration counts only the incoming voters."""

    def value(membership: Membership, values: dict[int, int]) -> int:
        return quorum._majority_value(membership.voters, values)

    def votes(membership: Membership, votes: dict[int, bool]) -> VoteResult:
        return quorum._majority_vote(membership.voters, votes)

    patch.setattr(quorum, "quorum_value", value)
    patch.setattr(quorum, "vote_result", votes)


def snapshots_have_no_membership(patch: pytest.MonkeyPatch) -> None:
    """A server that installs a snapshot keeps its configuration."""
    right = RaftServer.reset_log

    def wrong(server: RaftServer, snapshot: Snapshot) -> None:
        before = server.memberships
        right(server, snapshot)
        server.memberships = before
        server.membership_index, server.membership = before[-1]

    patch.setattr(RaftServer, "reset_log", wrong)


def configurations_stay(patch: pytest.MonkeyPatch) -> None:
    """P8: a truncated configuration stays effective."""
    right = RaftServer.truncate

    def wrong(server: RaftServer, from_index: int) -> None:
        before = list(server.memberships)
        right(server, from_index)
        server.memberships = before
        server.membership_index, server.membership = before[-1]

    patch.setattr(RaftServer, "truncate", wrong)


def transfers_keep_the_lease(patch: pytest.MonkeyPatch) -> None:
    """P6: the old leader serves lease reads although the target has won."""
    right = transfer._ask

    def wrong(server: RaftServer, target: int, *, by_priority: bool) -> None:
        right(server, target, by_priority=by_priority)
        server.lease_void = False

    patch.setattr(transfer, "_ask", wrong)


def restarts_break_promises(patch: pytest.MonkeyPatch) -> None:
    """A restarted server breaks its lease promise."""
    right = election.hears_live_leader

    def wrong(server: RaftServer) -> bool:
        server.no_vote_before = 0
        return right(server)

    patch.setattr(election, "hears_live_leader", wrong)


def nothing(patch: pytest.MonkeyPatch) -> None:
    """No patch: the configuration of the machine lacks a safeguard."""


CALM = ("run", "heal", "restart_all")
CASES: list[
    tuple[Callable[[pytest.MonkeyPatch], None], type[ReplicaMachine], tuple[str, ...], str]
] = [
    (
        nothing,
        SkewedWithoutMargin,
        ("isolate_each_leader", "part_in_two", "tick"),
        "stale read: a lease_read",
    ),
    (
        transfers_keep_the_lease,
        Skewed,
        ("deafen_each_leader", "transfer_leadership", "deliver_oldest"),
        "stale read: a lease_read",
    ),
    (
        every_read_is_confirmed,
        ReplicaMachine,
        ("isolate_each_leader", "read_everywhere"),
        "stale read: a (lease_)?read",
    ),
    (
        nothing,
        LeadersStayAndNothingIsChecked,
        ("part_in_two", "read_stale_everywhere"),
        "stale read: a stale_read",
    ),
    (
        followers_count_from_the_receipt,
        LeadersStay,
        ("part_in_two", "read_stale_everywhere"),
        "stale read: a stale_read",
    ),
    (
        commands_run_again,
        ReplicaMachine,
        ("open_session", "increment", "retry", "crash"),
        "exactly once|outcome",
    ),
    (
        sessions_stay_behind,
        ReplicaMachine,
        ("open_session", "crash", "take_a_snapshot", "a_long_pause"),
        "differs at index|session",
    ),
    (
        one_half_decides,
        ReplicaMachine,
        ("change_members", "part_in_two"),
        "commit rule|commit index|election safety|leader completeness",
    ),
    (
        snapshots_have_no_membership,
        ReplicaMachine,
        ("isolate", "add_a_learner", "change_members", "take_a_snapshot"),
        "configuration",
    ),
    (
        configurations_stay,
        ReplicaMachine,
        ("isolate_each_leader", "change_members", "add_a_learner", "write"),
        "configuration",
    ),
]


#: The searches take 6 s. In the short run another case breaks the same promise: a lease read, a stale read.
SLOWEST = (SkewedWithoutMargin, LeadersStayAndNothingIsChecked)


def with_only_rules(machine: type[ReplicaMachine], rules: tuple[str, ...]) -> type[ReplicaMachine]:
    """The machine with only these of its rules, so that a search takes seconds, not minutes."""
    kept = {*rules, *CALM}
    others = {
        name: None
        for name, value in inspect.getmembers(machine)
        if hasattr(value, RULE_MARKER) and name not in kept
    }
    return type(f"Confined{machine.__name__}", (machine,), others)


@pytest.mark.parametrize(
    ("broken", "machine", "rules", "violation"),
    [
        pytest.param(
            *case,
            id=f"{case[0].__name__}-{case[1].__name__}",
            marks=[pytest.mark.long] if case[1] in SLOWEST else [],
        )
        for case in CASES
    ],
)
def test_machine_finds_a_broken_rule(
    broken: Callable[[pytest.MonkeyPatch], None],
    machine: type[ReplicaMachine],
    rules: tuple[str, ...],
    violation: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    broken(monkeypatch)
    with pytest.raises(SafetyViolation, match=violation):
        run(with_only_rules(machine, rules), SEARCH)
