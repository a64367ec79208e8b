"""The leadership moves on request, on SIGTERM and by priority, under load. No write is lost or applied twice."""

from __future__ import annotations

import signal
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from qcore.processes import ProcessCluster, wait_for
from tests.process.conftest import ARGUMENTS, assert_no_traceback, initialise
from tests.process.support.commands import run_qcore
from tests.process.support.load import Load, increment, schema_of_item
from tests.process.support.member_changes import initialised_cluster
from tests.process.support.wire_client import WireClient, read_field

pytestmark = pytest.mark.process

#: The number of requests in progress when the leader gets the signal to stop.
IN_FLIGHT = 100


@pytest.mark.long  # `test_sigterm_gives_requests_in_flight_a_result_or_unknown` is the shorter one
def test_transfers_and_sigterms_under_load_lose_nothing(tmp_path: Path) -> None:
    with initialised_cluster(tmp_path, size=3, voters=3) as cluster:
        with Load(cluster.endpoints, clients=4) as load:
            load.wait_acknowledged(30)
            transfer(cluster)
            load.wait_acknowledged(30)
            leader = cluster.wait_leader()
            assert leader.stop() == 0
            assert "leadership transferred" in leader.log_text()
            load.wait_acknowledged(30)
            leader.start()
            load.wait_acknowledged(30)
        load.read_all()
        load.check()
        cluster.wait_converged()
    assert_no_traceback(cluster)


def transfer(cluster: ProcessCluster) -> None:
    """Transfer the leadership with the command."""
    leader = cluster.wait_leader()
    to = next(node for node in cluster.running() if node is not leader)
    term = leader.status()["current_term"]
    target = str(to.node_id)
    done = run_qcore("leader", "transfer", "--to", target, endpoints=cluster.endpoints)
    assert done.returncode == 0, done.stderr
    assert f"node {to.node_id} leads" in done.stdout
    assert to.status()["current_term"] > term


def test_sigterm_gives_requests_in_flight_a_result_or_unknown(tmp_path: Path) -> None:
    """Every proposal gets a response, and the counter agrees with the responses."""
    with initialised_cluster(tmp_path, size=3, voters=3) as cluster:
        with WireClient(cluster.wait_leader().address) as client:
            client.perform("SetSchema", entity_schema=schema_of_item())
            made = client.perform("CreateEntity", entity_type="Item", parent_id=None, name="x")
        entity = made["response"]
        request = {"UpdateEntity": {"request": increment(entity)}}
        seen: set[int] = set()
        unknown = 0
        for _ in range(6):
            outcomes, values = stop_with_work_in_flight(cluster, request)
            assert outcomes.keys() <= {"ok", "OutcomeUnknown"}, outcomes
            assert len(values) == outcomes["ok"], "two increments got the same reply"
            assert seen.isdisjoint(values)
            seen |= values
            unknown += outcomes["OutcomeUnknown"]
            cluster.start()
            if len(seen) >= 2 * IN_FLIGHT:
                break
        assert seen, "each time, the leader was deposed before its followers resumed"
        cluster.wait_leader()
        final = wait_for(lambda: count(cluster, entity), 30, "a read")
        assert max(seen) <= final
        assert len(seen) <= final <= len(seen) + unknown
        cluster.wait_converged()
    assert_no_traceback(cluster)


def stop_with_work_in_flight(
    cluster: ProcessCluster, request: dict[str, Any]
) -> tuple[Counter[str], set[int]]:
    """Send SIGTERM to a leader whose followers are paused, so no request can complete before the signal."""
    leader = cluster.wait_leader()
    followers = [node for node in cluster.running() if node is not leader]
    with WireClient(leader.address) as client:
        for node in followers:
            node.pause()
        try:
            client.send([{"Perform": {"id": str(n), "request": request}} for n in range(IN_FLIGHT)])
            waiting = f'"requests": {IN_FLIGHT}'
            wait_for(lambda: waiting in leader.get("/status")[1], 60, "the requests to arrive")
            since = len(leader.log_text())
            leader.signal(signal.SIGTERM)
            wait_for(
                lambda: "stopping" in leader.log_text()[since:],
                20,
                "the node to receive the signal",
            )
        finally:
            for node in followers:
                node.resume()
        replies = [envelope["PerformResponse"] for envelope in client.receive_all(IN_FLIGHT)]
    assert leader.wait() == 0
    assert sorted(int(reply["id"]) for reply in replies) == list(range(IN_FLIGHT))
    return outcomes_and_counts(replies)


def outcomes_and_counts(replies: list[dict[str, Any]]) -> tuple[Counter[str], set[int]]:
    """The number of responses of each outcome, and the counts in the successful responses."""
    outcomes: Counter[str] = Counter()
    values: set[int] = set()
    for reply in replies:
        body = reply["response"]["UpdateEntity"]
        if body["error"] is None:
            outcomes["ok"] += 1
            values.add(body["response"][-1]["Read"]["value"]["Int"])
        else:
            outcomes[body["detail"]["code"]] += 1
    return outcomes, values


def count(cluster: ProcessCluster, entity: dict[str, Any]) -> int | None:
    """The counter, by a linearizable read; None while no node answers."""
    with WireClient(cluster.wait_leader().address) as client:
        body = client.perform("UpdateEntity", request=[read_field(entity, "Count")])
    if body["error"] is not None:
        return None
    value: int = body["response"][0]["Read"]["value"]["Int"]
    return value


@pytest.mark.long  # the simulator has priorities, too
def test_priorities_choose_the_leader_and_zero_never_leads(tmp_path: Path) -> None:
    """Node 1 has a high priority, node 2 the default, node 3 must not lead."""
    with begun_with_priorities(tmp_path, {1: 5, 2: 1, 3: 0}) as cluster:
        first, second, third = cluster.nodes.values()
        with Load(cluster.endpoints, clients=3) as load:
            wait_for(lambda: cluster.leader() is first, 30, "node 1 to lead")
            load.wait_acknowledged(20)

            first.kill()  # only one of the other two may lead
            wait_for(lambda: cluster.leader() is second, 30, "node 2 to lead")
            load.wait_acknowledged(100)
            # Node 1 was lost after a short leadership, so it must wait before it takes over by priority again. A
            # command does not wait.
            first.start()
            cluster.wait_converged()
            assert (
                run_qcore("leader", "transfer", "--to", "1", endpoints=cluster.endpoints).returncode
                == 0
            )
            wait_for(lambda: cluster.leader() is first, 30, "node 1 to take over again")
            load.wait_acknowledged(20)
        load.read_all()
        load.check()
        cluster.wait_converged()
        roles = {word for word in third.log_text().split() if word.startswith("role=")}
        assert "role=follower" in roles
        assert roles.isdisjoint({"role=leader", "role=candidate", "role=pre_candidate"})
    assert_no_traceback(cluster)


@pytest.mark.long  # tests of the rejection, the warnings and `health` run without processes
def test_a_cluster_without_an_electable_voter_reports_it(tmp_path: Path) -> None:
    """Two restarts with priority 0 break the rule. The leader reports it, and its death leaves no electable voter."""
    with begun_with_priorities(tmp_path, {1: 5, 2: 1, 3: 1}) as cluster:
        first, second, third = cluster.nodes.values()
        wait_for(lambda: cluster.leader() is first, 30, "node 1 to lead")
        assert first.status()["qcore"]["priorities"] == {"1": 5, "2": 1, "3": 1}
        for node in (second, third):
            node.stop()
            node.arguments += ["--priority", "0"]
            node.start()
            cluster.wait_converged()
        wait_for(lambda: "too many voters never lead" in first.log_text(), 60, "the leader's log")
        assert "qcore_raft_priority_zero_voters 2" in first.get("/metrics")[1]
        code, output = health(cluster)
        assert code == 0, output
        assert "warning: [2, 3] of the voters [1, 2, 3] have priority 0 and never lead" in output
        rejected = run_qcore("member", "demote", "1", endpoints=cluster.endpoints)
        assert rejected.returncode == 4
        assert "priorities" in rejected.stderr
        assert "no node could ever lead again" in rejected.stderr
        first.kill()
        wait_for(lambda: "never leads" in second.get("/readyz")[1], 60, "node 2 to miss its leader")
        code, output = health(cluster)
        assert code == 5
        assert (
            "no voter may lead: all voters that answer ([2, 3]) have priority 0: start one of [1]"
            in output
        )
        first.start()
        cluster.wait_leader()
        first.stop()
        first.arguments += ["--priority", "0"]
        first.start()
        for node in cluster.nodes.values():
            wait_for(lambda: "no node can lead unless" in node.log_text(), 30, "its warning")  # noqa: B023 - called within this turn of the loop
            assert "this voter has priority 0 and never leads" in node.log_text()
            assert "qcore_raft_priority_zero_voters 1" in node.get("/metrics")[1]
    assert_no_traceback(cluster)


def health(cluster: ProcessCluster) -> tuple[int, str]:
    """The exit code and output of `qcore cluster health`."""
    done = run_qcore("cluster", "health", endpoints=cluster.endpoints)
    return done.returncode, done.stdout


def begun_with_priorities(directory: Path, priorities: dict[int, int]) -> ProcessCluster:
    """A running cluster of nodes with these priorities."""
    cluster = ProcessCluster(directory, size=len(priorities), arguments=ARGUMENTS)
    for node_id, priority in priorities.items():
        cluster.nodes[node_id].arguments += ["--priority", str(priority)]
    cluster.start()
    initialise(cluster)
    return cluster
