"""What a page and a text say of a whole run: real nodes of which one was killed, and a simulated run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from qcore.analysis.course.course_types import Course
from qcore.analysis.course.trace_checks import trace_checks
from qcore.view import view_page
from qcore.view.run_in_words import in_words
from qcore.view.run_summary import Verdict, checked, expectation_note, faults, who_led
from tests.analysis.explanations.small_elections import MS, Cluster
from tests.view.decoded_page import DecodedPage

EXPECTED = Path(__file__).parent / "expected" / "killed_leader.txt"


@pytest.fixture(scope="module")
def real() -> Course:
    """Node 1 is killed while it leads; node 2 is elected, but node 3 is stopped, and then node 2."""
    cluster = Cluster(3, is_real=True).elect(1, 100)
    for node in (1, 2, 3):
        cluster.append(node, 104, 1, 1)
    cluster.last_messages(1, (2, 3), 950)
    for node in (2, 3):
        cluster.append(node, 951, 2, 1)
    cluster.refuse(3, 1, 1_200)
    cluster.campaign(2, 1_500, 1)
    cluster.unsent(2, 1, 1_501, "PreVote")
    cluster.pre_vote(2, 1_502, {3: "granted"})
    cluster.win(2, 1_600, 2)
    cluster.stop(3, 2_000)
    cluster.role(2, 3_000, "follower", 2)
    cluster.campaign(2, 3_500, 2)
    cluster.unsent(2, 1, 3_500, "PreVote")
    cluster.unsent(2, 3, 3_500, "PreVote")
    cluster.stop(2, 4_000)
    return cluster.course(3_999)


def test_a_killed_leader_and_a_lost_majority_in_words(real: Course) -> None:
    assert in_words(real) == EXPECTED.read_text()


def test_the_rows_of_who_led_cover_the_run_once(real: Course, course: Course) -> None:
    rows = who_led(real)
    assert [(row.start_us // MS, row.end_us // MS, row.node, row.has_majority) for row in rows] == [
        (0, 100, 0, False),
        (100, 950, 1, True),
        (950, 1_600, 0, False),
        (1_600, 2_000, 2, True),
        (2_000, 3_000, 2, False),
        (3_000, 4_000, 0, False),
    ]
    able = sum(row.end_us - row.start_us for row in who_led(course) if row.has_majority)
    leaderless = sum(span.length_us for span in course.tables.leaderless)
    assert able + leaderless == course.end_us


def test_the_course_has_a_record_of_the_end_of_a_killed_node(real: Course) -> None:
    (end,) = (r for r in real.records if r.kind == "down" and r.fields["why"] == "silent")
    assert (end.node, end.t_us) == (1, 950 * MS)


def test_ends_of_real_nodes_are_faults_with_marks(real: Course) -> None:
    page = DecodedPage.of(view_page.page_data(real))
    rows = [(row["label"], row["start"] // MS, row["end"] // MS) for row in page.overview["faults"]]
    assert rows == [
        ("node 1 killed, or its machine failed", 950, 4_000),
        ("node 3 stopped", 2_000, 4_000),
        ("node 2 stopped", 4_000, 4_000),
    ]
    assert [t_us // MS for _, t_us in page.overview["marks"]["faults"]] == [950, 2_000, 4_000]


def test_a_fault_of_a_real_node_ends_when_it_starts_again() -> None:
    cluster = Cluster(3, is_real=True).elect(1, 100)
    cluster.stop(3, 200)
    cluster.start(3, 300, 1)
    (fault,) = faults(cluster.course(500))
    assert (fault.label, fault.start_us, fault.end_us) == ("node 3 stopped", 200 * MS, 300 * MS)


def test_failures_of_one_kind_are_explained_once() -> None:
    cluster = Cluster(3, is_real=True).elect(1, 100)
    for ms in (1_200, 1_300, 1_400):
        cluster.refuse(3, 1, ms)
    text = in_words(cluster.course(1_500))
    assert text.count("the operation had no effect") == 1
    assert "2 more operations failed in the same way:" in text
    assert text.count("refused (not leader)") == 3


def test_checks_of_real_traces_find_what_is_wrong(real: Course) -> None:
    assert not any(check.failures for check in trace_checks(real))
    cluster = Cluster(3, is_real=True).elect(1, 100)
    cluster.win(2, 200, 1)
    cluster.vote(3, 300, 4, 1)
    cluster.vote(3, 310, 4, 2)
    cluster.last_entry(1, 400, 2, 1)
    cluster.last_entry(2, 410, 2, 2)
    broken = cluster.course(500)
    assert checked(broken)["failures"] == [
        "nodes 1 and 2 both led term 1 (0.200 s)",
        "node 3 voted for nodes 1 and 2 in term 4 (0.310 s)",
        "node 2 applied entry 1 of term 2, node 1 that of term 1 (0.410 s)",
        "node 2 applied entry 2 of term 2, node 1 that of term 1 (0.410 s)",
    ]


def test_the_page_holds_the_verdicts_on_the_expectations(course: Course) -> None:
    verdicts = [
        Verdict("safe", True, "no violation", "no violation"),
        Verdict("x", False, "a", "b"),
    ]
    page = DecodedPage.of(view_page.page_data(course, verdicts=verdicts))
    assert page.overview["expectations"] == {
        "note": "1 of 2 expectations of the scenario did not hold.",
        "rows": json.loads(json.dumps(verdicts)),
    }
    assert expectation_note(course, []) == ""  # this scenario has none


def test_rounds_of_one_kind_name_the_first_of_them(course: Course) -> None:
    page = DecodedPage.of(view_page.page_data(course))
    for election in page.overview["elections"]:
        for number, each in enumerate(election["rounds"]):
            like = election["rounds"][each["like"]]
            assert each["like"] <= number
            assert (like["candidate"], like["result"]) == (each["candidate"], each["result"])
