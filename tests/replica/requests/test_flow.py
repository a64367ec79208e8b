"""Flow control: a rejection names the time to retry, and no queue grows without bound."""

from __future__ import annotations

import json
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from qcore.core.config import RaftConfig
from qcore.core.events import Tick
from qcore.errors import Overloaded
from qcore.replica.events import AddLearner, ClientRequest, TransferLeader
from qcore.replica.messages import ForwardResponse, ReadIndexResponse
from qcore.replica.requests.admission import RequestAdmission
from qcore.replica.requests.flow_control import DrainMeter, FlowControl, retry_after_ms
from qcore.replica.requests.forwarded_errors import error_of_response, response_of_error
from qcore.replica.requests.pending import PendingRequest
from tests.driver.replicas import ReplicaCluster, ReplicaDriver


def put(key: str, size: int = 1) -> str:
    return json.dumps({"op": "set", "key": key, "value": "v" * size})


def get(key: str) -> str:
    return json.dumps({"op": "get", "key": key})


def rejections(driver: ReplicaDriver) -> list[Overloaded]:
    return [reply.error for reply in driver.replies if isinstance(reply.error, Overloaded)]


# -- the hint ------------------------------------------------------------------------------------


@given(rate=st.integers(1, 50_000), seconds=st.integers(2, 20), amount=st.integers(1, 100_000))
def test_the_meter_measures_a_steady_rate(rate: int, seconds: int, amount: int) -> None:
    meter = DrainMeter(0)
    step = max(1, 1_000_000 // rate)
    per_step = max(1, rate * step // 1_000_000)
    for now in range(0, seconds * 1_000_000, max(step, 10_000)):
        meter.drained(per_step * max(step, 10_000) // step, now)
    time_us = meter.time_for(amount, seconds * 1_000_000 - 1)
    assert time_us is not None
    expected = amount * step / per_step
    assert 0.4 * expected - 1 <= time_us <= 2.1 * expected + 1


def test_the_meter_forgets_all_older_than_two_seconds() -> None:
    meter = DrainMeter(0)
    meter.drained(1000, 0)
    assert meter.time_for(10, 500_000) is not None
    assert meter.time_for(10, 1_900_000) is not None
    assert meter.time_for(10, 2_100_000) is None


@given(st.none() | st.integers(0, 10**12), st.integers(1000, 10_000_000))
def test_a_hint_is_from_a_millisecond_to_an_election_timeout(
    time_us: int | None, longest_us: int
) -> None:
    assert 1 <= retry_after_ms(time_us, longest_us) <= -(-longest_us // 1000)


def test_a_faster_queue_gives_a_shorter_hint() -> None:
    hints = []
    for pause_us in (1000, 10_000):
        flow = FlowControl(10, 1000, 1_000_000, 0)
        now = 0
        for _ in range(100):
            flow.take(1)
            now += pause_us
            flow.release(1, now)
        for _ in range(10):
            flow.take(1)
        rejection = flow.rejection(1, now)
        assert rejection is not None
        hints.append(rejection.retry_after_ms)
    assert hints == [5, 50], "half of ten requests, at one every 1 and every 10 ms"


def test_hint_of_a_stuck_queue_is_an_election_timeout() -> None:
    cluster = ReplicaCluster(max_pending_requests=5)
    leader = cluster.elect(1)
    cluster.now += 5_000_000
    leader.step(Tick())
    leader = cluster.elect(1)
    cluster.now += 2_500_000  # the meter has forgotten what drained during the election
    cluster.network.isolated = {2, 3}
    for number in range(6):
        leader.request(number, put("x"), timeout_ms=60_000)
    (rejection,) = rejections(leader)
    assert rejection.retry_after_ms == cluster.raft.election_timeout_max_ms
    assert f"retry in {rejection.retry_after_ms} ms" in str(rejection)
    assert rejection.detail()["retry_after_ms"] == rejection.retry_after_ms


def test_hint_during_a_transfer_is_the_rest_of_its_time() -> None:
    cluster = ReplicaCluster()
    leader = cluster.elect(1)
    cluster.network.isolated = {2, 3}
    leader.step(TransferLeader(1, 2, 5000))
    cluster.now += 100_000
    leader.request(2, put("x"))
    (rejection,) = rejections(leader)
    assert rejection.retry_after_ms == cluster.raft.election_timeout_max_ms - 100


def test_a_hint_travels_with_a_forwarded_request() -> None:
    cluster = ReplicaCluster(max_uncommitted_bytes=100)
    leader = cluster.elect(1)
    cluster.network.isolated = {3}
    leader.stalled = True  # and node 2 gets no messages: nothing commits
    cluster.network.isolated = {2, 3}
    leader.request(1, put("x", 200), timeout_ms=60_000)
    cluster.network.isolated = {3}
    cluster.network.clear()
    follower = cluster.drivers[2]
    follower.request(2, put("y", 200), timeout_ms=60_000)
    cluster.settle()
    (rejection,) = rejections(follower)
    assert rejection.retry_after_ms >= 1
    assert "not committed" in str(rejection)


def test_a_hint_survives_both_kinds_of_responses() -> None:
    for kind in ("write", "read_index"):
        request = PendingRequest(7, 2, kind, "", 0)
        response = response_of_error(request, Overloaded.because("full", 123))
        assert isinstance(response, ForwardResponse | ReadIndexResponse)
        error = error_of_response(response)
        assert isinstance(error, Overloaded)
        assert error.retry_after_ms == 123
    mute = ForwardResponse(7, None, error_code="Overloaded", error_text="full")
    old = error_of_response(mute)
    assert isinstance(old, Overloaded)
    assert old.retry_after_ms == 1, "a node that gives no hint"


# -- bounds --------------------------------------------------------------------------------------


def test_pending_requests_are_bounded_by_their_bytes() -> None:
    cluster = ReplicaCluster()
    cluster.elect(1)
    follower = cluster.drivers[2]
    config = replace(follower.replica.config, max_pending_bytes=5000)
    follower.replica._admission = RequestAdmission(config, cluster.now)
    for number in range(8):
        follower.request(number, put("x", 1000), timeout_ms=60_000)
    assert len(rejections(follower)) == 4, "four of about 1,040 bytes fit into 5,000"
    assert "bytes are waiting" in str(rejections(follower)[0])
    cluster.settle()
    follower.request(9, put("x", 1000))
    cluster.settle()
    assert follower.replies[-1].error is None, "accepted again once there is room"


def test_admin_requests_are_bounded() -> None:
    cluster = ReplicaCluster(size=3)
    leader = cluster.elect(1)
    cluster.network.isolated = {2, 3}
    limit = leader.replica.config.max_admin_requests
    for number in range(limit + 5):
        leader.step(AddLearner(number, 4, "10.0.0.4:80", 60_000))
    assert len(rejections(leader)) == 5
    assert rejections(leader)[0].retry_after_ms == cluster.raft.election_timeout_max_ms
    for number in range(100, 110):
        leader.step(TransferLeader(number, 2, 60_000))
    assert len(rejections(leader)) == 15


def test_stale_reads_leave_nothing_behind() -> None:
    cluster = ReplicaCluster()
    leader = cluster.elect(1)
    for number in range(5000):
        leader.step(ClientRequest(number, "stale_read", get("x"), 60_000, 1_000_000))
    assert len(leader.replica._deadlines._heap) < 100


def test_a_settled_request_does_not_keep_its_payload() -> None:
    cluster = ReplicaCluster()
    cluster.elect(1)
    follower = cluster.drivers[2]
    follower.request(0, put("x"), timeout_ms=50_000)
    cluster.network.clear()  # lost: its deadline stays the earliest
    for number in range(1, 500):
        follower.request(number, put("x", 4000), timeout_ms=60_000)
        cluster.settle()
    held = [request for _, _, request in follower.replica._deadlines._heap]
    assert sum(request.done for request in held) == 499, "the deadlines are dropped later"
    assert all(not request.payload for request in held if request.done)


def test_leader_that_cannot_commit_forgets_expired_reads() -> None:
    cluster = ReplicaCluster(raft=RaftConfig(1, check_quorum=False))
    leader = cluster.elect(1)
    cluster.network.isolated = {2, 3}
    for number in range(2000):
        leader.request(number, get("x"), "read", timeout_ms=10)
        cluster.now += 20_000
        leader.step(Tick())
    assert len(leader.replica._reads) == 0
    reads = leader.replica.core._server.reads
    waiting = len(reads.queued) + len(reads.awaiting_commit)
    assert waiting + (len(reads.in_flight[2]) if reads.in_flight else 0) <= 1


def test_follower_that_cannot_apply_forgets_expired_reads() -> None:
    patient = RaftConfig(1, election_timeout_min_ms=10**8, election_timeout_max_ms=10**8)
    cluster = ReplicaCluster(raft=patient)  # the follower keeps its leader all the while
    leader = cluster.elect(1)
    follower = cluster.drivers[2]
    for number in range(1000):
        follower.request(number, get("x"), "follower_read", timeout_ms=10)
        for sent in list(cluster.network):
            ticket = getattr(sent.message, "read_id", None)
            if ticket is not None:
                follower.replica.forwarder.on_read_index_response(ReadIndexResponse(ticket, 10**6))
        cluster.network.clear()
        cluster.now += 20_000
        follower.step(Tick())
    assert leader.replica.core.leader_id == follower.replica.core.leader_id == 1
    assert len(follower.replica.forwarder._reads) < 200
    assert len({reply.request_id for reply in follower.replies}) == 1000
