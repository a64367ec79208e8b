"""A trace of any length with the events of a loaded cluster of five nodes, made without a simulation."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from itertools import count
from pathlib import Path
from random import Random
from typing import Final

from qcore.trace import TraceWriter

_CLIENTS: Final = 10
_WRITE_EVERY_US: Final = 2_000
_LEADER_WRITES: Final = 5_000
#: How long the cluster is without a leader.
_ELECTION_US: Final = 250_000
_WRITES_OF_A_READ: Final = 4
#: The share of the writes of which the clients do not learn the outcome.
_UNKNOWN: Final = 0.001


class LoadedCluster:
    """Writes the trace of a cluster that replicates 500 writes a second and elects a new leader every 10 s.

    Args:
        trace: gets the records, with the details of logs and requests.
        nodes: how many nodes it has.
        keys: over how many keys the operations are spread.
        seed: decides the times.
    """

    def __init__(self, trace: TraceWriter, nodes: int = 5, keys: int = 50, seed: int = 1) -> None:
        self._trace = trace
        self._nodes = range(1, nodes + 1)
        self._keys = keys
        self._requests = 0
        self._values: dict[str, int | None] = {}
        self._random = Random(seed)
        self._later: list[tuple[int, int, Callable[[int], None]]] = []
        self._order = count()
        self._ids = dict.fromkeys(self._nodes, 0)
        self._op_ids = dict.fromkeys(range(1, _CLIENTS + 1), 0)
        self._commit = dict.fromkeys(self._nodes, 0)
        self._last = 0
        self._term = 1
        self._leader = 1

    def run(self, events: int) -> None:
        """Write about so many records."""
        trace = self._trace
        trace.run(0, "many_events", 1, list(self._nodes))
        for node in self._nodes:
            trace.up(0, node, 0, 0, 0)
            trace.role(0, node, "follower", 0, None)
        now = 0
        for number in count():
            if number % _LEADER_WRITES == 0:
                self._pass(now + 50_000)
                now = self._elect(now + _ELECTION_US)
            now += _WRITE_EVERY_US
            self._pass(now)
            if trace.count >= events:
                break
            self._write(now)
            if number % _WRITES_OF_A_READ == 0:
                self._read(now + 500)
        self._pass(now + 1_000_000)

    def _at(self, t_us: int, action: Callable[[int], None]) -> None:
        heapq.heappush(self._later, (t_us, next(self._order), action))

    def _pass(self, until_us: int) -> None:
        """Do everything that was to happen before a time."""
        while self._later and self._later[0][0] <= until_us:
            t_us, _, action = heapq.heappop(self._later)
            action(t_us)

    def _flight(self) -> int:
        return self._random.randint(1_000, 5_000)

    def _send(
        self,
        t_us: int,
        source: int,
        target: int,
        name: str,
        note: str,
        then: Callable[[int], None] | None = None,
    ) -> None:
        self._ids[source] += 1
        message = f"{source}-{self._ids[source]}"
        self._trace.send(t_us, source, target, message, name, self._term, note)
        is_lost = self._random.random() < 0.001

        def arrive(now: int) -> None:
            if is_lost:
                self._trace.drop(now, target, source, message, name, "loss")
                return
            self._trace.recv(now, target, source, message, name)
            if then is not None:
                then(now)

        self._at(t_us + self._flight(), arrive)

    def _elect(self, now: int) -> int:
        """The next node asks all others for their votes, and leads."""
        trace = self._trace
        self._term += 1
        self._leader = candidate = self._leader % len(self._nodes) + 1
        trace.role(now, candidate, "candidate", self._term, None)
        trace.vote(now, candidate, self._term, candidate)
        note = f"last {self._last}.{self._term - 1}"

        def grant(voter: int) -> Callable[[int], None]:
            def answer(t_us: int) -> None:
                trace.vote(t_us, voter, self._term, candidate)
                trace.role(t_us, voter, "follower", self._term, candidate)
                self._send(t_us, voter, candidate, "RequestVoteResponse", "granted")

            return answer

        for voter in self._nodes:
            if voter != candidate:
                self._send(now, candidate, voter, "RequestVote", note, grant(voter))
        self._pass(now + 20_000)
        trace.role(now + 20_000, candidate, "leader", self._term, candidate)
        return now + 20_000

    def _begin(self, now: int, kind: str) -> Callable[[int, str, int | None, int], None]:
        """A client begins an operation at the leader. Returns what ends it."""
        trace, leader, term = self._trace, self._leader, self._term
        client = self._random.randint(1, _CLIENTS)
        self._op_ids[client] += 1
        self._requests += 1
        op_id, request = self._op_ids[client], self._requests
        key = f"k{self._random.randrange(self._keys)}"
        value = None if kind == "read" else client * 1_000_000 + op_id
        trace.op(now, leader, "invoke", client, op_id, kind, key, value)
        trace.request(now, leader, "take", client, op_id, request)

        def end(t_us: int, outcome: str, output: int | None, index: int) -> None:
            if kind == "write":
                self._values[key] = value
            elif outcome == "ok":
                output = self._values.get(key)
            trace.request(t_us, leader, "end", client, op_id, request, index, term if index else 0)
            note = "OutcomeUnknown" if outcome == "unknown" else ""
            trace.op(t_us, leader, outcome, client, op_id, kind, key, output, note)

        return end

    def _read(self, now: int) -> None:
        end = self._begin(now, "read")
        self._at(now + self._random.randint(100, 3_000), lambda t_us: end(t_us, "ok", None, 0))

    def _write(self, now: int) -> None:
        trace, leader = self._trace, self._leader
        end = self._begin(now, "write")
        before, self._last = self._last, self._last + 1
        index, term, received = self._last, self._term, [1]

        def append(t_us: int, node: int) -> None:
            trace.log(t_us, node, "append", index, term, 1)

        def commit(t_us: int, node: int, known: int) -> None:
            if self._commit[node] < known:
                trace.commit(t_us, node, known)
                for applied in range(self._commit[node] + 1, known + 1):
                    trace.apply(t_us, node, applied, term, "write")
                self._commit[node] = known

        def acknowledge(t_us: int) -> None:
            received[0] += 1
            if received[0] == len(self._nodes) // 2 + 1:
                commit(t_us, leader, index)
                is_known = self._random.random() >= _UNKNOWN
                end(t_us, "ok" if is_known else "unknown", None, index)

        def follow(node: int) -> Callable[[int], None]:
            def store(t_us: int) -> None:
                trace.log(t_us, node, "durable", index)
                self._send(
                    t_us, node, leader, "AppendEntriesResponse", f"match {index}", acknowledge
                )

            def receive(t_us: int) -> None:
                append(t_us, node)
                if committed:
                    commit(t_us, node, min(committed, index))
                self._at(t_us + self._random.randint(200, 900), store)

            return receive

        append(now, leader)
        self._at(
            now + self._random.randint(200, 900),
            lambda t_us: trace.log(t_us, leader, "durable", index),
        )
        committed = self._commit[leader]
        note = f"prev {before}.{term} entries 1 commit {committed}"
        for node in self._nodes:
            if node != leader:
                self._send(now, leader, node, "AppendEntries", note, follow(node))


def write_trace(path: Path, events: int, nodes: int = 5, keys: int = 50) -> None:
    """Write the trace of a loaded cluster with about so many records, and half as many details."""
    with path.open("wb") as file:
        trace = TraceWriter(compact=file)
        LoadedCluster(trace, nodes, keys).run(events)
        trace.finish()
