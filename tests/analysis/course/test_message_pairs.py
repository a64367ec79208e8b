"""The messages of a course: each record of receipt or loss finds the record of its sending."""

from __future__ import annotations

from qcore.analysis.course.message_pairs import (
    DUPLICATE_NOTE,
    NO_RECEIPT,
    NO_TRACE,
    RECEIVER_DOWN,
    pair_messages,
)
from qcore.analysis.spans import RoleSpan
from qcore.trace import TraceWriter


def test_a_message_is_received_lost_or_in_flight() -> None:
    trace = TraceWriter(keep=True)
    trace.send(1_010, 1, 2, "1-1", "RequestVote", 4, "last 2.1")
    trace.send(1_010, 1, 3, "1-2", "RequestVote", 4, "last 2.1")
    trace.recv(1_020, 2, 1, "1-1", "RequestVote")
    trace.drop(1_025, 3, 1, "1-2", "RequestVote", "cut")
    trace.send(1_030, 2, 1, "2-1", "RequestVoteResponse", 4, "granted")
    received, lost, flying = pair_messages(trace.trace().records(), 1_000, 50)
    assert (received.outcome, received.sent_us, received.end_us) == ("received", 10, 20)
    assert (received.source, received.target, received.term) == (1, 2, 4)
    assert (received.send_event, received.end_event) == (0, 2)
    assert (lost.outcome, lost.end_us, lost.why) == ("lost", 25, "cut")
    assert (flying.outcome, flying.end_us, flying.end_event) == ("in_flight", 50, -1)


def test_the_receiver_is_part_of_the_pair() -> None:
    """Messages to several nodes may share an id."""
    trace = TraceWriter(keep=True)
    trace.send(0, 1, 2, "1-a", "AppendEntries", 1, "")
    trace.send(0, 1, 3, "1-a", "AppendEntries", 1, "")
    trace.recv(5, 3, 1, "1-a", "AppendEntries")
    trace.recv(9, 2, 1, "1-a", "AppendEntries")
    found = pair_messages(trace.trace().records(), 0, 10)
    assert [(m.target, m.end_us) for m in found] == [(2, 9), (3, 5)]


def test_the_second_arrival_of_a_message_is_another_message() -> None:
    trace = TraceWriter(keep=True)
    trace.send(0, 1, 2, "1-1", "AppendEntries", 3, "")
    trace.send(1, 1, 2, "1-2", "AppendEntries", 3, "")
    trace.recv(5, 2, 1, "1-1", "AppendEntries")
    trace.recv(7, 2, 1, "1-1", "AppendEntries")
    found = pair_messages(trace.trace().records(), 0, 10)
    assert [(m.sent_us, m.end_us, m.note, m.send_event) for m in found] == [
        (0, 5, "", 0),
        (0, 7, DUPLICATE_NOTE, 0),
        (1, 10, "", 1),
    ]


def test_responses_of_real_nodes_that_share_an_id_pair_in_order() -> None:
    trace = TraceWriter(keep=True)
    for t_us in (0, 10):
        trace.send(t_us, 2, 1, "1-7r", "AppendEntriesResponse", 1, f"match {t_us}")
    for t_us in (20, 30):
        trace.recv(t_us, 1, 2, "1-7r", "AppendEntriesResponse")
    found = pair_messages(trace.trace().records(), 0, 40, is_simulated=False)
    assert [(m.note, m.end_us) for m in found] == [("match 0", 20), ("match 10", 30)]


def test_a_real_message_may_arrive_before_it_was_sent() -> None:
    trace = TraceWriter(keep=True)
    trace.recv(5, 2, 1, "1-1", "AppendEntries")
    trace.send(8, 1, 2, "1-1", "AppendEntries", 3, "prev 0.0")
    (early,) = pair_messages(trace.trace().records(), 0, 10, is_simulated=False)
    assert (early.sent_us, early.end_us, early.note, early.term) == (8, 5, "prev 0.0", 3)
    assert (early.send_event, early.end_event) == (1, 0)


def test_a_real_message_that_was_overtaken_is_lost() -> None:
    trace = TraceWriter(keep=True)
    trace.send(0, 1, 2, "1-1", "AppendEntries", 1, "")
    trace.send(1, 1, 3, "1-2", "AppendEntries", 1, "")
    trace.send(2, 1, 2, "1-3", "AppendEntries", 1, "")
    trace.recv(7, 2, 1, "1-3", "AppendEntries")
    trace.send(8, 1, 2, "1-4", "AppendEntries", 1, "")
    lost, silent, received, flying = pair_messages(
        trace.trace().records(), 0, 90, is_simulated=False
    )
    assert (lost.outcome, lost.end_us, lost.why) == ("lost", 7, NO_RECEIPT)
    assert (silent.outcome, silent.end_us, silent.why) == ("in_flight", 1, NO_TRACE)
    assert (received.outcome, flying.outcome, flying.end_us) == ("received", "in_flight", 90)


def test_a_message_to_a_real_node_that_went_down_is_lost_then() -> None:
    trace = TraceWriter(keep=True)
    trace.send(0, 1, 2, "1-1", "AppendEntries", 1, "")
    trace.recv(2, 2, 1, "1-1", "AppendEntries")
    trace.send(4, 1, 2, "1-2", "AppendEntries", 1, "")  # node 2 is killed while it is under way
    trace.send(30, 1, 2, "1-3", "AppendEntries", 1, "")  # and is down when this one is sent
    trace.send(70, 1, 2, "1-4", "AppendEntries", 1, "")  # here it is up again
    spans = [
        RoleSpan(2, 0, 10, "follower", 1, 1),
        RoleSpan(2, 10, 60, "down", 1, None, "silent"),
        RoleSpan(2, 60, 90, "follower", 1, 1),
    ]
    found = pair_messages(trace.trace().records(), 0, 90, is_simulated=False, spans=spans)
    assert [(m.outcome, m.end_us, m.why) for m in found] == [
        ("received", 2, ""),
        ("lost", 10, RECEIVER_DOWN),
        ("lost", 30, RECEIVER_DOWN),
        ("in_flight", 90, ""),
    ]


def test_a_loss_without_a_message_has_no_length() -> None:
    trace = TraceWriter(keep=True)
    trace.drop(4, 2, 1, "", "AppendEntries", "no connection or a full queue")
    (lost,) = pair_messages(trace.trace().records(), 0, 9, is_simulated=False)
    assert (lost.sent_us, lost.end_us, lost.outcome, lost.send_event) == (4, 4, "lost", -1)


def test_between_finds_every_message_of_a_window() -> None:
    trace = TraceWriter(keep=True)
    for number in range(20):
        trace.send(10 * number, 1, 2, f"1-{number}", "AppendEntries", 1, "")
        trace.recv(10 * number + 7, 2, 1, f"1-{number}", "AppendEntries")
    found = pair_messages(trace.trace().records(), 0, 197)
    assert found.longest_us == 7
    window = [found[n].sent_us for n in found.between(55, 75) if found[n].end_us >= 55]
    assert window == [50, 60, 70]
    assert list(found.between(1_000, 2_000)) == []
