"""One client program that uses `KeyValue`: in the simulator with faults, and with real nodes."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from qcore.client.programs.program_context import ProgramContext
from qcore.errors import LeaseNotFound
from qcore.kv import Condition, KeyValue, Put
from qcore.sim import parse_scenario, run_scenario
from qcore.testing import LocalCluster

SCENARIO = """
cluster: {machine: kv, snapshot_entries: 40}
workload: {clients: 3}
timeline:
  - {at_ms: 600, isolate: leader, for_ms: 700}
  - {at_ms: 2000, crash: leader, for_ms: 500}
until_ms: 12000
expect: {converges: true}
"""
#: How often each client counts.
STEPS = 8


async def count_together(ctx: ProgramContext) -> None:
    """Counts in one key with all clients, in transactions; watches them all; and holds a lease."""
    kv, key = KeyValue(ctx.client), "count"
    done = f"done/{ctx.number}"
    lease = await kv.grant(60)
    await kv.put(f"alive/{ctx.number}", "yes", lease=lease)
    for _ in range(STEPS):
        counted = False
        while not counted:
            held = await kv.get(key)
            revision, value = (0, 0) if held is None else (held.mod_revision, int(held.text))
            unchanged = Condition.number("mod_revision", key, "=", revision)
            counted = (await kv.txn([unchanged], [Put(key, str(value + 1))])).succeeded
        await asyncio.sleep(ctx.random.uniform(0, 0.3))
    await kv.put(done, "")
    async with kv.watch(key, from_revision=1) as changes, asyncio.timeout(60):
        seen = [int((await anext(changes)).kv.text) for _ in range(STEPS * ctx.clients)]
    ctx.expect(seen == [*range(1, len(seen) + 1)], f"each count once and in order: {seen}")
    await kv.keep_alive(lease)
    info = await kv.lease(lease)
    ctx.expect(info.keys == (f"alive/{ctx.number}".encode(),), f"the lease has its key: {info}")
    ctx.expect(await kv.revoke(lease) == 1, "it deletes its key")
    try:
        await kv.keep_alive(lease)
    except LeaseNotFound:
        ctx.record("ended", counts=len(seen))
    names = [found.key.decode() async for found in kv.items("done/", page_size=2)]
    ctx.expect(done in names, f"all pages are there: {names}")


def test_the_program_passes_in_the_simulator_with_faults() -> None:
    for seed in (1, 2, 3):
        result = run_scenario(parse_scenario(SCENARIO), seed, program=count_together)
        assert result.ok, (seed, [each.note for each in result.violations], result.failed())
        found: Any = result.metrics["programs"]
        assert [each["outcome"] for each in found] == ["ended"] * 3
        assert [each["records"][0]["counts"] for each in found] == [3 * STEPS] * 3


async def let_a_lease_end(ctx: ProgramContext) -> None:
    """A lease that no client keeps alive ends, and a watch sees it."""
    kv = KeyValue(ctx.client)
    lease = await kv.grant(2)
    first = await kv.put("held", "x", lease=lease)
    async with kv.watch("held", from_revision=first, kinds=["delete"]) as changes:
        change = await anext(changes)
    ctx.expect(change.revision > first, f"the deletion comes after the put: {change}")
    ctx.expect(ctx.time() >= 1.9, "and not before the time to live is over")
    ctx.record("deleted")


def test_a_lease_ends_in_the_simulator_without_its_leader() -> None:
    text = SCENARIO.replace("clients: 3", "clients: 1")
    for seed in (1, 2, 3):
        result = run_scenario(parse_scenario(text), seed, program=let_a_lease_end)
        assert result.ok, (seed, [each.note for each in result.violations], result.failed())
        found: Any = result.metrics["programs"]
        assert found[0]["outcome"] == "ended"


@pytest.mark.process
def test_the_same_program_passes_on_real_nodes() -> None:
    with LocalCluster(machine="kv") as cluster:
        records = cluster.run_programs(count_together, clients=2)
        assert [record.details["counts"] for record in records] == [2 * STEPS] * 2
