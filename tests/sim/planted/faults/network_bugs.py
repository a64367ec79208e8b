"""Bugs to plant in the core, the client or the network of a simulated cluster, for the tests of network faults."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from qcore.core import quorum
from qcore.core.dispatch import message_handlers
from qcore.core.entry import Entry
from qcore.core.leadership import election
from qcore.core.log import replication
from qcore.core.log.progress import Progress
from qcore.core.messages import AppendEntries, AppendEntriesResponse
from qcore.core.raft_server import RaftServer
from qcore.sim.workload.operations import ClientOperation
from qcore.sim.workload.sim_client import SimClient
from qcore.sim.world.corruption import CorruptFrame, checksum_of

#: Changes the code for the rest of a test.
Bug = Callable[[pytest.MonkeyPatch], None]


def never_resends(patch: pytest.MonkeyPatch) -> None:
    """A leader ignores that a follower misses entries."""
    patch.setattr(replication, "_on_rejected", lambda *_arguments: None)


def stops_after_six_rejections(patch: pytest.MonkeyPatch) -> None:
    """A leader stops to replicate to a follower once that has rejected six appends."""
    on_rejected = replication._on_rejected
    rejections: Counter[int] = Counter()
    counted: list[Progress] = []  # kept, so that no other one gets its id

    def counting(
        server: RaftServer, from_id: int, progress: Progress, response: AppendEntriesResponse
    ) -> None:
        if id(progress) not in rejections:
            counted.append(progress)
        rejections[id(progress)] += 1
        if rejections[id(progress)] < 6:
            on_rejected(server, from_id, progress, response)

    patch.setattr(replication, "_on_rejected", counting)


def truncates_what_matches(patch: pytest.MonkeyPatch) -> None:
    """A follower removes all entries after the begin of an append, although they agree with it."""

    def store(server: RaftServer, entries: list[Entry]) -> None:
        if entries:
            if server.log.term(entries[0].index) is not None:
                server.truncate(entries[0].index)
            server.append(entries)

    patch.setattr(replication, "_store", store)


def does_not_check_appends(patch: pytest.MonkeyPatch) -> None:
    """A receiver does not compare the checksum of appends."""

    def accepts(frame: CorruptFrame) -> bool:
        return isinstance(frame.payload, AppendEntries) or (
            checksum_of(frame.payload) == frame.checksum
        )

    patch.setattr(CorruptFrame, "is_intact", property(accepts))


def ignores_newer_terms(patch: pytest.MonkeyPatch) -> None:
    """A leader does not follow a leader of a newer term."""
    follow = message_handlers._follow

    def stays(server: RaftServer, *arguments: Any) -> bool:
        return server.role != "leader" and follow(server, *arguments)

    patch.setattr(message_handlers, "_follow", stays)
    patch.setattr(election, "hears_live_leader", _unless_leader(election.hears_live_leader))


def _unless_leader(original: Callable[[RaftServer], bool]) -> Callable[[RaftServer], bool]:
    return lambda server: server.role == "leader" or original(server)


def never_checks_its_quorum(patch: pytest.MonkeyPatch) -> None:
    """A leader does not step down when no follower responds."""
    patch.setattr(election, "check_quorum", lambda _server: True)


def votes_against_a_live_leader(patch: pytest.MonkeyPatch) -> None:
    """A server that hears from its leader votes for other candidates."""
    patch.setattr(election, "hears_live_leader", lambda _server: False)


def half_is_a_quorum(patch: pytest.MonkeyPatch) -> None:
    """A quorum is one voter smaller than a majority."""

    def value(voters: tuple[int, ...], values: Mapping[int, int]) -> int:
        return sorted(values.get(voter, 0) for voter in voters)[(len(voters) - 1) // 2 + 1]

    def vote(voters: tuple[int, ...], votes: Mapping[int, bool]) -> quorum.VoteResult:
        granted = sum(votes.get(voter) is True for voter in voters)
        return "won" if granted >= len(voters) // 2 else "pending"

    patch.setattr(quorum, "_majority_value", value)
    patch.setattr(quorum, "_majority_vote", vote)


def reports_timeouts_as_failures(patch: pytest.MonkeyPatch) -> None:
    """A client reports a request without an answer as one that certainly had no effect."""

    def on_timeout(client: SimClient, op: ClientOperation) -> None:
        if op.outcome is None:
            client._finish(op, "refused", "timeout")

    patch.setattr(SimClient, "time_out", on_timeout)
