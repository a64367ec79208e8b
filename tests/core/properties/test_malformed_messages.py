"""Peers may send anything: no message raises out of `step`, and the term moves only by the rules."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qcore.core import DurableState, Entry, HardState, Membership, RaftConfig, RaftCore
from qcore.core.effects import (
    AppendLog,
    Effect,
    MessageDropped,
    SaveHardState,
    StoreSnapshot,
    TruncateLog,
)
from qcore.core.events import Campaign, MessageReceived, Propose, ReadRequested, Tick
from qcore.core.messages import (
    AppendEntries,
    AppendEntriesResponse,
    InstallSnapshot,
    InstallSnapshotResponse,
    PreVote,
    PreVoteResponse,
    RaftMessage,
    RequestVote,
    RequestVoteResponse,
    TimeoutNow,
    TimeoutNowResponse,
)
from tests.core.support.single_core import LATER, THREE, become, only, pristine, receive, restored
from tests.driver.disk import Disk

numbers = st.one_of(
    st.integers(-2, 8), st.integers(-2, 8), st.sampled_from([-(2**70), -(2**31), 2**31, 2**70])
)
nodes = st.integers(-1, 5)
id_tuples = st.lists(nodes, max_size=4).map(tuple)
memberships = st.one_of(
    st.just(THREE),
    st.builds(
        Membership,
        voters=id_tuples,
        voters_outgoing=id_tuples,
        learners=id_tuples,
        learners_next=id_tuples,
    ),
)
entries = st.builds(
    Entry,
    index=numbers,
    term=numbers,
    kind=st.sampled_from(["command", "noop", "membership", "session"]),
    data=st.one_of(
        st.sampled_from(["", "x", "{}", "[]", '{"voters":[]}', '{"voters":[0]}']),
        memberships.map(Membership.to_json),
    ),
    time_us=numbers,
)


@st.composite
def runs_of_entries(draw: st.DrawFn) -> tuple[int, int, list[Entry]]:
    """Mostly a plausible previous position and entries that follow it; sometimes anything."""
    index, term = draw(numbers), draw(numbers)
    found = draw(st.lists(entries, max_size=5))
    if draw(st.integers(0, 3)):
        found = [replace(entry, index=index + at) for at, entry in enumerate(found, start=1)]
    if draw(st.integers(0, 3)):
        terms = sorted(entry.term for entry in found)
        found = [replace(entry, term=t) for entry, t in zip(found, terms, strict=True)]
    return index, term, found


appends = st.builds(
    lambda run, term, leader, commit, number: AppendEntries(
        term, leader, run[0], run[1], commit, run[2], number
    ),
    runs_of_entries(),
    numbers,
    nodes,
    numbers,
    numbers,
)
messages: st.SearchStrategy[RaftMessage] = st.one_of(
    appends,
    appends,
    st.builds(AppendEntriesResponse, numbers, st.booleans(), numbers, numbers, numbers, numbers, numbers),
    st.builds(RequestVote, numbers, nodes, numbers, numbers, st.booleans()),
    st.builds(RequestVoteResponse, numbers, st.booleans()),
    st.builds(PreVote, numbers, numbers, nodes, numbers, numbers),
    st.builds(PreVoteResponse, numbers, numbers, st.booleans()),
    st.builds(
        InstallSnapshot,
        *(numbers, nodes, numbers, numbers, numbers, memberships, numbers, numbers, numbers, st.just("s"), numbers),
    ),
    st.builds(InstallSnapshotResponse, numbers, numbers, numbers, numbers, numbers),
    st.builds(TimeoutNow, numbers, nodes),
    st.builds(TimeoutNowResponse, numbers, st.booleans()),
)  # fmt: skip


def sender_of(message: RaftMessage, otherwise: int) -> int:
    """The sender that the message itself names, so that it is not dropped for a wrong sender alone."""
    for name in ("leader_id", "candidate_id"):
        if hasattr(message, name):
            found: int = getattr(message, name)
            return found
    return otherwise


def allowed_terms(term: int, role: str, message: RaftMessage) -> set[int]:
    """The terms that the rules for servers (figure 2) allow after the message."""
    allowed = {term}
    if message.term > term and not isinstance(message, PreVote):
        allowed.add(message.term)
    may_win = isinstance(message, PreVoteResponse) and role == "pre_candidate"
    may_take_over = isinstance(message, TimeoutNow) and role == "follower" and message.term == term
    return allowed | {term + 1} if may_win or may_take_over else allowed


class StrictDisk(Disk):
    """Requires that the ids of the writes have no gap."""

    def __init__(self, core: RaftCore) -> None:
        """A disk that holds what the core holds now."""
        status = core.status()
        hard_state = HardState(status.term, status.voted_for, 0)
        super().__init__(DurableState(hard_state, None, core.log_entries()))
        self.last_write_id: int | None = None

    def store(self, effects: list[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, SaveHardState | AppendLog | TruncateLog | StoreSnapshot):
                assert self.last_write_id in (None, effect.write_id - 1)
                self.last_write_id = effect.write_id
                self.submit(effect)
        self.sync()


ROLES = ["pristine", "follower", "pre_candidate", "candidate", "leader"]


@settings(max_examples=400)
@given(
    st.sampled_from(ROLES),
    st.lists(st.tuples(messages, nodes, st.booleans()), min_size=1, max_size=12),
)
def test_no_message_raises_or_moves_the_term_illegally(
    role: str, received: list[tuple[RaftMessage, int, bool]]
) -> None:
    core = pristine()
    if role != "pristine":
        core = become(restored((1, 1, 2), term=3, commit=2), role)
    disk = StrictDisk(core)
    for message, other, honest in received:
        sender = sender_of(message, other) if honest else other
        before = core.status()
        effects = core.step(MessageReceived(sender, message), LATER)
        after = core.status()
        disk.store(effects)
        assert after.term in allowed_terms(before.term, before.role, message)
        assert after.commit_index >= before.commit_index
        assert after.commit_index <= after.last_log_index
        assert after.applied_index == after.commit_index
        if any(isinstance(effect, MessageDropped) for effect in effects):
            assert after.last_log_index == before.last_log_index
        if sender == 1:
            assert after == before
    # The core still works: it takes events and restarts from what it wrote.
    for event in (Tick(), Propose(["x"], 0), ReadRequested(1), Campaign(), Tick()):
        disk.store(core.step(event, LATER + 10_000_000))
    assert disk.durable.entries == core.log_entries()
    again = RaftCore(RaftConfig(node_id=1), disk.durable, rng=random.Random(1), now=LATER)
    assert again.status().last_log_index == core.status().last_log_index


def test_append_over_a_committed_entry_is_dropped() -> None:
    """It cannot come from a leader. If it were stored, the terms in the log would go back."""
    core = restored((1, 1, 2), term=3, commit=3)
    wrong = [Entry(2, 1, "noop", "", 0), Entry(3, 1, "noop", "", 0), Entry(4, 1, "noop", "", 0)]
    effects = receive(core, 2, AppendEntries(3, 2, 1, 1, 4, wrong))
    assert only(effects, MessageDropped).reason == "conflicts with a committed entry"
    assert core.status().last_log_index == 3


@pytest.mark.parametrize("term", [4, 10**9])
def test_pre_votes_never_move_the_term(term: int) -> None:
    core = restored((1, 1, 2), term=3)
    receive(core, 2, PreVote(term, term + 1, 2, 9, 9))
    assert core.term == 3
