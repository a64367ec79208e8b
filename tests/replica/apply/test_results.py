"""The results of a machine are checked before they are recorded, stored or sent, and no step builds too many."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import replace

import pytest

from qcore.core.events import Tick
from qcore.core.text_size import json_length, lone_surrogate, utf8_length
from qcore.errors import (
    QcoreError,
    ResultInvalid,
    ResultTooLarge,
    StateMachineFailed,
    StoreError,
)
from qcore.machines.interface import MAX_RESULT_BYTES, ApplyContext
from qcore.node.application import TextApplication
from qcore.replica.apply.apply_backlog import MAX_STEP_COST
from qcore.replica.events import Applied, ClientRequest, Reply, TriggerSnapshot
from qcore.replica.machine_results import digest_of
from qcore.replica.messages import ForwardResponse, RequestKind
from qcore.replica.requests.forwarded_errors import error_of_response, response_of_error
from qcore.replica.requests.pending import PendingRequest
from qcore.replica.requests.reads import MAX_READ_COST
from qcore.replica.sessions.session_table import open_session_payload, session_command_payload
from qcore.transport import wire
from qcore.transport.codec.codec import Codec, encode_response
from qcore.transport.limits import TransportLimits
from tests.driver.replicas import ReplicaCluster, ReplicaDriver
from tests.replica.support.client_sessions import text_of

FRAME = TransportLimits().max_frame_bytes
KIB = 1024


class ResultMachine:
    """Counts commands. A command or query names the result: `"none"`, `"surrogate"`, or a number of letters."""

    name = "gives"
    versions = (1, 1)

    def __init__(self) -> None:
        self.count = 0

    def apply(self, command: str, context: ApplyContext) -> str:
        self.count += 1
        return self._given(command)

    def query(self, query: str) -> str:
        if query == "raise":
            raise KeyError("\ud800" * 100_000)
        if query == "refuse":
            raise StoreError("\ud800")
        return self._given(query)

    def _given(self, what: str) -> str:
        if what == "none":
            return None  # type: ignore[return-value] # the fault
        if what == "surrogate":
            return "a\udc00"
        return str(self.count) if what == "count" else what[-1] * int(what[:-1])

    def snapshot(self) -> Iterable[str]:
        return [str(self.count)]

    def restore(self, chunks: Iterable[str]) -> None:
        self.count = int("".join(chunks))

    def state_hash(self) -> str:
        return f"{self.count:x}"


def ask(
    cluster: ReplicaCluster,
    driver: ReplicaDriver,
    payload: str,
    kind: RequestKind = "session",
    number: int = 1,
) -> Reply:
    driver.step(ClientRequest(number, kind, payload, 60_000))
    cluster.settle()
    cluster.pass_time(50)
    return next(reply for reply in reversed(driver.replies) if reply.request_id == number)


def of_kind(error: QcoreError | None, kind: type[QcoreError]) -> str:
    assert type(error) is kind, error
    return str(error)


# -- invalid results -----------------------------------------------------------------------------------


@pytest.mark.parametrize("rules", [1, 2, 3])
@pytest.mark.parametrize(
    ("what", "says"),
    [("none", "of the type NoneType"), ("surrogate", "lone surrogate, U.DC00, at character 1")],
)
def test_result_that_cannot_be_sent_is_a_replicated_error(what: str, says: str, rules: int) -> None:
    """In a session and without one, through a follower, behind a snapshot, and after a restart."""
    cluster = ReplicaCluster(machine=ResultMachine, rules=rules)
    leader, follower = cluster.elect(1), cluster.drivers[2]
    bare = of_kind(ask(cluster, follower, what, "write").error, ResultInvalid)
    assert "the command took effect" in bare
    session = int(ask(cluster, leader, open_session_payload(60_000)).result or 0)
    command = session_command_payload(session, 1, 0, what)
    first = of_kind(ask(cluster, leader, command).error, ResultInvalid)
    assert first == bare
    for driver in cluster.drivers.values():
        cluster.pass_time(100)
        driver.step(TriggerSnapshot())
    for node_id in cluster.drivers:
        cluster.restart(node_id)
    cluster.elect(3)
    assert of_kind(ask(cluster, cluster.drivers[2], command).error, ResultInvalid) == first
    assert ask(cluster, cluster.drivers[3], "count", "read").result == "2", "applied once"
    assert len({text_of(driver.replica.sessions) for driver in cluster.drivers.values()}) == 1


def test_invalid_query_result_fails_only_that_query() -> None:
    cluster = ReplicaCluster(1, ResultMachine)
    driver = cluster.elect(1)
    assert "NoneType" in of_kind(ask(cluster, driver, "none", "read").error, ResultInvalid)
    assert "U+DC00" in of_kind(
        ask(cluster, driver, "surrogate", "stale_read").error or None, ResultInvalid
    )
    assert ask(cluster, driver, "count", "read").result == "0"


def test_text_of_a_query_exception_is_sendable_and_bounded() -> None:
    cluster = ReplicaCluster(1, ResultMachine)
    driver = cluster.elect(1)
    for query in ("raise", "refuse"):
        text = of_kind(ask(cluster, driver, query, "read").error, StoreError)
        assert lone_surrogate(text) is None
        assert 0 < len(text) < 3000


# -- results that are too large ------------------------------------------------------------------------


@pytest.mark.parametrize("letter", ["x", '"', "\x01", "é", "\U0001f600"])
def test_largest_result_fits_a_frame_and_a_larger_is_rejected(letter: str) -> None:
    """Between nodes, and from a node to a client whose commands are text."""
    machine = ResultMachine()
    cluster = ReplicaCluster(1, lambda: machine)
    driver = cluster.elect(1)
    room = (MAX_RESULT_BYTES - 2) // (json_length(letter) - 2)
    result = ask(cluster, driver, f"{room}{letter}", "write").result
    assert result == room * letter
    message = wire.ForwardResponse(
        "i" * 1024, wire.Ok(ForwardResponse(2**62, result, 2**62, leader_id=2**62))
    )
    assert len(Codec(wire.REGISTRY).encode(message)) <= FRAME
    response = TextApplication(machine).success("Write", result)
    assert len(encode_response("PerformResponse", "i" * 1024, response)) <= FRAME
    for kind in ("write", "read"):
        error = ask(cluster, driver, f"{room + 1}{letter}", kind).error
        assert "cannot be sent" in of_kind(error, ResultTooLarge)


@pytest.mark.parametrize("rules", [2, 3])
def test_a_write_whose_result_is_too_large_is_not_unknown(rules: int) -> None:
    """Through a follower, and again by a retry: the session has recorded it. Rules 2 recorded the result itself."""
    cluster = ReplicaCluster(machine=ResultMachine, rules=rules)
    leader, follower = cluster.elect(1), cluster.drivers[3]
    large = f"{MAX_RESULT_BYTES}x"
    assert "took effect" in of_kind(ask(cluster, follower, large, "write").error, ResultTooLarge)
    session = int(ask(cluster, leader, open_session_payload(60_000)).result or 0)
    for _ in range(2):
        error = ask(cluster, follower, session_command_payload(session, 1, 0, large)).error
        assert "took effect" in of_kind(error, ResultTooLarge)
    assert ask(cluster, leader, "count", "read").result == "2"
    recorded = len(text_of(leader.replica.sessions))
    assert (recorded > MAX_RESULT_BYTES) == (rules == 2)


def test_result_errors_travel_between_nodes() -> None:
    request = PendingRequest(1, 2, "write", "", 0)
    for error in (ResultTooLarge("a"), ResultInvalid("b")):
        response = response_of_error(request, error)
        assert repr(error_of_response(response)) == repr(error)
        assert not error.retryable


# -- snapshots and digests -----------------------------------------------------------------------------


class Bytes(ResultMachine):
    def snapshot(self) -> Iterable[str]:
        return ["fine", b"1"]  # type: ignore[list-item] # the fault


class Surrogates(ResultMachine):
    def snapshot(self) -> Iterable[str]:
        return ["fine", "not fine: \ud800"]


class OneText(ResultMachine):
    def snapshot(self) -> Iterable[str]:
        return 50 * "1"


@pytest.mark.parametrize(
    ("machine", "says"),
    [(Bytes, "chunk 2 .* of the type bytes"), (Surrogates, "chunk 2 .* U.D800, at character 10")],
)
def test_snapshot_that_cannot_be_stored_stops_the_node(
    machine: Callable[[], ResultMachine], says: str
) -> None:
    driver = ReplicaCluster(1, machine).elect(1)
    with pytest.raises(StateMachineFailed, match=says):
        driver.step(TriggerSnapshot())
    assert driver.disk.durable.snapshot is None


def test_a_snapshot_that_is_one_text_is_one_chunk() -> None:
    cluster = ReplicaCluster(1, OneText, snapshot_entries=2)
    driver = cluster.elect(1)
    for _ in range(5):
        cluster.now += 1000
        driver.step(Tick())
    assert driver.disk.durable.snapshot is not None, "read letter by letter it would take longer"
    assert str(driver.disk.durable.snapshot.data).endswith("\n" + 50 * "1")


@pytest.mark.parametrize("digest", ["", "xyz", "0x1f", 5, "1" * 9 + "\n"])
def test_invalid_digest_stops_the_node(digest: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ResultMachine, "state_hash", lambda _machine: digest)
    with pytest.raises(StateMachineFailed, match="must be hexadecimal"):
        digest_of(ResultMachine())


# -- what one step builds ------------------------------------------------------------------------------


def built(effects: Iterable[object]) -> list[int]:
    return [len(e.result or "") for e in effects if isinstance(e, Reply)]


@pytest.mark.parametrize("kind", ["read", "lease_read", "follower_read", "stale_read"])
@pytest.mark.parametrize("size", [3, 100 * KIB])
def test_simultaneous_reads_are_served_in_bounded_steps(kind: RequestKind, size: int) -> None:
    cluster = ReplicaCluster(1, ResultMachine, max_pending_requests=5000)
    driver = cluster.elect(1)
    reads = [ClientRequest(n, kind, f"{size}x", 60_000, 10_000) for n in range(1200)]
    steps = [built(driver.step(*reads))]
    while driver.replica.next_deadline() <= cluster.now:
        steps.append(built(driver.step()))
    assert [reply.request_id for reply in driver.replies] == list(range(1200))
    assert {reply.result for reply in driver.replies} == {size * "x"}
    for step in steps:
        assert 0 < len(step) <= MAX_READ_COST
        assert sum(step) <= MAX_READ_COST * KIB + size
    assert len(driver.replica._reads) == 0


def test_read_that_expires_in_the_queue_has_one_outcome() -> None:
    cluster = ReplicaCluster(1, ResultMachine, max_pending_requests=5000)
    driver = cluster.elect(1)
    driver.step(*[ClientRequest(n, "read", f"{600 * KIB}x", 100) for n in range(3)])
    cluster.now += 100_000
    for _ in range(4):
        driver.step()
    errors = {reply.request_id: reply.error for reply in driver.replies}
    assert sorted(errors) == [0, 1, 2]
    assert len(driver.replies) == 3


def test_large_results_are_applied_in_bounded_steps() -> None:
    cluster = ReplicaCluster(1, ResultMachine, max_pending_requests=5000)
    driver = cluster.elect(1)
    size = 64 * KIB
    effects = driver.step(*[ClientRequest(n, "write", f"{size}x", 60_000) for n in range(100)])
    steps: list[list[int]] = []
    while len(driver.replies) < 100:
        effects = driver.step()
        steps.append(built(effects))
        assert sum(isinstance(effect, Applied) for effect in effects) == len(steps[-1])
        assert len(steps) < 50, "it never ends"
    assert [reply.request_id for reply in driver.replies] == list(range(100))
    assert max(map(sum, steps)) <= MAX_STEP_COST * KIB + size


# -- texts ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["", "a", '"\\\n\x00\x1f\x7f', "é\U0001f600\u2028", "x" * 1000])
def test_result_length_counts_bytes(text: str) -> None:
    assert utf8_length(text) == len(text.encode())
    assert json_length(text) == len(json.dumps(text, ensure_ascii=False).encode())
    assert lone_surrogate(text) is None
    assert lone_surrogate(text + "\ud800") == len(text)


def test_request_size_counts_bytes() -> None:
    cluster = ReplicaCluster(1, ResultMachine)
    driver = cluster.elect(1)
    limit = driver.replica.config.max_command_bytes
    assert type(ask(cluster, driver, "é" * (limit // 2 + 1), "read").error).__name__ == "TooLarge"
    entry = driver.replica.core.log_entries()[-1]
    assert replace(entry, data="é" * 10).size_bytes() - replace(entry, data="").size_bytes() == 20
