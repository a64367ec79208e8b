"""Runs attacks on a cluster of three real nodes, one after the other, and observes their effect on the nodes.

An attack is anything that one client without credentials can send. The nodes fail if a process ends, if there is an
election, or if the nodes do not answer, agree and accept a write afterwards. The responses to an attack do not matter:
most are rejections. The address space of each node is limited (`limited_node`).
"""

from __future__ import annotations

import json
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from qcore.processes import NodeProcess, ProcessCluster, ProcessError, wait_for
from tests.process.attacks.attacker import Attacker, Json
from tests.process.conftest import initialise
from tests.process.programs.limited_node import VARIABLE

#: The limit of a node's growth, MiB. An idle node uses 0.2 GiB.
ADDRESS_SPACE_MIB = 1280
#: No stall may exceed the election timeout. It allows for a busy machine: without the bounds, a node stalls many times
#: longer, or ends.
TIMING = (
    *("--heartbeat-ms", "100"),
    *("--election-timeout-min-ms", "3000", "--election-timeout-max-ms", "4500"),
)
#: Small enough that nodes take, store and send snapshots continuously.
SNAPSHOTS = ("--snapshot-entries", "400", "--snapshot-bytes", "8000000", "--keep-entries", "50")
#: How long the nodes may take to finish the work of an attack. They may be busy with it, in steps that each end soon.
SETTLE_S = 600.0
#: The maximum number of rounds of a flood, in a short run and a full one.
_ROUNDS = (2, 1000)
#: How long an attack waits for one reply.
REPLY_S = 40.0
_PROGRAM = Path(__file__).parents[1] / "programs" / "limited_node.py"


@dataclass(slots=True)
class Outcome:
    """The effect of an attack.

    Attributes:
        failures: the failures of the nodes; empty if they withstood the attack.
        seconds: the duration of the attack; `settling`: the time afterwards until the nodes were idle.
        replies: the number of replies, by error code.
        stall_ms: the longest stall of an event loop since the node's start, if the attack made it longer; `own_ms`:
            without the time that the node waited for a processor.
        peak_mib: the largest address space of a node until now.
    """

    attack: str
    seconds: float = 0.0
    settling: float = 0.0
    failures: list[str] = field(default_factory=list)
    replies: Counter[str] = field(default_factory=Counter)
    stall_ms: float | None = None
    own_ms: float | None = None
    peak_mib: int = 0

    def row(self) -> str:
        """A line of the table."""
        stall = "" if self.stall_ms is None else f"{self.stall_ms:.0f}"
        own = "" if self.own_ms is None else f"{self.own_ms:.0f}"
        replies = ", ".join(f"{name} {count}" for name, count in self.replies.most_common(5))
        row = (
            f"{self.attack:38} {self.seconds:5.1f} + {self.settling:4.1f} s  stall {stall:>5} own {own:>5} ms  "
            f"mapped {self.peak_mib:5} MiB  {replies}"
        )
        return row + "".join(f"\n    FAILED: {failure}" for failure in self.failures)


class AttackContext:
    """The cluster under attack, and helpers for attacks.

    Args:
        cluster: three running nodes with a leader.
        full: attack with the sizes of the long campaign.

    Attributes:
        replies: the number of replies in the current attack, by error code.
    """

    def __init__(self, cluster: ProcessCluster, *, full: bool) -> None:
        self.cluster = cluster
        self.full = full
        self.replies: Counter[str] = Counter()
        self.leader = cluster.wait_leader()
        #: The state of the nodes after the last attack. The next attack must find them so.
        self.seen = observe(cluster)

    @property
    def follower(self) -> NodeProcess:
        """A node that does not lead."""
        return next(n for n in self.cluster.nodes.values() if n is not self.leader)

    def scale(self, short: int, full: int) -> int:
        """The size for this kind of run."""
        return full if self.full else short

    @contextmanager
    def connect(self, node: NodeProcess | None = None) -> Iterator[Attacker]:
        """A connection to the leader or another node."""
        with Attacker((node or self.leader).address) as attacker:
            yield attacker

    def perform(
        self, *requests: Json, node: NodeProcess | None = None, **options: Any
    ) -> list[Any]:
        """Send `Perform`s with these requests together, and return the responses that arrived.

        Args:
            requests: the values of `Perform.request`.
            node: the receiver; None: the leader.
            options: further fields of each `Perform`.
        """
        with self.connect(node) as attacker:
            fields = ({"request": request, **options} for request in requests)
            replies = attacker.requests(fields, REPLY_S + len(requests) / 100)
        self.count(replies)
        self.replies["no reply"] += len(requests) - len(replies)
        return [body.get("response") for reply in replies for body in reply.values()]

    def ask(self, name: str, /, node: NodeProcess | None = None, **fields: Any) -> Any:
        """Send one message, and return `response` of its reply, or None without a reply."""
        with self.connect(node) as attacker:
            attacker.send(json.dumps({name: {"id": "1", **fields}}))
            attacker.run(1, REPLY_S)
            replies = attacker.replies
        self.count(replies)
        return next((body.get("response") for r in replies for body in r.values()), None)

    def create(self, entity_type: str, parent: Json | None = None, name: str = "x") -> Json:
        """Create an entity that the attack needs, and return its id."""
        request = {"entity_type": entity_type, "parent_id": parent, "name": name}
        (response,) = self.perform({"CreateEntity": request})
        created: Json | None = response["CreateEntity"]["response"]
        assert created is not None, f"the attack could not be prepared: {response}"
        return created

    def flood(self, frames: Sequence[str], node: NodeProcess) -> None:
        """Send frames repeatedly for a while, and read no reply."""
        deadline = time.monotonic() + (4.0 if self.full else 0.2)
        rounds = self.scale(*_ROUNDS)
        with self.connect(node) as attacker:
            while rounds and time.monotonic() < deadline and not attacker.closed:
                rounds -= 1
                for frame in frames:
                    attacker.send(frame)
                if not attacker.run(0, deadline - time.monotonic(), read=False):
                    self.replies["not taken"] += 1

    def count(self, replies: Iterable[Json]) -> None:
        """Count the responses by their error codes."""
        for reply in replies:
            for name, body in reply.items():
                self.replies[_code(name, body)] += 1


Attack: TypeAlias = Callable[[AttackContext], None]


def _code(name: str, body: Json) -> str:
    """The error code of a response, `error` or `ok`."""
    response = body.get("response")
    candidates = [body]
    if isinstance(response, dict):
        candidates += [response, *(value for value in response.values() if isinstance(value, dict))]
    for candidate in candidates:
        detail = candidate.get("detail")
        if isinstance(detail, dict):
            return str(detail.get("code"))
        if isinstance(candidate.get("error"), str):
            return "error"
    return "ok" if name != "Error" else "error"


# --- the nodes --------------------------------------------------------------------------------------


@contextmanager
def limited_cluster(directory: Path, *arguments: str) -> Iterator[ProcessCluster]:
    """Three nodes with a leader and little address space."""
    environment = {VARIABLE: str(ADDRESS_SPACE_MIB)}
    settings = (*TIMING, *SNAPSHOTS, *arguments)
    with ProcessCluster(directory, 3, settings, environment) as cluster:
        for node in cluster.nodes.values():
            node.program = (str(_PROGRAM),)
        cluster.start()
        initialise(cluster)
        yield cluster


@dataclass(slots=True, frozen=True)
class _NodeState:
    """The state of one node at one time."""

    pid: int
    term: int
    leader: int | None
    stall_ms: float
    own_ms: float


_OWN_STALL = re.compile(r"^qcore_event_loop_stall_own_seconds_max (\S+)$", re.MULTILINE)


def _state_of(node: NodeProcess) -> _NodeState | None:
    """The state of an idle node; None while the node does not answer or still has work."""
    if not node.running:
        return None
    code, body = node.get("/status", timeout_s=20)
    own_stall = _OWN_STALL.search(node.get("/metrics", timeout_s=20)[1])
    if code != 200 or own_stall is None:
        return None
    status = json.loads(body)
    extra = status["qcore"]
    if extra["applied_index"] < extra["commit_index"] or any(extra["queues"].values()):
        return None
    stall_ms = 1000 * extra["event_loop_stall_seconds_max"]
    own_ms = 1000 * float(own_stall[1])
    return _NodeState(node.pid, status["current_term"], status["current_leader"], stall_ms, own_ms)


def _peak_mib(node: NodeProcess) -> int:
    if not node.running:
        return 0
    for line in Path(f"/proc/{node.pid}/status").read_text().splitlines():
        if line.startswith("VmPeak"):
            return int(line.split()[1]) // 1024
    return 0


def _settled(cluster: ProcessCluster) -> dict[int, _NodeState] | None:
    seen = {node.node_id: _state_of(node) for node in cluster.nodes.values()}
    if any(node.running and seen[node.node_id] is None for node in cluster.nodes.values()):
        return None
    return {node_id: one for node_id, one in seen.items() if one is not None} or None


def observe(cluster: ProcessCluster) -> dict[int, _NodeState]:
    """Wait until all running nodes are idle, and return their states.

    Raises:
        ProcessError: the nodes were not idle in time.
    """
    return wait_for(
        lambda: _settled(cluster), SETTLE_S, "the nodes to finish the work of an attack"
    )


def run_attack(context: AttackContext, attack: Attack) -> Outcome:
    """Run one attack and return its effect. Afterwards all nodes run."""
    cluster, outcome, before = context.cluster, Outcome(attack.__name__), context.seen
    began = time.monotonic()
    context.replies = outcome.replies
    try:
        attack(context)
    except OSError as error:
        outcome.failures.append(f"a node accepted no connection: {error}")
    outcome.seconds = time.monotonic() - began
    try:
        after = observe(cluster)
    except ProcessError as error:
        outcome.failures.append(str(error))
        after = {}
    outcome.settling = time.monotonic() - began - outcome.seconds
    for node in cluster.nodes.values():
        outcome.peak_mib = max(outcome.peak_mib, _peak_mib(node))
        _compare(node, before.get(node.node_id), after.get(node.node_id), outcome)
    context.seen = _restart_ended(context) if outcome.failures else after
    return outcome


def _compare(
    node: NodeProcess, before: _NodeState | None, after: _NodeState | None, outcome: Outcome
) -> None:
    if not node.running:
        last = node.log_tail(1)[-300:]
        outcome.failures.append(f"node {node.node_id} ended: {last}")
    elif before is not None and after is not None:
        assert before.pid == after.pid, "the node must not have been restarted"
        if (before.term, before.leader) != (after.term, after.leader):
            outcome.failures.append(
                f"node {node.node_id} saw an election: term {before.term}, leader {before.leader} became "
                f"term {after.term}, leader {after.leader}"
            )
        if after.stall_ms > before.stall_ms:
            outcome.stall_ms = max(outcome.stall_ms or 0.0, after.stall_ms)
        if after.own_ms > before.own_ms:
            outcome.own_ms = max(outcome.own_ms or 0.0, after.own_ms)


def _restart_ended(context: AttackContext) -> dict[int, _NodeState]:
    """Restart the nodes that ended, so that the next attack finds three nodes."""
    cluster = context.cluster
    for node in cluster.nodes.values():
        if not node.running:
            try:
                node.start()
            except ProcessError as error:
                raise AssertionError(f"node {node.node_id} does not restart: {error}") from error
    context.leader = cluster.wait_leader(60)
    return observe(cluster)


def report(line: str) -> None:
    """Print progress. pytest shows it with `-s`, or after a failure."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def run_attacks(context: AttackContext, attacks: Sequence[Attack]) -> list[Outcome]:
    """Run the attacks one after the other and print a table."""
    outcomes = []
    for attack in attacks:
        outcome = run_attack(context, attack)
        report(outcome.row())
        outcomes.append(outcome)
    return outcomes


def check_restart(context: AttackContext, write: Callable[[AttackContext], None]) -> None:
    """Check that a write works and the nodes agree, and that they have the same state after kill -9 of all of them."""
    cluster = context.cluster
    write(context)
    state = cluster.wait_converged(SETTLE_S)
    for node in cluster.nodes.values():
        node.kill()
    began = time.monotonic()
    cluster.start()
    context.leader = cluster.wait_leader(60)
    # Until the new leader commits, all nodes may still be at the index of a snapshot.
    same = "the state from before the kill"
    wait_for(lambda: cluster.wait_converged(SETTLE_S) == state, SETTLE_S, same)
    write(context)
    cluster.wait_converged(SETTLE_S)
    report(f"killed, and restarted with the same state after {time.monotonic() - began:.1f} s")


def assert_no_failures(outcomes: Sequence[Outcome]) -> None:
    """Fail if any attack succeeded."""
    failed = [outcome.row() for outcome in outcomes if outcome.failures]
    assert not failed, "\n".join(failed)
