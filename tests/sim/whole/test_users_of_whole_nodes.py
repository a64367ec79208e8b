"""Users of simulated clients pass the gate of real nodes, also while a partition hides that their rights have ended."""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import dataclass, field

import pytest

from qcore.client.client import Client
from qcore.client.programs.program_context import ProgramContext
from qcore.core.entry import Entry
from qcore.errors import OutcomeUnknown, PermissionDenied, QcoreError, Unauthenticated
from qcore.sim import RunResult, World, parse_scenario
from qcore.sim.world.hosts.simulated_hashing import SIMULATED_HASHING

SIMULATED_HASH = SIMULATED_HASHING.hash("", b"").rpartition("$")[0]
#: The leader loses the others while it serves both programs, and the others elect another one.
SCENARIO = """
name: users
fidelity: node
cluster: {nodes: 3}
network: {latency_ms: {uniform: [1, 5]}}
workload: {clients: 3}
timeline:
  - {at_ms: 500, campaign: 1}
  - {at_ms: 2000, isolate: leader, for_ms: 900}
  - {at_ms: 3300, crash: leader, for_ms: 500}
until_ms: 5000
expect: {safe: true, converges: true}
"""
#: Users that each client makes. They log in as soon as they exist.
MADE = 3
#: Node 3 applies each change later than the others.
NEW_USERS = f"""
name: new_users
fidelity: node
cluster: {{nodes: 3}}
network: {{latency_ms: {{uniform: [1, 5]}}}}
workload: {{clients: 3}}
timeline:
  - {{at_ms: 300, campaign: 1}}
  - {{at_ms: 700, links: {{between: [1, 3], latency_ms: 80}}}}
until_ms: 15000
expect: {{safe: true, converges: true, min_ok_writes: {3 * 2 * MADE}}}
"""
_KEY = re.compile(r"ann-\d-\d-\d+")
#: Writes that each client of ann has in progress.
LANES = 6
ROOT, ANN = "a password of root", "a password of ann"


def write(key: str) -> str:
    return json.dumps({"op": "set", "key": key, "value": 1})


@dataclass
class Seen:
    """What the program of ann saw, by key: `ok`, `unknown`, or the name of the error."""

    outcomes: dict[str, str] = field(default_factory=dict)

    def of(self, outcome: str) -> list[str]:
        return [key for key, seen in self.outcomes.items() if seen == outcome]

    async def program(self, ctx: ProgramContext) -> None:
        """Client 1 is root, and deletes the user ann in the partition; clients 2 and 3 write as ann all the time."""
        if ctx.number == 1:
            await self._rule(ctx)
            return
        await asyncio.sleep(1.2)
        ann = ctx.client_of("ann", ANN)
        await asyncio.gather(*(self._write(ctx, ann, lane) for lane in range(LANES)))

    async def _write(self, ctx: ProgramContext, ann: Client, lane: int) -> None:
        for number in range(40):
            key = f"ann-{ctx.number}-{lane}-{number}"
            try:
                if ctx.number == 2:
                    await ann.execute(write(key), timeout_s=3)
                    self.outcomes[key] = "ok"
                else:  # without a session
                    done = (await ann.perform({"Write": write(key)}, timeout_s=3))["Write"]
                    self.outcomes[key] = done["detail"]["code"] if done["error"] else "ok"
            except OutcomeUnknown:
                self.outcomes[key] = "unknown"
            except QcoreError as error:
                self.outcomes[key] = type(error).__name__
            await asyncio.sleep(ctx.random.uniform(0.002, 0.04))

    async def _rule(self, ctx: ProgramContext) -> None:
        await asyncio.sleep(0.8)
        await ctx.client.set_user("root", password=ROOT, roles=["admin"])
        root = ctx.client_of("root", ROOT)
        await root.set_role("writer", actions=["write"])
        await root.set_user("ann", password=ANN, roles=["writer"])
        with pytest.raises(Unauthenticated):
            await ctx.client.execute(write("stranger"))
        with pytest.raises(Unauthenticated):
            await ctx.client_of("root", ANN).execute(write("stranger"))
        with pytest.raises(PermissionDenied):
            await ctx.client_of("ann", ANN).set_user("eve", roles=["admin"])
        await asyncio.sleep(2.4 - ctx.time())
        await root.delete_user("ann")
        ctx.record("revoked")


async def make_users(ctx: ProgramContext) -> None:
    """Make users and change their passwords. Each change counts at every node when it is acknowledged."""
    await asyncio.sleep(0.8)
    if ctx.number == 1:
        await ctx.client.set_user("root", password=ROOT, roles=["admin"])
        await ctx.client_of("root", ROOT).set_role("writer", actions=["write"])
    else:
        await asyncio.sleep(0.7)
    root = ctx.client_of("root", ROOT)
    for number in range(MADE):
        name = f"user{ctx.number}-{number}"
        for password in ("the first password", "the second password"):
            await root.set_user(name, password=password, roles=["writer"])
            await ctx.client_of(name, password).execute(write(name))
        with pytest.raises(Unauthenticated, match="password is wrong"):
            await ctx.client_of(name, "the third password").execute(write("stranger"))


def run(seed: int) -> tuple[World, RunResult, Seen]:
    seen = Seen()
    world = World(parse_scenario(SCENARIO), seed, program=seen.program)
    try:
        world.run()
        return world, world.result(), seen
    finally:
        world.close()


def entries(world: World) -> list[Entry]:
    """The log of the node that has applied most."""
    replicas = [node.replica for node in world.nodes.values() if node.replica is not None]
    newest = max(replicas, key=lambda replica: replica.applied_index)
    return newest.core.log_entries()[: newest.applied_index]


def check(seed: int) -> tuple[str, int]:
    """Check a run. Returns its trace hash, and how many writes of ann are in the log behind the revocation."""
    world, result, seen = run(seed)
    assert result.ok, (seed, result.violations, result.failed())
    log = entries(world)
    (revoked_at,) = [e.index for e in log if e.kind == "access" and "delete_user" in e.data]
    keys = {
        _KEY.findall(e.data)[0]: e.index for e in log if e.user == "ann" and _KEY.search(e.data)
    }
    for node in world.nodes.values():
        assert node.replica is not None
        held = _KEY.findall("".join(node.replica.machine.snapshot()))
        assert {*held} == {key for key, index in keys.items() if index < revoked_at}
    assert all(keys[key] < revoked_at for key in seen.of("ok"))
    assert len(seen.of("ok")) > 30
    assert len(seen.of("Unauthenticated")) > 30
    text = "".join(entry.data for entry in log)
    assert "stranger" not in text
    hashes = re.findall(r"\$argon2id[^\"]*", text)
    assert len(hashes) == 2
    assert all(each.startswith(SIMULATED_HASH) for each in hashes), "argon2 would take 20 ms"
    return result.trace_sha256, sum(index > revoked_at for index in keys.values())


def test_a_write_after_the_revocation_takes_no_effect() -> None:
    trace, late = check(11)
    assert late > 0, "the leader had appended it before it knew"
    assert check(11) == (trace, late)


def test_a_user_logs_in_anywhere_as_soon_as_it_exists() -> None:
    for seed in range(1, 4):
        world = World(parse_scenario(NEW_USERS), seed, program=make_users)
        try:
            world.run()
            result = world.result()
        finally:
            world.close()
        assert result.ok, (seed, result.violations, result.failed())


@pytest.mark.long
def test_no_seed_lets_a_revoked_user_write() -> None:
    assert sum(check(seed)[1] > 0 for seed in range(1, 9)) >= 2
