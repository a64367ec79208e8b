"""How a follower handles an append, case by case (paper, figure 2, AppendEntries)."""

from __future__ import annotations

import pytest

from qcore.core.effects import AppendLog, Apply, MessageDropped, Send, TruncateLog
from qcore.core.events import Tick
from qcore.core.messages import AppendEntries, AppendEntriesResponse
from tests.core.support.single_core import (
    LATER,
    become,
    entries,
    follow,
    only,
    receive,
    restored,
    sent_messages,
)

# The follower: term 5, log 1.1 2.1 3.2 4.2, commit 2.
CASES = [
    # prev, terms of the entries, leader's commit -> log's terms, commit, response
    pytest.param((4, 2), (), 0, (1, 1, 2, 2), 2, 4, id="heartbeat"),
    pytest.param((4, 2), (), 9, (1, 1, 2, 2), 4, 4, id="heartbeat that commits"),
    pytest.param((3, 2), (), 9, (1, 1, 2, 2), 3, 3, id="commits only what is known to agree"),
    pytest.param((4, 2), (5,), 4, (1, 1, 2, 2, 5), 4, 5, id="one more"),
    pytest.param((4, 2), (5, 5), 6, (1, 1, 2, 2, 5, 5), 6, 6, id="two more, committed"),
    pytest.param((2, 1), (2, 2, 5), 2, (1, 1, 2, 2, 5), 2, 5, id="overlap"),
    pytest.param((2, 1), (2,), 0, (1, 1, 2, 2), 2, 3, id="an old append removes nothing"),
    pytest.param((2, 1), (2, 3), 0, (1, 1, 2, 3), 2, 4, id="conflict"),
    pytest.param((2, 1), (5,), 3, (1, 1, 5), 3, 3, id="conflict removes what follows"),
    pytest.param((0, 0), (1, 1, 2, 2), 0, (1, 1, 2, 2), 2, 4, id="from the start"),
    pytest.param((0, 0), (), 0, (1, 1, 2, 2), 2, 2, id="all logs agree at the start"),
    pytest.param((1, 1), (1,), 0, (1, 1, 2, 2), 2, 2, id="within the committed prefix"),
    pytest.param((1, 9), (), 0, (1, 1, 2, 2), 2, 2, id="the committed prefix is not compared"),
    pytest.param((5, 5), (5,), 9, (1, 1, 2, 2), 2, (4, 2), id="gap"),
    pytest.param((9, 1), (), 9, (1, 1, 2, 2), 2, (2, 1), id="gap, and our tail is too new"),
    pytest.param((4, 5), (5,), 9, (1, 1, 2, 2), 2, (4, 2), id="other term, newer"),
    pytest.param((4, 1), (), 9, (1, 1, 2, 2), 2, (2, 1), id="other term, older"),
]


@pytest.mark.parametrize(("prev", "terms", "leader_commit", "log", "commit", "expected"), CASES)
def test_append_is_handled_as_in_figure_2(
    prev: tuple[int, int],
    terms: tuple[int, ...],
    leader_commit: int,
    log: tuple[int, ...],
    commit: int,
    expected: int | tuple[int, int],
) -> None:
    core = restored((1, 1, 2, 2), term=5, commit=2)
    message = AppendEntries(5, 2, *prev, leader_commit, entries(prev[0] + 1, *terms), 17)
    effects = receive(core, 2, message)
    assert tuple(entry.term for entry in core.log_entries()) == log
    assert core.commit_index == commit
    assert core.leader_id == 2
    (response,) = sent_messages(effects, AppendEntriesResponse)
    assert (response.term, response.prev_log_index, response.round) == (5, prev[0], 17)
    if isinstance(expected, int):
        assert response.success
        assert response.match_index == expected
    else:
        assert not response.success
        assert (response.hint_index, response.hint_term) == expected
    writes = [e for e in effects if isinstance(e, AppendLog | TruncateLog)]
    # A response to new entries waits until they are durable; one without new entries needs no disk.
    assert only(effects, Send).after == max((write.write_id for write in writes), default=0)
    applied = [entry.index for e in effects if isinstance(e, Apply) for entry in e.entries]
    assert applied == list(range(3, commit + 1))


def test_a_heartbeat_acknowledges_only_durable_entries() -> None:
    core = restored((1,))
    receive(core, 2, AppendEntries(1, 2, 1, 1, 0, entries(2, 1)))
    effects = receive(core, 2, AppendEntries(1, 2, 2, 1, 0, []))
    assert only(effects, Send).after == 0
    assert sent_messages(effects, AppendEntriesResponse)[0].match_index == 1


def test_repeated_append_waits_for_the_disk_like_the_first() -> None:
    core = restored((1,))
    append = AppendEntries(1, 2, 1, 1, 0, entries(2, 1))
    first = only(receive(core, 2, append), Send)
    again = only(receive(core, 2, append), Send)
    assert first.after == again.after > 0


@pytest.mark.parametrize("role", ["pre_candidate", "candidate"])
def test_a_candidate_follows_the_leader_of_its_term(role: str) -> None:
    core = become(restored(), role)
    follow(core, 3, core.term)
    assert (core.status().role, core.leader_id) == ("follower", 3)


@pytest.mark.parametrize("role", ["follower", "pre_candidate", "candidate", "leader"])
def test_every_role_follows_a_leader_of_a_later_term(role: str) -> None:
    core = become(restored(), role)
    term = core.term + 3
    follow(core, 3, term)
    assert (core.status().role, core.leader_id, core.term) == ("follower", 3, term)


@pytest.mark.parametrize("role", ["follower", "pre_candidate", "candidate", "leader"])
def test_leader_of_an_older_term_is_rejected(role: str) -> None:
    core = become(restored((5,)), role)
    before = core.status()
    effects = receive(core, 3, AppendEntries(4, 3, 7, 4, 9, [], 2))
    expected = AppendEntriesResponse(core.term, False, 0, 7, 0, 0, 2)
    assert sent_messages(effects, AppendEntriesResponse) == [expected]
    assert core.status() == before


def test_second_leader_of_the_same_term_is_ignored() -> None:
    core = become(restored(), "leader")
    effects = receive(core, 3, AppendEntries(core.term, 3, 0, 0, 0, []))
    assert only(effects, MessageDropped).reason == "a second leader in this term"
    assert core.role == "leader"


def test_only_the_leader_resets_the_election_timeout() -> None:
    core = restored((5,))
    before = core.next_deadline()
    receive(core, 3, AppendEntries(4, 3, 0, 0, 0, []))
    assert core.next_deadline() == before
    follow(core, 3, 5)
    assert core.next_deadline() >= LATER + 150_000


def test_an_early_tick_does_nothing() -> None:
    core = restored()
    assert core.step(Tick(), core.next_deadline() - 1) == []
    assert core.step(Tick(), core.next_deadline()) != []


def test_old_response_is_ignored_and_later_term_deposes() -> None:
    core = become(restored(), "leader")
    status = core.status()
    assert receive(core, 2, AppendEntriesResponse(core.term - 1, True, 2, 2, 0, 0)) == []
    assert core.status() == status
    receive(core, 2, AppendEntriesResponse(core.term + 1, True, 2, 2, 0, 0))
    assert (core.status().role, core.term) == ("follower", status.term + 1)


@pytest.mark.parametrize("outsider", [7, 99])
def test_response_of_a_non_member_commits_nothing(outsider: int) -> None:
    core = become(restored(), "leader")
    receive(core, outsider, AppendEntriesResponse(core.term, True, 2, 2, 0, 0))
    assert core.commit_index == 0
    assert outsider not in core.status().peers


def test_an_acknowledgement_beyond_the_log_is_dropped() -> None:
    core = become(restored(), "leader")
    effects = receive(core, 2, AppendEntriesResponse(core.term, True, 50, 50, 0, 0))
    assert "beyond the leader's log" in only(effects, MessageDropped).reason
    assert core.status().peers[2].match == 0
