"""kill -9 hits leaders between a session's command and its response. Sessions also survive snapshots and restarts."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed

from qcore.processes import NodeProcess, ProcessCluster, wait_for
from tests.process.conftest import assert_no_traceback
from tests.process.support.load import increment, schema_of_item
from tests.process.support.member_changes import initialised_cluster
from tests.process.support.wire_client import WireClient, read_field, string_schema

pytestmark = pytest.mark.process

Entity = dict[str, Any]


class Counting:
    """A counter, a session, and the outcomes of its commands."""

    def __init__(self, cluster: ProcessCluster) -> None:
        self.cluster = cluster
        with WireClient(cluster.wait_leader().address) as client:
            client.perform("SetSchema", entity_schema=schema_of_item())
            made = client.perform("CreateEntity", entity_type="Item", parent_id=None, name="x")
            self.entity: Entity = made["response"]
        self.session = self.open(60_000)
        self.sequence = 0

    def open(self, lifetime_ms: int) -> int:
        with WireClient(self.cluster.wait_leader().address) as client:
            session: int = client.ask("OpenSession", lifetime_ms=lifetime_ms)["Ok"]
        return session

    def command(self, session: int, sequence: int) -> dict[str, Any]:
        """The fields of a `Perform` that adds one and reads the result."""
        request = {"UpdateEntity": {"request": increment(self.entity)}}
        return {"request": request, "session": {"id": session, "sequence": sequence}}

    def repeat(self, session: int, sequence: int) -> dict[str, Any]:
        """Send the command repeatedly, to any node, until its outcome is known. Return the body of the reply."""

        def certain() -> dict[str, Any] | None:
            for node in self.cluster.running():
                with suppress(OSError, ConnectionClosed), WireClient(node.address) as client:
                    reply = client.ask("Perform", **self.command(session, sequence))
                    body: dict[str, Any] = reply["UpdateEntity"]
                    detail = body.get("detail") or {"code": ""}
                    if not (detail.get("retryable") or detail["code"] == "OutcomeUnknown"):
                        return body
            return None

        return wait_for(certain, 30, f"a reply to number {sequence}")

    def count(self) -> int:
        """The counter, by a linearizable read."""

        def read() -> dict[str, int] | None:
            leader = self.cluster.leader()
            if leader is None:
                return None
            with suppress(OSError, ConnectionClosed), WireClient(leader.address) as client:
                asked = [read_field(self.entity, "Count")]
                body = client.perform("UpdateEntity", request=asked)
                if body["error"] is None:
                    value: dict[str, int] = body["response"][0]["Read"]["value"]
                    return value
            return None

        return wait_for(read, 30, "a read")["Int"]

    def kill_after(self, wait: Callable[[], object]) -> str:
        """Send the next command to the leader, wait, kill the leader, repeat the command elsewhere.

        Returns:
            the state of the command when the leader died: `replied`, `applied` (without a reply), or `nothing`.
        """
        self.sequence += 1
        leader = self.cluster.wait_leader()
        reply: dict[str, Any] | None = None
        with WireClient(leader.address) as client:
            fields = self.command(self.session, self.sequence)
            client.send({"Perform": {"id": "first", **fields}})
            wait()
            leader.kill()
            with suppress(ConnectionClosed):
                (envelope,) = client.receive_all(
                    1
                )  # the bytes that it sent are still in the socket
                reply = envelope["PerformResponse"]["response"]["UpdateEntity"]
        before = self.count()
        again = self.repeat(self.session, self.sequence)
        assert value_of(again) == self.sequence == self.count()
        if reply is not None:
            assert reply == again, "the repeated command got another reply"
            return "replied"
        assert before in (self.sequence, self.sequence - 1)
        return "applied" if before == self.sequence else "nothing"


def value_of(body: dict[str, Any]) -> int:
    assert body["error"] is None, body
    value: int = body["response"][-1]["Read"]["value"]["Int"]
    return value


def test_the_next_leader_repeats_the_result_of_a_lost_response(tmp_path: Path) -> None:
    with initialised_cluster(tmp_path, size=3, voters=3) as cluster:
        counting = Counting(cluster)

        def committed() -> None:
            """The response may be on its way or lost: the client has not read it."""
            leader = cluster.wait_leader()
            goal = leader.status()["last_log_index"]
            others = [node for node in cluster.running() if node is not leader]

            def everywhere() -> bool:
                return all(node.status()["qcore"]["applied_index"] >= goal for node in others)

            wait_for(everywhere, 60, "the command to be applied everywhere")

        assert counting.kill_after(committed) in ("replied", "applied")
        cluster.start()
        for pause_s in (0.0, 0.003):
            counting.kill_after(lambda: time.sleep(pause_s))  # noqa: B023 - called within this turn of the loop
            cluster.start()
        cluster.wait_converged()
        assert counting.count() == 3
    assert_no_traceback(cluster)


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", range(3))
def test_increments_count_once_when_leaders_die_around_commits(
    tmp_path: Path, seed: int, record_property: Callable[[str, object], None]
) -> None:
    rng = random.Random(seed)
    died: Counter[str] = Counter()
    with initialised_cluster(tmp_path, size=3, voters=3) as cluster:
        counting = Counting(cluster)
        for _ in range(40):
            pause_s = rng.random() * 0.006  # around the time that a commit takes
            died[counting.kill_after(lambda: time.sleep(pause_s))] += 1  # noqa: B023 - called within this turn of the loop
            cluster.start()
        cluster.wait_converged()
        assert counting.count() == 40
    assert_no_traceback(cluster)
    record_property("died", dict(died))
    assert died["applied"] >= 1, f"no kill fell between commit and reply: {died}"


@pytest.mark.long  # the property tests restart from snapshots with sessions
def test_sessions_survive_a_snapshot_and_a_restart_of_all_nodes(tmp_path: Path) -> None:
    policy = ("--snapshot-entries", "30", "--keep-entries", "0")
    with initialised_cluster(tmp_path, size=3, voters=3, arguments=policy) as cluster:
        counting = Counting(cluster)
        short_lived = counting.open(1_000)
        replies = [counting.repeat(counting.session, sequence) for sequence in (1, 2, 3)]
        assert value_of(counting.repeat(short_lived, 1)) == 4
        written = cluster.wait_leader().status()["last_log_index"]
        with WireClient(cluster.wait_leader().address) as client:
            for number in range(40):
                client.perform("SetSchema", entity_schema=string_schema(f"S{number}", "Name"))
        wait_for(
            lambda: all(first_index(node) > written for node in cluster.nodes.values()),
            30,
            "the session's commands to be gone from every log",
        )
        for node in cluster.nodes.values():
            node.kill()
        cluster.start()
        cluster.wait_leader()
        led_again = time.monotonic()

        for sequence, reply in enumerate(replies, start=1):
            assert counting.repeat(counting.session, sequence) == reply
        assert counting.count() == 4
        while (
            time.monotonic() < led_again + 1.3
        ):  # it expires by the cluster clock, which stood still meanwhile
            time.sleep(0.05)
        for sequence in (1, 2):
            late = counting.repeat(short_lived, sequence)
            assert late["detail"]["code"] == "SessionExpired"
            assert late["detail"]["retryable"] is False
        assert counting.count() == 4
        assert value_of(counting.repeat(counting.session, 4)) == 5, "the other session lives"
        cluster.wait_converged()
    assert_no_traceback(cluster)


def first_index(node: NodeProcess) -> int:
    index: int = node.status().get("qcore", {}).get("first_log_index", 0)
    return index
