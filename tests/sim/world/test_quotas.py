"""A simulated cluster reaches its quota of the state, serves reads and deletes, and accepts writes again by itself."""

from __future__ import annotations

import json
from random import Random
from typing import Literal

from qcore.errors import QuotaExceeded
from qcore.machines.register import RegisterMachine
from qcore.replica.events import ClientRequest, Reply
from qcore.sim import World, parse_scenario, run_scenario
from tests.sim.support.scenario_texts import failures

QUOTA = 2000
SETTINGS = f"nodes: 3, snapshot_entries: 50, state_quota_bytes: {QUOTA}, log_quota_bytes: 30000, keep_bytes: 8000"
CRASH = parse_scenario(
    f"{{name: quotas, cluster: {{{SETTINGS}}}, until_ms: 5000, workload: {{clients: 3, rate_per_s: 60}},"
    " timeline: [{at_ms: 2000, crash: leader, for_ms: 800}],"
    " expect: {safe: true, converges: true, acknowledged_writes_present: true, writes_succeed_after_heal: true}}"
)
QUIET = parse_scenario(f"{{name: quiet, cluster: {{{SETTINGS}}}, until_ms: 3000, timeline: []}}")


def put(key: int) -> str:
    return json.dumps({"op": "set", "key": f"big{key}", "value": "v" * 300})


def delete(key: int) -> str:
    return json.dumps({"op": "delete", "key": f"big{key}"})


def fill_and_delete(rng: Random) -> tuple[Literal["write", "read"], str]:
    key = rng.randrange(20)
    if rng.random() < 0.3:
        return "read", json.dumps({"op": "get", "key": f"big{key}"})
    return "write", put(key) if rng.random() < 0.5 else delete(key)


def test_a_full_cluster_goes_on_and_gives_the_same_run_again() -> None:
    one = run_scenario(CRASH, 3, machine=RegisterMachine, requests=fill_and_delete)
    assert one.ok, failures(one)
    assert one == run_scenario(CRASH, 3, machine=RegisterMachine, requests=fill_and_delete)


class Requests:
    """Sends requests to the leader of a simulated cluster."""

    def __init__(self) -> None:
        self.world = World(QUIET, 1)
        self.world.run_until(lambda world: world.leader is not None)
        self.world.run_until(self.world.now_ms + 300)

    def outcome(self, kind: Literal["write", "read"], payload: str) -> Reply:
        replies: list[Reply | None] = []
        leader = self.world.leader
        assert leader is not None
        self.world.nodes[leader].receive_admin_request(
            lambda number, _: ClientRequest(number, kind, payload, 3000), replies.append
        )
        self.world.run_until(self.world.now_ms + 60)
        (reply,) = replies
        assert reply is not None
        return reply


def test_reads_and_deletes_pass_while_the_quota_is_reached() -> None:
    requests = Requests()
    full = next(key for key in range(20) if requests.outcome("write", put(key)).error is not None)
    assert 1 <= full <= QUOTA // 300 + 1, "the workload has some bytes of the state, too"
    assert isinstance(requests.outcome("write", put(full)).error, QuotaExceeded)
    assert requests.outcome("read", json.dumps({"op": "get", "key": "big0"})).error is None
    assert requests.outcome("write", delete(0)).error is None
    assert requests.outcome("write", put(full)).error is None
