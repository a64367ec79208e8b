"""`ActivityLog`: what is kept, in which order, and how much of it."""

from __future__ import annotations

import logging
import threading

from qcore.core.effects import MembershipChanged, RoleChanged
from qcore.core.entry import Membership
from qcore.node.activity_log import KEPT, ActivityLog
from qcore.node.observability.logs import NodeLog
from qcore.node.observability.program_log import ProgramLog
from qcore.node.observability.repeated_lines import BURST


class Clock:
    us = 1_000_000

    def __call__(self) -> int:
        self.us += 1
        return self.us


def test_changes_are_events_and_what_stays_is_none() -> None:
    log = ActivityLog(Clock())
    log.role_changed(RoleChanged("follower", 3, None))
    log.role_changed(RoleChanged("follower", 3, 2))
    log.role_changed(RoleChanged("follower", 3, 2))
    log.members_changed(MembershipChanged(Membership(voters=(1, 2), learners=(3,)), 9))
    events = [event.as_json() for event in log.after(0, 0)]
    assert [(event["sequence"], event["kind"]) for event in events] == [
        (1, "leader"),
        (2, "role"),
        (3, "leader"),
        (4, "members"),
    ]
    assert events[2] == {
        "sequence": 3,
        "t_us": events[2]["t_us"],
        "kind": "leader",
        "term": 3,
        "leader": 2,
    }
    assert (events[3]["index"], events[3]["voters"], events[3]["learners"]) == (9, [1, 2], [3])
    assert [event.sequence for event in log.after(3, 0)] == [4]


def test_lines_are_bounded_and_cannot_displace_changes() -> None:
    log = ActivityLog(Clock())
    log.role_changed(RoleChanged("leader", 1, 1))
    for number in range(3 * KEPT):
        log.line(logging.INFO, f"event {number}", {})
    log.line(logging.DEBUG, "details", {})
    assert [event.kind for event in log.after(0, 5)] == ["leader", "role", *["line"] * 5]
    lines = log.after(2, 10 * KEPT)
    assert len(lines) == KEPT
    assert lines[-1].fields["text"] == f"event {3 * KEPT - 1}"


def test_a_flood_of_one_kind_of_line_is_counted() -> None:
    clock = Clock()
    log = ActivityLog(clock)
    log.line(logging.INFO, "first", {})
    for _ in range(50 * BURST):
        log.line(logging.WARNING, "message of a peer dropped", {"peer": 2})
    clock.us += 61_000_000
    log.line(logging.WARNING, "message of a peer dropped", {"peer": 2})
    lines = log.after(0, KEPT)
    assert len(lines) == BURST + 2
    assert lines[0].fields["text"] == "first"
    assert lines[-1].fields["more"] == 49 * BURST


def test_texts_of_strangers_are_short_and_printable() -> None:
    log = ActivityLog(Clock())
    many = {f"field{number}": "x" for number in range(100)}
    log.line(logging.INFO, "a\x1b[2J\n" + "b" * 5000, {"why": "\u202e" + "c" * 5000, **many})
    (line,) = log.after(0, 1)
    shown = str(line.as_json())
    assert shown.isprintable()
    assert len(shown) < 3000


def test_both_logs_of_nodes_keep_their_lines() -> None:
    for log in (NodeLog(1), ProgramLog(1)):
        log.info("snapshot stored", index=7)
        log.debug("connection opened", remote="a")
        log.bug("internal error", ValueError("x"))
        lines = [event.fields for event in log.activity.after(0, 10)]
        assert [line["text"] for line in lines] == ["snapshot stored", "internal error"]
        assert lines[0]["fields"] == {"index": 7}
        assert lines[1]["fields"] == {"why": "ValueError: x"}
        assert lines[1]["level"] == "error"


def test_threads_may_log() -> None:
    log = ActivityLog(Clock())

    def work(thread: int) -> None:
        for number in range(400):
            log.line(logging.INFO, f"{thread} {number}", {})
            log.after(0, 10)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    numbers = [event.sequence for event in log.after(0, KEPT)]
    assert numbers == sorted(set(numbers))
    assert numbers[-1] == 1200
