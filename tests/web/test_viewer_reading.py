"""What a stranger needs to read a run: legends, controls that keep their word, and the traces of real nodes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from qcore.analysis.course.course_types import Course
from qcore.analysis.course.read_course import read_course
from qcore.trace import TraceWriter
from qcore.view import save_page
from tests.web.browser import CHROMIUM, Browser
from tests.web.conftest import Viewer

pytestmark = [
    pytest.mark.long,  # a browser needs some seconds
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on the path"),
]

#: A real client names its requests by the time: two of them differ in the last digits only.
REQUEST: Final = 1_795_957_881_461_166
BEGIN_US: Final = 2_000_000
KILLED_US: Final = 2_600_000

#: The labels of the space-time diagram that cover another one, a bar of a node or its name.
COVERED: Final = """(() => {
  const svg = document.querySelector('svg.spacetime');
  const box = (each) => each.getBoundingClientRect();
  const labels = [...svg.querySelectorAll('g:last-of-type text')].map((each) => [each.textContent, box(each)]);
  const bars = [...svg.querySelectorAll('rect[height="10"]:not([width="2"])')].map((each) => ['bar', box(each)]);
  const names = [...svg.querySelectorAll('text[font-weight="600"]')].map((each) => [each.textContent, box(each)]);
  const found = [];
  labels.forEach(([text, a], place) => {
    for (const [other, b] of [...labels.slice(place + 1), ...bars, ...names]) {
      const across = Math.min(a.right, b.right) - Math.max(a.left, b.left);
      const down = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
      if (across > 2 && down > 3) found.push(`${text} / ${other}`);
    }
  });
  return [labels.length, found];
})()"""


def real_node(node: int) -> TraceWriter:
    """The trace of a node that waited as a learner before its cluster began."""
    trace = TraceWriter(keep=True)
    trace.run(0, f"node {node}", 0, [node])
    trace.up(0, node, 0, 0, 0)
    trace.role(100, node, "learner", 0, None)
    return trace


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of three real nodes. Node 1 leads and is killed, node 2 gives two requests back and leads later."""
    one, two, three = nodes = [real_node(node) for node in (1, 2, 3)]
    one.config(BEGIN_US, 1, 1, [1, 2, 3], [], [])
    one.role(BEGIN_US, 1, "candidate", 1, None)
    for number, (node, trace) in enumerate(((2, two), (3, three)), 1):
        one.send(BEGIN_US + 10, 1, node, f"1-{number}", "RequestVote", 1, "last 0.0")
        trace.recv(BEGIN_US - 900, node, 1, f"1-{number}", "RequestVote")  # its clock is behind
        trace.role(BEGIN_US - 890, node, "follower", 1, None)
        trace.vote(BEGIN_US - 880, node, 1, 1)
        trace.send(BEGIN_US, node, 1, f"1-{number}r", "RequestVoteResponse", 1, "granted")
        one.recv(BEGIN_US + 2_000, 1, node, f"1-{number}r", "RequestVoteResponse")
    one.role(BEGIN_US + 2_010, 1, "leader", 1, 1)
    for number in range(10, 20):
        t_us = BEGIN_US + number * 5_000
        one.send(t_us, 1, 2, f"1-{number}", "AppendEntries", 1, "prev 0.0 entries 0 commit 0")
        two.recv(t_us + 500, 2, 1, f"1-{number}", "AppendEntries")
    one.recv(KILLED_US, 1, 2, "", "AppendEntriesResponse")  # its last record
    two.send(KILLED_US + 5_000, 2, 1, "2-90", "PreVote", 1, "last 0.0")
    for offset in (0, 1):
        t_us = KILLED_US + 20_000 + 10 * offset
        two.op(t_us, 2, "invoke", 2, REQUEST + offset, "write", "", None, "session, 110 characters")
        two.op(t_us + 500, 2, "refused", 2, REQUEST + offset, "write", "", None, "NotLeader")
    two.role(KILLED_US + 300_000, 2, "candidate", 2, None)
    two.vote(KILLED_US + 300_001, 2, 2, 2)
    two.send(KILLED_US + 300_010, 2, 3, "2-91", "RequestVote", 2, "last 0.0")
    three.recv(KILLED_US + 300_400, 3, 2, "2-91", "RequestVote")
    three.vote(KILLED_US + 300_410, 3, 2, 2)
    three.send(KILLED_US + 300_500, 3, 2, "2-91r", "RequestVoteResponse", 2, "granted")
    two.recv(KILLED_US + 301_000, 2, 3, "2-91r", "RequestVoteResponse")
    two.role(KILLED_US + 301_010, 2, "leader", 2, 2)
    two.send(KILLED_US + 310_000, 2, 1, "2-92", "AppendEntries", 2, "prev 0.0 entries 0 commit 0")
    three.commit(KILLED_US + 3_000_000, 3, 1)
    path = tmp_path_factory.mktemp("killed") / "killed.html"
    return save_page(read_course(*nodes), path)


@pytest.fixture
def real(browser: Browser, killed: Path) -> Iterator[Viewer]:
    """The page of the real nodes, opened. The console stays empty."""
    browser.size(1300, 800)
    browser.media()
    browser.errors.clear()
    opened = Viewer(browser)
    opened.open(killed)
    yield opened
    assert browser.errors == []


def test_messages_to_a_killed_node_do_not_stay_on_the_way(real: Viewer) -> None:
    real.browser.run(f"qcore.view.show({KILLED_US + 200_000})")
    real.settle()
    assert real.text("#flight-list summary") == "No message is on the way"
    real.press("End")
    assert real.text("#flight-list summary") == "No message is on the way"


def test_home_is_the_beginning_of_the_cluster(
    real: Viewer,
) -> None:
    real.press("0", "Home")
    begin = real.value("run.begin")
    assert begin > 1_000_000
    assert real.at()[1] == begin
    assert real.browser.run("document.getElementById('time').value") == "0.000000 s"
    assert real.value("from") == begin
    real.press("ArrowLeft", "ArrowLeft", "ArrowLeft")
    assert real.at()[1] < begin
    assert real.value("from") <= real.at()[1]
    real.click("#zoom-all")
    assert real.value("from") == begin
    real.press("6")
    assert f"00:00:0{begin // 1000 / 1000:.3f} UTC" in real.text("#panel-scenario")
    assert "Records before it have negative times" in real.text("#panel-scenario")


def test_a_reader_jumps_to_the_end_of_a_killed_node(real: Viewer) -> None:
    assert "killed, or its machine failed" in real.text("#panel-summary")
    real.press("Home", "f")
    assert real.at()[1] >= KILLED_US
    assert "Node 1" in real.text("#now-event")


def test_the_page_of_real_nodes_names_requests_and_shows_no_keys(real: Viewer) -> None:
    rows = real.browser.run(
        "[...document.querySelectorAll('#panel-summary tr')].map((row) => row.textContent)"
    )
    assert sum("write …461166" in row for row in rows) == 1
    assert sum("write …461167" in row for row in rows) == 1
    real.press("3")
    assert real.browser.run("document.getElementById('key').hidden")
    assert "cannot be placed" not in real.text("#panel-operations .legend-line")
    assert "refused" in real.text("#panel-operations .legend-line")
    real.press("o")
    assert "at node 2 is refused" in real.text("#now-event")
    assert "Client" not in real.text("#now-event")


def test_the_diagram_says_what_its_marks_mean(real: Viewer) -> None:
    real.browser.run(f"qcore.view.show({BEGIN_US}, 6_000)")
    real.press("4")
    legend = real.text(".spacetime-legend")
    for text in ("request for a vote", "answer to it", "received before it was sent", "votes"):
        assert text in legend
    assert "lost" not in legend
    real.browser.run(f"qcore.view.show({KILLED_US + 5_000}, 4_000)")
    real.settle()
    assert "lost" in real.text(".spacetime-legend")


def test_the_diagram_opens_at_a_window_that_can_be_read(viewer: Viewer) -> None:
    for t_us in (0, 1_100_000, 2_900_000):
        viewer.browser.run(f"qcore.view.show({t_us})")
        viewer.press("0", "4")
        count, covered = viewer.browser.run(COVERED)
        assert count >= 5, t_us
        assert covered == []
        assert viewer.value("from") <= t_us <= viewer.value("to")
        viewer.press("1")
        assert (viewer.value("from"), viewer.value("to")) == (0, viewer.value("run.end"))
    viewer.press("4", "+", "1")  # a window that the user chose stays
    assert viewer.value("to - qcore.view.from") < 1_000_000


def test_the_toolbar_names_the_election_by_the_moment(viewer: Viewer, course: Course) -> None:
    election = course.elections[1]
    count = len(course.elections)
    middle = (election.start_us + election.end_us) // 2
    viewer.press("Home", "e", "e")
    assert viewer.text(".jump.elections") == f"election 2 of {count}"
    for step in ("show(1)", f"show({middle})", f"goTo(qcore.view.run.lastEvent({middle}))"):
        viewer.browser.run(f"qcore.view.{step}")
        viewer.settle()
        expected = f"{count} elections" if step == "show(1)" else f"election 2 of {count}"
        viewer.browser.wait(
            f"document.querySelector('.jump.elections').textContent === {json.dumps(expected)}"
        )
    viewer.browser.run("qcore.view.rate = 0.05; qcore.view.draw()")
    viewer.settle()
    assert viewer.text("#speed-text") == "20 times slower"


def test_a_jump_to_a_failure_chooses_it_and_keeps_the_picture(viewer: Viewer) -> None:
    heights = (
        "['.scroll', '.details'].map("
        "(name) => document.querySelector(`#panel-operations ${name}`).clientHeight)"
    )
    viewer.press("3", "0", "Home")
    before = viewer.browser.run(heights)
    viewer.press("o")
    viewer.browser.wait("qcore.view.operation >= 0")
    viewer.settle()
    assert viewer.browser.run(heights) == before
    key, client, outcome = viewer.browser.run(
        "(({ key, client, outcome }) => [key, client, outcome])"
        "(qcore.view.run.operations.get(qcore.view.operation))"
    )
    assert outcome in {"refused", "unknown"}
    assert f"client {client}" in viewer.text("#panel-operations .details")
    rows = viewer.browser.run(
        "[...document.querySelectorAll('#clients .client')].map((each) => each.textContent)"
    )
    (row,) = [row for row in rows if row.startswith(str(client))]
    assert key in row
    assert outcome in row
    viewer.browser.run(f"qcore.view.set({{ key: {json.dumps(key)} }})")
    viewer.settle()
    assert "Linearizable" in viewer.text(".verdict")


def test_the_tip_of_the_timeline_hides_no_lane(viewer: Viewer) -> None:
    hidden = viewer.browser.run(
        """(() => {
          const lanes = document.querySelector('canvas.lanes'), box = lanes.getBoundingClientRect();
          const at = { clientX: box.left + box.width - 40, clientY: box.top + 60 };
          lanes.dispatchEvent(new PointerEvent('pointermove', at));
          const tip = document.querySelector('#timeline .tip'), place = tip.getBoundingClientRect();
          return tip.hidden || place.top < box.bottom || place.right > innerWidth;
        })()"""
    )
    assert not hidden


def test_legends_name_the_marks_that_the_run_has(viewer: Viewer) -> None:
    legend = viewer.text(".timeline-legend")
    for text in ("leader", "candidate", "follower", "down", "no leader", "fault", "succeeded"):
        assert text in legend
    assert "learner" not in legend
    logs = viewer.text(".log-note")
    for text in ("with its term", "not committed", "last committed", "applied", "not on disk"):
        assert text in logs


def test_the_list_opens_at_the_event_of_the_moment(viewer: Viewer, course: Course) -> None:
    viewer.browser.run(f"qcore.view.goTo({len(course.records) // 2})")
    viewer.press("5")
    viewer.browser.wait("document.querySelector('#events [aria-selected=true]')")
    inside = viewer.browser.run(
        """(() => {
          const row = document.querySelector('#events [aria-selected=true]').getBoundingClientRect();
          const list = document.getElementById('events').getBoundingClientRect();
          return row.top >= list.top && row.bottom <= list.bottom;
        })()"""
    )
    assert inside
