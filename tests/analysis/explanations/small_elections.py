"""A small cluster whose trace is written by hand, for tests of elections."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import Self

from qcore.analysis.course.course_types import Course
from qcore.analysis.course.read_course import read_course
from qcore.trace import TraceRecord

MS = 1_000


class Cluster:
    """Writes the trace. Times are milliseconds; the records may be written in any order.

    Args:
        nodes: how many nodes there are.
        is_real: write traces of real nodes, one for each.
    """

    def __init__(self, nodes: int, *, is_real: bool = False) -> None:
        self._nodes = range(1, nodes + 1)
        self._is_real = is_real
        self._records: list[tuple[int, TraceRecord]] = []
        self._ids = 0
        for node in self._nodes:
            self._add(0, "up", node, term=0, commit=0, last_index=0)
            self._add(0, "role", node, role="follower", term=0, leader=None)

    def elect(self, leader: int, ms: float) -> Self:
        """A node leads term 1, and sends the others heartbeats until 900 ms."""
        self.win(leader, ms, 1)
        for other in self._nodes:
            if other != leader:
                self.role(other, ms + 1, "follower", 1, leader)
                for when in range(200, 901, 100):
                    self.heartbeat(leader, other, when - 1, when)
        return self

    def win(self, node: int, ms: float, term: int) -> None:
        """A candidate is elected, and commits an entry."""
        self.role(node, ms - 1, "candidate", term)
        self.vote(node, ms - 1, term, node)
        self.role(node, ms, "leader", term, node)
        self._add(ms + 5, "commit", node, index=term)

    def role(self, node: int, ms: float, role: str, term: int, leader: int | None = None) -> None:
        self._add(ms, "role", node, role=role, term=term, leader=leader)

    def vote(self, node: int, ms: float, term: int, candidate: int) -> None:
        self._add(ms, "vote", node, term=term, candidate=candidate)

    def campaign(self, node: int, ms: float, term: int) -> None:
        self.role(node, ms, "pre_candidate", term)

    def pre_vote(
        self,
        node: int,
        ms: float,
        answers: Mapping[int, str],
        terms: Mapping[int, int] | None = None,
    ) -> None:
        """Ask for pre-votes in term 1. Answers are `granted`, `refused`, or why the request was lost."""
        for voter, answer in answers.items():
            request = self._send(ms, node, voter, "PreVote", 1, "last 0.0")
            if answer not in ("granted", "refused"):
                self._end(ms, "drop", node, voter, "PreVote", request, note=answer)
                continue
            self._end(ms, "recv", node, voter, "PreVote", request)
            term = (terms or {}).get(voter, 1)
            response = self._send(ms, voter, node, "PreVoteResponse", term, answer)
            self._end(ms + 1, "recv", voter, node, "PreVoteResponse", response)

    def heartbeat(self, leader: int, node: int, sent_ms: float, received_ms: float) -> None:
        request = self._send(
            sent_ms, leader, node, "AppendEntries", 1, "prev 0.0 entries 0 commit 0"
        )
        self._end(received_ms, "recv", leader, node, "AppendEntries", request)

    def last_entry(self, node: int, ms: float, index: int, term: int) -> None:
        for number in range(1, index + 1):
            self._add(ms, "apply", node, index=number, term=term, entry="command")

    def crash(self, node: int, ms: float) -> None:
        self._add(ms, "down", node, why="crash")

    def start(self, node: int, ms: float, term: int) -> None:
        self._add(ms, "up", node, term=term, commit=0, last_index=0)

    def stop(self, node: int, ms: float) -> None:
        self._add(ms, "down", node, why="stopped")

    def append(self, node: int, ms: float, index: int, term: int) -> None:
        self._add(ms, "log", node, phase="append", index=index, term=term, count=1)

    def last_messages(self, leader: int, nodes: Sequence[int], ms: float) -> None:
        """Messages of a leader that was killed before it had written its records of them."""
        for node in nodes:
            self._end(ms, "recv", leader, node, "AppendEntries", f"{leader}-{ms}-{node}")

    def unsent(self, node: int, target: int, ms: float, message: str) -> None:
        """A message of a real node that it could not send."""
        why = "no connection or a full queue"
        self._end(ms, "drop", node, target, message, "", note=why)

    def refuse(self, node: int, leader: int, ms: float) -> None:
        """A real node takes a write that it cannot forward."""
        operation = {"client": node, "op_id": int(ms), "op": "write", "key": "", "value": None}
        request = {
            "client": node,
            "op_id": int(ms),
            "request": 1,
            "index": 0,
            "term": 0,
            "message": "",
        }
        self._add(ms, "op", node, phase="invoke", note="", **operation)
        self._add(ms, "request", node, phase="take", **request)
        self.unsent(node, leader, ms + 0.2, "Forward")
        self._add(ms + 0.4, "request", node, phase="end", **request)
        self._add(ms + 0.4, "op", node, phase="refused", note="NotLeader", **operation)

    def fault(self, name: str, ms: float, links: Sequence[tuple[int, int]]) -> None:
        self._add(ms, "fault", 0, phase="begin", fault=name, nodes=[], links=links, note="")

    def course(self, end_ms: float) -> Course:
        """The course of the trace, which ends at a time."""
        nodes = list(self._nodes)
        headers = (
            [TraceRecord(0, "run", 0, _header(f"node {node}", [node])) for node in nodes]
            if self._is_real
            else [TraceRecord(0, "run", 0, _header("small", nodes))]
        )
        self._add(end_ms, "commit", 0, index=0)
        records = [record for _, record in sorted(self._records, key=itemgetter(0))]
        return read_course([*headers, *records])

    def _send(self, ms: float, source: int, target: int, name: str, term: int, note: str) -> str:
        self._ids += 1
        text = f"{source}-{self._ids}"
        self._add(ms, "send", source, to=target, id=text, message=name, term=term, note=note)
        return text

    def _end(
        self, ms: float, kind: str, source: int, target: int, name: str, text: str, **more: str
    ) -> None:
        self._add(ms, kind, target, **{"from": source, "id": text, "message": name, **more})

    def _add(self, ms: float, kind: str, node: int, **fields: object) -> None:
        t_us = round(ms * MS)
        self._records.append((t_us, TraceRecord(t_us, kind, node, fields)))


def _header(name: str, nodes: Sequence[int]) -> dict[str, object]:
    return {"schema": 1, "name": name, "seed": 1, "nodes": nodes}
