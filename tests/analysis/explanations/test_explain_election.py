"""Explanations of elections: of simulated runs in full, and of small traces written by hand.

`pytest tests/analysis/explanations --rewrite-explanations` replaces the expected texts. Review them like code.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from qcore.analysis.course.course_types import Course, Election
from qcore.analysis.course.read_course import read_course
from qcore.analysis.explanations.explain import explain
from qcore.trace import TraceWriter
from tests.analysis.explanations.small_elections import MS, Cluster

EXPECTED = Path(__file__).parent / "expected"


@pytest.mark.parametrize(
    "scenario", ["split_3_2_leader_major", "lost_votes", "lease_after_transfer"]
)
def test_the_elections_of_a_run_are_explained(
    scenario: str, course_of: Callable[[str], Course], pytestconfig: pytest.Config
) -> None:
    course = course_of(scenario)
    text = "\n\n".join(str(explain(course, election)) for election in course.elections) + "\n"
    path = EXPECTED / f"{scenario}.txt"
    if pytestconfig.getoption("--rewrite-explanations", default=False):
        path.write_text(text)
    assert text == path.read_text()


def _sentences(course: Course, number: int) -> Sequence[str]:
    return explain(course, course.elections[number - 1]).sentences


def test_the_end_of_a_killed_leader_is_its_last_message() -> None:
    cluster = Cluster(3, is_real=True).elect(1, 100)
    cluster.campaign(2, 1_200, 1)
    cluster.pre_vote(2, 1_201, {3: "granted"})
    cluster.win(2, 1_220, 2)
    cluster.role(3, 1_221, "follower", 2, 2)
    cluster.last_entry(2, 2_900, 1, 2)
    cluster.last_entry(3, 2_900, 1, 2)
    course = cluster.course(3_000)
    assert (course.elections[1].cause, course.elections[1].cause_us) == ("crash", 900 * MS)
    first = _sentences(course, 2)[0]
    assert first.startswith("Node 1 led term 1 until 0.900 s, when its last message reached")
    assert "Its trace shows no stop" in first


def test_an_open_election_is_censored() -> None:
    cluster = Cluster(3).elect(1, 100)
    cluster.crash(1, 1_000)
    cluster.crash(3, 1_000)
    cluster.campaign(2, 1_200, 1)
    cluster.pre_vote(2, 1_201, {1: "node is down", 3: "node is down"})
    course = cluster.course(2_000)
    election = course.elections[1]
    assert (election.outcome, election.is_censored, election.end_us) == ("open", True, 2_000 * MS)
    assert election.rounds[0].result == "open"
    assert str(explain(course, election)).splitlines() == [
        "Election 2: no leader with a majority for 1 s, until the trace ends",
        "- Node 1 led term 1 until 1.000 s, when it crashed.",
        "- Node 2's election timeout passed first, at 1.200 s, 300 ms after the last message from node 1.",
        "- Node 2 asked nodes 1 and 3 for pre-votes at 1.200 s, but did not get the one that it needed: nodes 1 "
        "and 3 were down.",
        "- Election timeout 200 ms and rounds without a majority 800 ms: 1 s in all.",
        "- 80 % of this was rounds without a majority: too many voters were down.",
        "- Until the end, node 1 was down (since 1.000 s: it crashed) and node 3 was down (since 1.000 s: it crashed): "
        "no majority could answer, so no election was possible.",
        "- The trace ends at 2.000 s, before a leader is elected.",
    ]


def test_voters_reject_for_their_reasons() -> None:
    cluster = Cluster(5).elect(1, 100)
    cluster.crash(1, 1_000)
    cluster.heartbeat(1, 3, 950, 1_001)
    cluster.last_entry(4, 1_100, 9, 1)
    cluster.role(5, 1_150, "follower", 4)
    cluster.campaign(2, 1_200, 1)
    cluster.pre_vote(
        2, 1_201, {1: "node is down", 3: "refused", 4: "refused", 5: "refused"}, {5: 4}
    )
    cluster.role(2, 1_210, "follower", 1)
    (*_, rounds, _whole, _longest, _end) = _sentences(cluster.course(1_300), 2)
    assert rounds == (
        "Node 2 asked nodes 1, 3, 4 and 5 for pre-votes at 1.200 s, but got none of the 2 that it needed: node 1 "
        "was down; node 3 rejected, because it had heard from leader 1 only 200 ms earlier; node 4 rejected, "
        "because the last message of leader 1 had reached it 301 ms earlier and its log was more up to date (entry "
        "9 of term 1; the candidate's ended with entry 0 of term 0); node 5 rejected, because it was already in "
        "term 4."
    )


def test_an_isolated_leader_of_real_nodes_is_one_election() -> None:
    # No record shows the cut: a first candidate stops, and the next one wins, while the leader still believes it leads.
    cluster = Cluster(3, is_real=True).elect(1, 100)
    cluster.campaign(2, 1_200, 1)
    cluster.pre_vote(2, 1_201, {3: "refused"})
    cluster.role(2, 1_210, "follower", 1)
    cluster.campaign(3, 1_300, 1)
    cluster.pre_vote(3, 1_301, {2: "granted"})
    cluster.win(3, 1_310, 2)
    elections = cluster.course(1_400).elections
    assert [(e.outcome, e.winner, len(e.rounds)) for e in elections] == [
        ("elected", 1, 1),
        ("elected", 3, 3),
    ]


def test_a_cut_off_candidate_has_a_separate_election() -> None:
    cluster = Cluster(3).elect(1, 100)
    cluster.fault("timeline[0] isolate", 1_000, [(1, 3), (3, 1), (2, 3), (3, 2)])
    cluster.heartbeat(1, 2, 1_280, 1_281)
    cluster.campaign(3, 1_200, 1)
    cluster.pre_vote(3, 1_201, {1: "cut", 2: "cut"})
    cluster.crash(1, 1_300)
    cluster.campaign(2, 1_500, 1)
    cluster.win(2, 1_510, 2)
    elections = cluster.course(2_000).elections
    found = [(e.outcome, e.cause, e.cause_us, e.start_us, e.end_us) for e in elections[1:]]
    assert found == [
        ("abandoned", "cut", 1_000 * MS, 1_200 * MS, 1_300 * MS),
        ("elected", "crash", 1_300 * MS, 1_500 * MS, 1_510 * MS),
    ]


def test_a_candidate_that_follows_again_has_ended_its_election() -> None:
    # Long after it, the cluster loses its leader.
    cluster = Cluster(3).elect(1, 100)
    cluster.heartbeat(1, 2, 1_280, 1_281)
    cluster.campaign(3, 1_000, 1)
    cluster.pre_vote(3, 1_001, {1: "refused", 2: "refused"})
    cluster.role(3, 1_010, "follower", 1, 1)
    cluster.crash(1, 1_300)
    cluster.campaign(2, 1_500, 1)
    cluster.win(2, 1_510, 2)
    elections = cluster.course(2_000).elections
    assert [(e.outcome, e.start_us, e.end_us) for e in elections[1:]] == [
        ("abandoned", 1_000 * MS, 1_010 * MS),
        ("elected", 1_500 * MS, 1_510 * MS),
    ]


def test_a_split_vote_is_counted() -> None:
    cluster = Cluster(3).elect(1, 100)
    cluster.crash(1, 1_000)
    for node in (2, 3):
        cluster.campaign(node, 1_100, 1)
        cluster.role(node, 1_105, "candidate", 2)
        cluster.vote(node, 1_105, 2, node)
        cluster.role(node, 1_110, "follower", 2)
    cluster.campaign(3, 1_400, 2)
    cluster.win(3, 1_405, 3)
    sentences = _sentences(cluster.course(2_000), 2)
    assert (
        "In term 2, nodes 2 and 3 split the votes 1 to 1: none had the necessary 2 of 3."
        in sentences
    )
    assert sentences[-1].endswith("rounds without a majority: the votes split in term 2.")


def test_two_leaders_in_one_term_are_named() -> None:
    cluster = Cluster(3).elect(1, 100)
    cluster.role(2, 1_000, "candidate", 1)
    cluster.role(2, 1_010, "leader", 1, 2)
    course = cluster.course(2_000)
    assert [election.winner for election in course.elections] == [1, 2]
    violation = "Nodes 1 and 2 both led term 1: that violates election safety."
    assert violation in _sentences(course, 2)


def test_elections_without_any_record_are_empty() -> None:
    trace = TraceWriter(keep=True)
    trace.run(0, "x", 1, [1])
    elections = read_course(trace).elections
    assert elections == []
    assert elections.row_type is Election


@pytest.mark.parametrize("is_heard", [True, False])
def test_a_killed_leader_that_starts_again(is_heard: bool) -> None:
    """Its end is its last message that another node received, or its last record."""
    cluster = Cluster(3, is_real=True).elect(1, 100)
    if is_heard:
        cluster.last_messages(1, (3,), 971)
    cluster.last_entry(1, 920, 1, 1)
    cluster.campaign(2, 1_500, 1)
    cluster.win(2, 1_600, 2)
    cluster.start(1, 1_700, 1)
    cluster.heartbeat(2, 1, 1_800, 1_801)
    end = (
        "0.971 s, when its last message reached another node"
        if is_heard
        else "0.920 s, when its last record was written"
    )
    course = cluster.course(1_900)
    assert _sentences(course, 2)[0] == (
        f"Node 1 led term 1 until {end}. Its trace shows no stop: it was killed, or its machine failed."
    )
    missing = "The records of the last 51 ms of node 1 are missing; its messages of this time reached other nodes."
    assert (missing in _sentences(course, 2)) == is_heard
