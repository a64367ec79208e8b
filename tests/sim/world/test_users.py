"""Users lose and get roles in a simulated cluster that is cut in two: no command counts without the role."""

from __future__ import annotations

import json
from random import Random

from qcore.errors import PermissionDenied
from qcore.replica.access.access_commands import SetRole, SetUser, command_text
from qcore.replica.access.access_records import ADMIN, Role
from qcore.replica.events import ClientRequest, Reply
from qcore.replica.messages import RequestKind
from qcore.sim import World, parse_scenario
from tests.replica.access.test_revoked_in_flight import expected, increment

CUT = parse_scenario(
    "{name: cut, cluster: {nodes: 5}, until_ms: 6000, timeline: ["
    "{at_ms: 1500, partition: [[1, 2], [3, 4, 5]], for_ms: 1200}, {at_ms: 3500, crash: leader, for_ms: 500}]}"
)


class UsersRun:
    """A run whose requests have users.

    Attributes:
        outcomes: of all requests.
    """

    def __init__(self, seed: int) -> None:
        self.world = World(CUT, seed)
        self.random = Random(seed)
        self.outcomes: list[Reply | None] = []

    def send(self, node: int, kind: RequestKind, payload: str, user: str) -> None:
        self.world.nodes[node].receive_admin_request(
            lambda number, _: ClientRequest(number, kind, payload, 3000, user=user),
            self.outcomes.append,
        )

    def roles(self, node: int, user: str, *roles: str) -> None:
        self.send(node, "access", command_text(SetUser(user, None, roles)), "root")

    def run(self) -> None:
        """Make users; then give and take the role all the time, while the users write at all nodes."""
        world = self.world
        world.run_until(lambda world: world.leader is not None)
        world.run_until(world.now_ms + 300)
        leader = world.leader
        assert leader is not None
        self.send(leader, "access", command_text(SetUser("root", "", (ADMIN,))), "")
        world.run_until(world.now_ms + 100)
        self.send(leader, "access", command_text(SetRole(Role("writer", ("write",)))), "root")
        world.run_until(world.now_ms + 100)
        while world.now_ms < 5000:
            node, user = self.random.randint(1, 5), self.random.choice(["ann", "bob"])
            if self.random.random() < 0.2:
                self.roles(node, user, *(["writer"] if self.random.random() < 0.6 else []))
            self.send(node, "write", increment(user), user)
            world.run_until(world.now_ms + self.random.randint(1, 20))
        while world.step():
            pass


def check_seed(seed: int) -> tuple[int, int]:
    """Run a seed. Returns how many commands counted, and how many were denied at their index."""
    run = UsersRun(seed)
    run.run()
    assert run.world.result().ok
    counted = denied = 0
    for node in run.world.nodes.values():
        replica = node.replica
        assert replica is not None
        log = node.disk.durable.entries[: replica.applied_index]
        counts = expected(log)
        for user in ("ann", "bob"):
            found = json.loads(replica.machine.query(json.dumps({"op": "get", "key": user})))
            assert (found["value"] or 0) == counts.get(user, 0), f"seed {seed}"
        commands = sum(entry.kind == "command" for entry in log)
        counted, denied = sum(counts.values()), commands - sum(counts.values())
    assert (
        len({node.replica.access.digest for node in run.world.nodes.values() if node.replica}) == 1
    )
    errors = [reply.error for reply in run.outcomes if reply is not None]
    assert any(isinstance(error, PermissionDenied) for error in errors)
    return counted, denied


def test_no_command_counts_without_its_role_across_a_cut() -> None:
    totals = [check_seed(seed) for seed in (1, 2)]
    assert min(counted for counted, _ in totals) > 20
    assert sum(denied for _, denied in totals) > 0
