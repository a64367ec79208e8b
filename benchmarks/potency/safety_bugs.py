"""Bugs to plant in elections, replication, reads and membership. Each changes functions of the core for one run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from qcore.core import quorum
from qcore.core.dispatch import message_handlers
from qcore.core.effects import ReadReady
from qcore.core.entry import Entry, Membership
from qcore.core.leadership import election
from qcore.core.log import compaction, replication
from qcore.core.log.progress import Progress
from qcore.core.messages import (
    AppendEntries,
    InstallSnapshot,
    RequestVote,
    RequestVoteResponse,
)
from qcore.core.raft_server import RaftServer
from qcore.core.reads import freshness, read_index

Patch = pytest.MonkeyPatch


def confirms_reads_by_one_response(patch: Patch) -> None:
    """A read waits for one follower, not for a quorum."""

    def finish(server: RaftServer) -> None:
        if server.reads.in_flight is None:
            return
        number, commit, read_ids = server.reads.in_flight
        rounds = [progress.acked_round for progress in server.progress.values()]
        if max(rounds, default=number) >= number:
            server.reads.in_flight = None
            for read_id in read_ids:
                server.emit(ReadReady(read_id, commit))

    patch.setattr(read_index, "_finish_round", finish)


def confirms_reads_by_old_responses(patch: Patch) -> None:
    """A response to any earlier round confirms a read."""

    def rounds(server: RaftServer) -> dict[int, int]:
        return {
            peer: server.reads.round for peer, each in server.progress.items() if each.acked_round
        } | {server.node_id: server.reads.round}

    patch.setattr(read_index, "_acknowledged_rounds", rounds)


def reads_before_the_first_commit_of_its_term(patch: Patch) -> None:
    """A new leader serves reads at the commit index that it had as a follower."""
    patch.setattr(read_index, "_has_committed_in_term", lambda _server: True)


def forgets_its_promise_to_a_lease(patch: Patch) -> None:
    """A follower votes although a leader may still read under a lease that rests on it."""
    vote = election.on_request_vote

    def votes(server: RaftServer, from_id: int, request: RequestVote) -> None:
        server.no_vote_before = 0
        vote(server, from_id, request)

    patch.setattr(election, "is_bound_by_lease", lambda _server: False)
    patch.setattr(election, "hears_live_leader", lambda _server: False)
    patch.setattr(election, "on_request_vote", votes)


def counts_a_lease_from_the_response(patch: Patch) -> None:
    """A lease begins when the response arrives, not when its request was sent."""
    on_response = freshness.on_response

    def later(server: RaftServer, progress: Progress, number: int, sent_us: int) -> None:
        newer = progress.acked_round < number
        on_response(server, progress, number, sent_us)
        if newer:
            progress.acked_round_started_at = server.now

    patch.setattr(freshness, "on_response", later)


def needs_only_the_new_voters(patch: Patch) -> None:
    """In the joint phase, a majority of the new voters decides alone."""
    value, vote = quorum._majority_value, quorum._majority_vote

    def quorum_value(membership: Membership, values: dict[int, int]) -> int:
        return value(membership.voters, values)

    def vote_result(membership: Membership, votes: Mapping[int, bool]) -> quorum.VoteResult:
        return vote(membership.voters, votes)

    patch.setattr(quorum, "quorum_value", quorum_value)
    patch.setattr(quorum, "vote_result", vote_result)


def keeps_a_truncated_configuration(patch: Patch) -> None:
    """A truncation does not roll back the configuration that it removes."""
    truncate = RaftServer.truncate

    def keeping(server: RaftServer, from_index: int) -> None:
        kept = [*server.memberships]
        truncate(server, from_index)
        server.memberships[:] = kept
        server.membership_index, server.membership = kept[-1]

    patch.setattr(RaftServer, "truncate", keeping)


def half_is_a_quorum(patch: Patch) -> None:
    """Half of the voters decide."""

    def value(voters: tuple[int, ...], values: Mapping[int, int]) -> int:
        return sorted(values.get(voter, 0) for voter in voters)[(len(voters) - 1) // 2 + 1]

    def vote(voters: tuple[int, ...], votes: Mapping[int, bool]) -> quorum.VoteResult:
        granted = sum(votes.get(voter) is True for voter in voters)
        return "won" if granted >= len(voters) // 2 else "pending"

    patch.setattr(quorum, "_majority_value", value)
    patch.setattr(quorum, "_majority_vote", vote)


def counts_votes_of_older_terms(patch: Patch) -> None:
    """A candidate counts a vote that was given in an earlier term."""

    def on_response(server: RaftServer, from_id: int, response: RequestVoteResponse) -> None:
        if response.term > server.term:
            election.become_follower(server, response.term, None)
        elif server.role == "candidate":
            server.votes.setdefault(from_id, response.vote_granted)
            election._count_votes(server)

    patch.setitem(message_handlers._ON_MESSAGE, RequestVoteResponse, on_response)


def commits_beyond_what_agrees(patch: Patch) -> None:
    """A follower commits as far as its log reaches, also entries of which it does not know whether they agree."""
    original = replication.on_append_entries

    def on_append(server: RaftServer, from_id: int, request: AppendEntries) -> None:
        original(server, from_id, request)
        if server.log.matches(request.prev_log_index, request.prev_log_term):
            server.commit_to(min(request.leader_commit, server.log.last_index))

    patch.setattr(replication, "on_append_entries", on_append)


def keeps_conflicting_entries(patch: Patch) -> None:
    """A follower keeps the entries that it has, whatever their terms."""

    def store(server: RaftServer, entries: list[Entry]) -> None:
        new = [entry for entry in entries if entry.index > server.log.last_index]
        if new:
            server.append(new)

    patch.setattr(replication, "_store", store)


def truncates_what_agrees(patch: Patch) -> None:
    """A follower removes all entries behind the begin of an append, although they agree with it."""

    def store(server: RaftServer, entries: list[Entry]) -> None:
        if entries:
            if server.log.term(entries[0].index) is not None:
                server.truncate(entries[0].index)
            server.append(entries)

    patch.setattr(replication, "_store", store)


def does_not_compare_the_previous_entry(patch: Patch) -> None:
    """A follower accepts an append if its log is long enough, whatever the term of the previous entry."""
    original = replication.on_append_entries

    def on_append(server: RaftServer, from_id: int, request: AppendEntries) -> None:
        term = server.log.term(request.prev_log_index)
        if term is not None:
            request = replace(request, prev_log_term=min(term, request.prev_log_term))
        original(server, from_id, request)

    patch.setattr(replication, "on_append_entries", on_append)


def acknowledges_a_snapshot_too_soon(patch: Patch) -> None:
    """A follower reports a snapshot as stored before it is durable."""
    respond = compaction._respond

    def unsynced(
        server: RaftServer, from_id: int, request: InstallSnapshot, offset: int, match: int
    ) -> None:
        durable, server.durable_index = server.durable_index, max(server.durable_index, match)
        respond(server, from_id, request, offset, match)
        server.durable_index = durable

    patch.setattr(compaction, "_respond", unsynced)
