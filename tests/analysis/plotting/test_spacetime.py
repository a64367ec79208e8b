"""Space-time diagrams: an arrow for each message, a cross for each lost one, and the causal past and future of an event."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib import pyplot
from matplotlib.colors import to_hex
from matplotlib.patches import FancyArrowPatch

from qcore.analysis.course.course_types import Course
from qcore.analysis.course.read_course import read_course
from qcore.analysis.plotting.spacetime_layout import spacetime_layout
from qcore.analysis.plotting.spacetime_plot import ARROW_GID, LOST_GID, Direction, plot_spacetime
from qcore.trace import TraceWriter
from tests.analysis.pictures import check_figure
from tests.analysis.synthetic import MS

mpl.use("Agg")


@pytest.fixture(scope="module")
def course() -> Course:
    """Node 1 asks 2 and 3 for votes; 3 rejects, the message to 4 is lost; then it leads and appends to 2."""
    trace = TraceWriter(keep=True)
    nodes = [1, 2, 3, 4]
    trace.run(0, "votes", 1, nodes)
    for node in nodes:
        trace.up(0, node, 0, 0, 0)
        trace.config(0, node, 0, nodes, [], [])
    trace.role(100 * MS, 1, "candidate", 1, None)
    trace.vote(100 * MS, 1, 1, 1)
    for target in (2, 3, 4):
        trace.send(100 * MS, 1, target, f"1-{target}", "RequestVote", 1, "last 0.0")
    trace.drop(103 * MS, 4, 1, "1-4", "RequestVote", "link")
    for node, note, t_ms in ((2, "granted", 104), (3, "refused", 105)):
        trace.recv(t_ms * MS, node, 1, f"1-{node}", "RequestVote")
        trace.send(t_ms * MS, node, 1, f"{node}-1", "RequestVoteResponse", 1, note)
        trace.recv((t_ms + 4) * MS, 1, node, f"{node}-1", "RequestVoteResponse")
    trace.role(108 * MS, 1, "leader", 1, 1)
    trace.send(108 * MS, 1, 2, "1-9", "AppendEntries", 1, "prev 0.0 entries 1 commit 0")
    trace.commit(109 * MS, 1, 1)
    trace.recv(111 * MS, 2, 1, "1-9", "AppendEntries")
    trace.violation(200 * MS, 0, "x", "")
    return read_course(trace.lines())


def test_the_layout_has_a_lane_a_node_and_an_arrow_a_message(course: Course) -> None:
    layout = spacetime_layout(course, (90, 120))
    assert [lane.node for lane in layout.lanes] == [1, 2, 3, 4]
    assert [(a.source, a.target, a.kind, a.outcome) for a in layout.arrows] == [
        (1, 2, "vote request", "received"),
        (1, 3, "vote request", "received"),
        (1, 4, "vote request", "lost"),
        (2, 1, "vote response", "received"),
        (3, 1, "vote response", "received"),
        (1, 2, "append", "received"),
    ]
    assert [(mark.t_us // MS, mark.node, mark.text) for mark in layout.marks] == [
        (100, 1, "votes for 1"),
        (100, 1, "candidate, term 1"),
        (108, 1, "leader, term 1"),
        (108, 1, "granted"),
        (109, 1, "commit 1"),
        (109, 1, "rejected"),
    ]
    assert layout.omitted == 0


def test_of_too_many_messages_those_of_the_election_are_kept(course: Course) -> None:
    layout = spacetime_layout(course, (90, 120), most=4)
    assert layout.omitted == 2
    assert [arrow.kind for arrow in layout.arrows] == ["vote request"] * 3 + ["vote response"]
    (append,) = spacetime_layout(course, (90, 120), kinds=["append"]).arrows
    assert append.name == "AppendEntries"
    kept = spacetime_layout(course, (90, 120), most=1, keep=[append.message])
    assert [arrow.message for arrow in kept.arrows] == [append.message]


def test_without_a_window_the_election_is_shown(course: Course) -> None:
    window = spacetime_layout(course).window
    assert window.start_us < 100 * MS < 108 * MS < window.end_us < 150 * MS


@pytest.mark.parametrize("direction", ["right", "down"])
def test_a_diagram_shows_every_message_and_overlaps_nothing(
    direction: Direction, course: Course
) -> None:
    ax = plot_spacetime(course, (90, 120), direction=direction, most=5)
    arrows = [patch for patch in ax.patches if patch.get_gid() == ARROW_GID]
    assert len(arrows) == 5
    (crosses,) = [line for line in ax.lines if line.get_gid() == LOST_GID]
    assert len(np.asarray(crosses.get_xdata())) == 1
    texts = [text.get_text() for text in ax.texts]
    assert "1 more messages are not shown" in texts
    assert "leader, term 1" in texts
    figure = ax.get_figure(root=True)
    assert figure is not None
    figure.draw_without_rendering()
    check_figure(figure)
    pyplot.close()


def test_a_chosen_event_shows_its_past_and_future(course: Course) -> None:
    """Leadership depends on the vote of node 2 and causes the append; the vote of 3 has no part in it."""
    leads = next(
        number
        for number, record in enumerate(course.records)
        if record.kind == "role" and record.fields["role"] == "leader"
    )
    ax = plot_spacetime(course, (90, 120), highlight=leads)
    arrows = [p for p in ax.patches if p.get_gid() == ARROW_GID and isinstance(p, FancyArrowPatch)]
    strong = [to_hex(a.get_edgecolor()).upper() for a in arrows if a.get_alpha() == 1.0]
    assert strong == ["#0072B2", "#0072B2", "#D55E00"]
    assert len(arrows) == 6
    pyplot.close()
