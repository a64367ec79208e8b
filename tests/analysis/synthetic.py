"""A small trace, written by hand: node 1 leads and is isolated, node 2 becomes leader, node 3 crashes and restarts."""

from __future__ import annotations

from qcore.trace import TraceWriter

MS = 1_000


def cut_off(node: int, others: tuple[int, ...]) -> list[tuple[int, int]]:
    """Every link between a node and the others, in both directions."""
    return [link for other in others for link in ((node, other), (other, node))]


def small_trace(origin_us: int = 0) -> list[str]:
    """A trace of three nodes over one second. `origin_us` shifts the clock, as on real nodes."""
    trace = TraceWriter(keep=True)

    def at(ms: float) -> int:
        return origin_us + round(ms * MS)

    trace.run(at(0), "small", 7, [1, 2, 3])
    for node in (1, 2, 3):
        trace.up(at(0), node, 0, 0, 0)
        trace.config(at(0), node, 0, [1, 2, 3], [], [])
    trace.role(at(90), 1, "candidate", 1, None)
    trace.vote(at(90), 1, 1, 1)
    trace.send(at(90), 1, 2, "1-1", "RequestVote", 1, "last 0@0")
    trace.send(at(90), 1, 3, "1-2", "RequestVote", 1, "last 0@0")
    trace.recv(at(95), 2, 1, "1-1", "RequestVote")
    trace.drop(at(95), 3, 1, "1-2", "RequestVote", "lost")
    trace.role(at(100), 1, "leader", 1, 1)
    trace.role(at(105), 2, "follower", 1, 1)
    trace.role(at(105), 3, "follower", 1, 1)
    trace.op(at(150), 0, "invoke", 1, 1, "write", "x", "a")
    trace.commit(at(160), 1, 2)
    trace.op(at(162), 1, "ok", 1, 1, "write", "x", None)
    trace.commit(at(170), 2, 2)
    trace.fault(at(300), "begin", "timeline[0] partition", [1], cut_off(1, (2, 3)), "1 | 2,3")
    trace.op(at(310), 0, "invoke", 1, 2, "write", "x", "b")
    trace.fault(at(320), "act", "timeline[0] partition", [1])
    trace.role(at(500), 2, "candidate", 2, None)
    trace.role(at(520), 2, "leader", 2, 2)
    trace.role(at(525), 3, "follower", 2, 2)
    trace.commit(at(530), 2, 5)
    trace.commit(at(540), 3, 5)
    trace.role(at(560), 1, "follower", 1, None)
    trace.op(at(600), 1, "unknown", 1, 2, "write", "x", None, "timeout")
    trace.fault(at(700), "end", "timeline[0] partition")
    trace.role(at(710), 1, "follower", 2, 2)
    trace.fault(at(750), "begin", "timeline[1] crash", [3], [], "0 unsynced writes lost")
    trace.down(at(750), 3, "crash")
    trace.fault(at(850), "end", "timeline[1] crash", [3])
    trace.up(at(850), 3, 2, 5, 5)
    trace.role(at(860), 3, "follower", 2, 2)
    trace.op(at(900), 0, "invoke", 2, 1, "read", "x", None)
    trace.op(at(903), 2, "ok", 2, 1, "read", "x", "a")
    trace.op(at(950), 0, "invoke", 2, 2, "read", "x", None)
    trace.violation(at(1000), 2, "linearizability", "key 'x'")
    return trace.lines()


def trace_with_gap(node: int = 1, origin_us: int = 0) -> list[str]:
    """The trace of a real node that lost records between 100 and 400 ms and notes that at 400 ms."""
    trace = TraceWriter(keep=True)
    trace.run(origin_us, f"node {node}", 0, [node])
    trace.up(origin_us, node, 0, 0, 0)
    trace.role(origin_us + 50 * MS, node, "leader", 1, node)
    trace.commit(origin_us + 100 * MS, node, 3)
    note = "7 records are missing here: the file took them too slowly"
    trace.fault(origin_us + 400 * MS, "act", "trace", [node], note=note)
    # A node writes records some time after the event.
    trace.commit(origin_us + 399 * MS, node, 9)
    trace.commit(origin_us + 500 * MS, node, 10)
    return trace.lines()
