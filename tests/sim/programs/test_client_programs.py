"""Client programs: the same function in the simulator and on real nodes, and what the run says about it."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from qcore.analysis import read_course
from qcore.client.programs.program_context import ClientProgram, ProgramContext
from qcore.errors import ConfigError, StoreError
from qcore.sim import RunResult, parse_scenario, run_scenario
from qcore.testing import LocalCluster
from qcore.trace import TraceWriter
from tests.checkout import EXAMPLES

CRASHES = """
  - {at_ms: 600, crash: leader, for_ms: 500}
  - {at_ms: 1800, isolate: leader, for_ms: 500}
"""


def simulate(
    program: ClientProgram, parts: str = "", seed: int = 1, until_ms: int = 4000
) -> RunResult:
    text = f"workload: {{clients: 2}}\nuntil_ms: {until_ms}\n{parts}"
    return run_scenario(parse_scenario(text), seed, program=program)


def programs(result: RunResult) -> list[dict[str, Any]]:
    found: Any = result.metrics["programs"]
    return list(found)


def notes(result: RunResult) -> str:
    return "\n".join(v.note for v in result.violations if v.check == "client_program")


async def count_and_watch(ctx: ProgramContext) -> None:
    """Counts exactly once, watches its own write, and asks who leads."""
    client, key = ctx.client, f"of-{ctx.number}"
    for number in range(1, 11):
        answer = json.loads(await client.execute(add(key)))
        ctx.expect(answer == {"ok": True, "value": number}, f"each increment counts once: {answer}")
        await asyncio.sleep(ctx.random.uniform(0, 0.1))
    found = json.loads(await client.execute(get(key), read=True))
    ctx.expect(found["value"] == 10, f"a read finds the count: {found}")
    async with client.watch(topic=key) as changes:
        await client.execute(add(key))
        change = await asyncio.wait_for(anext(changes), 10)
        ctx.expect(change.change == {"key": key, "value": 11}, f"the watch gives it: {change}")
    metrics = await client.leader_metrics()
    ctx.record("leader", id=metrics["current_leader"])


def add(key: str) -> str:
    return json.dumps({"op": "add", "key": key, "amount": 1})


def get(key: str) -> str:
    return json.dumps({"op": "get", "key": key})


def test_a_program_passes_in_the_simulator_with_faults() -> None:
    for seed in range(1, 6):
        result = simulate(count_and_watch, f"timeline:{CRASHES}\nexpect: {{converges: true}}", seed)
        assert result.ok, (seed, notes(result), result.failed())
        assert [each["outcome"] for each in programs(result)] == ["ended", "ended"]
        checked: Any = result.metrics["linearizability"]
        assert checked["operations"] == 24, "the checker sees the operations of programs"


async def use_one_key(ctx: ProgramContext) -> None:
    for _ in range(10):
        await ctx.client.execute(add("shared"))
        await ctx.client.execute(get("shared"), read=True)


def test_a_trace_shows_the_way_of_each_operation_of_a_program() -> None:
    """Also of equal ones, at the same time, in sessions, and with a fault."""
    trace = TraceWriter(keep=True)
    scenario = parse_scenario(f"workload: {{clients: 3}}\nuntil_ms: 4000\ntimeline:{CRASHES}")
    run_scenario(scenario, 1, trace=trace, program=use_one_key)
    course = read_course(trace)
    assert len(course.operations) == 60
    assert any(operation.is_forwarded for operation in course.operations)
    for operation in course.operations:
        entry = (operation.appended_us, operation.committed_us) if operation.op == "add" else ()
        times = (
            *(operation.invoke_us, operation.took[0][1], *entry),
            *(operation.replied_us, operation.end_us),
        )
        found = [each for each in times if each is not None]
        assert (len(found), found) == (len(times), sorted(found)), operation


def test_the_same_program_passes_on_real_nodes() -> None:
    with LocalCluster(machine="register") as cluster:
        records = cluster.run_programs(count_and_watch, clients=2)
        assert {record.details["id"] for record in records} == {cluster.wait_leader()}


async def use_entities(ctx: ProgramContext) -> None:
    """Makes a type and an entity, changes a field that a watch sees, and takes a snapshot of the store."""
    client, name = ctx.client, f"Item{ctx.number}"
    field = {
        "String": {
            "field_type": "Text",
            "default_value": "",
            "rank": 0,
            "read_permission": None,
            "write_permission": None,
        }
    }
    await client.set_schema({"entity_type": name, "inherit": None, "fields": {"Text": field}})
    item = await client.create_entity(name, "one")
    async with client.watch(entity=item, field_type="Text") as changes:
        await client.write(item, "Text", "changed")
        change = await asyncio.wait_for(anext(changes), 10)
        ctx.expect(change.current_value == "changed", f"the watch sees the write: {change}")
    ctx.expect(await client.read(item, "Text") == "changed", "a read finds the write")
    with pytest.raises(StoreError):
        await client.read(item, "Nothing")
    if ctx.clients == 1:
        await client.restore_snapshot(await client.take_snapshot())
    async with await client.open_session() as session:
        await client.delete_entity(item, session=session)
    ctx.expect(not await client.entity_exists(item), "the entity is deleted")


def test_programs_have_the_methods_of_the_entity_store() -> None:
    result = simulate(use_entities, f"cluster: {{machine: entity}}\ntimeline:{CRASHES}")
    assert result.ok, (notes(result), result.failed())
    text = "cluster: {machine: entity}\nworkload: {clients: 1}"
    alone = run_scenario(parse_scenario(text), program=use_entities)
    assert alone.ok, (notes(alone), alone.failed())


# -- the lock service -----------------------------------------------------------------------------


def lock_service(machine: str, seed: int) -> RunResult:
    text = (EXAMPLES / "lock_service.yaml").read_text().replace(":LockService", f":{machine}")
    return run_scenario(parse_scenario(text, str(EXAMPLES / "lock_service.yaml")), seed)


def test_fencing_tokens_keep_late_holders_out() -> None:
    outcomes = set[str]()
    for seed in range(1, 6):
        result = lock_service("LockService", seed)
        assert result.ok, (seed, notes(result), result.failed())
        for each in programs(result):
            outcomes |= {record["outcome"] for record in each["records"]}
    assert outcomes == {"written", "stale token"}, "the guard was needed"


def test_a_store_that_ignores_tokens_is_caught() -> None:
    caught = [seed for seed in range(1, 6) if not lock_service("CarelessLockService", seed).ok]
    assert len(caught) >= 3
    note = notes(lock_service("CarelessLockService", caught[0]))
    assert "program client, client" in note
    assert "ExpectationFailed: no holder of an older token writes after a newer one" in note
    assert "lock_service.py:" in note


# -- what the run says about a program ------------------------------------------------------------


async def fail(ctx: ProgramContext) -> None:
    await asyncio.sleep(0.5)
    if ctx.number == 2:
        raise ValueError(f"wrong {object()}")


def test_an_error_names_client_time_and_line() -> None:
    result = simulate(fail)
    note = notes(result)
    assert (
        "program fail, client 2, at 500 ms: raised ValueError: wrong <object object at 0x...>"
        in note
    )
    assert "test_client_programs.py:" in note
    assert str(Path(__file__).parent) not in note, "a path would differ from machine to machine"
    assert [each["outcome"] for each in programs(result)] == ["ended", "failed"]


async def lose_a_task(ctx: ProgramContext) -> None:
    async def lost() -> None:
        raise ValueError("lost")

    task = asyncio.create_task(lost())
    await asyncio.sleep(0.1)
    assert task.done()


def test_the_error_of_a_task_that_nothing_awaits_is_reported() -> None:
    assert "a task that nothing awaited raised ValueError: lost" in notes(simulate(lose_a_task))


async def wait_forever(ctx: ProgramContext) -> None:
    try:
        await asyncio.Event().wait()
    finally:
        ctx.record("cancelled", at=ctx.time())


def test_a_program_that_waits_is_cancelled_and_named() -> None:
    result = simulate(wait_forever)
    assert not notes(result)
    (one, _) = programs(result)
    assert one["outcome"] == "stopped"
    assert "in wait_forever (awaits Event.wait)" in one["waited_at"]
    assert one["records"][0]["at"] == pytest.approx(3.2)


async def refuse_to_end(ctx: ProgramContext) -> None:
    while True:
        try:
            await asyncio.sleep(1000)
        except asyncio.CancelledError:
            continue


def test_a_program_that_ignores_its_end_is_waiting() -> None:
    (one, _) = programs(simulate(refuse_to_end))
    assert one["outcome"] == "waiting"
    assert "in refuse_to_end" in one["waited_at"]


async def sleep_long(ctx: ProgramContext) -> None:
    await asyncio.sleep(1000)


def test_the_end_of_the_run_is_no_fault_of_a_program() -> None:
    """The load may last to the end of the run, so the program is not cancelled before."""
    short = parse_scenario(
        "{cluster: {nodes: [1]}, workload: {clients: 1, start_ms: 500.7}, until_ms: 501}"
    )
    result = run_scenario(short, 1, program=sleep_long)
    assert not result.violations
    assert [each["outcome"] for each in programs(result)] == ["waiting"]


async def spin(ctx: ProgramContext) -> None:
    while True:  # noqa: ASYNC110  # the loop is the test
        await asyncio.sleep(0)


def test_a_program_that_spins_is_stopped() -> None:
    assert "while no simulated time passed" in notes(simulate(spin))


async def leave(ctx: ProgramContext) -> None:
    with pytest.raises(RuntimeError, match="no threads"):
        await asyncio.to_thread(print)
    with pytest.raises(RuntimeError, match=r"ask the cluster through ctx\.client"):
        await asyncio.open_connection("127.0.0.1", 1)
    with pytest.raises(RuntimeError, match="no processes"):
        await asyncio.create_subprocess_exec("true")
    with pytest.raises(RuntimeError, match="begins coroutines in an order"):
        await next(asyncio.as_completed([asyncio.sleep(0)]))


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited")
def test_a_program_cannot_leave_the_simulation() -> None:
    assert not notes(simulate(leave))


# -- determinism ----------------------------------------------------------------------------------


async def race(ctx: ProgramContext) -> None:
    """Takes the results of a set of tasks in the order of the set."""

    async def one(number: int) -> int:
        await ctx.client.execute(add(f"k{number % 3}"))
        return number

    tasks = {asyncio.create_task(one(number)) for number in range(8)}
    while tasks:
        done, tasks = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            ctx.record("done", number=task.result())


PRINT_HASH = (
    "from tests.sim.programs.test_client_programs import *; "
    "print(simulate(race, 'timeline:' + CRASHES).trace_sha256)"
)


def test_two_processes_with_two_hash_seeds_agree() -> None:
    hashes = {
        subprocess.run(
            [sys.executable, "-c", PRINT_HASH],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert hashes == {f"{simulate(race, 'timeline:' + CRASHES).trace_sha256}\n"}


# -- which program ----------------------------------------------------------------------------------


def test_what_is_no_program_is_refused() -> None:
    def plain(_ctx: ProgramContext) -> None:
        return

    async def two(_ctx: ProgramContext, _other: int) -> None:
        return

    for wrong in (plain, two):
        with pytest.raises(ConfigError, match=r"write `async def client\(ctx\)`"):
            simulate(wrong)  # type: ignore[arg-type]  # the error is the test
    with pytest.raises(ConfigError, match=r"name the file too, as file\.py:client"):
        run_scenario(parse_scenario("workload: {program: client}"))
    with pytest.raises(ConfigError, match=r"lock_service\.py has no function nothing"):
        run_scenario(parse_scenario(f"workload: {{program: '{EXAMPLES}/lock_service.py:nothing'}}"))


# -- errors of newcomers ---------------------------------------------------------------------------


async def keeps_its_cancellation(ctx: ProgramContext) -> None:
    while True:
        try:
            await ctx.client.execute(add("a"))
            await asyncio.sleep(0.1)
        except BaseException:  # noqa: BLE001  # the fault
            pass


# Python reports a coroutine that goes on when it is closed.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_program_that_keeps_its_cancellation_is_explained() -> None:
    result = simulate(keeps_its_cancellation)
    assert not result.ok
    first, second = notes(result).splitlines()
    assert "client 1, at 4000 ms: it was cancelled at the end of the load and went on, at" in first
    assert second.endswith("write `except Exception:`")
    assert [each["outcome"] for each in programs(result)] == ["waiting", "waiting"]


class NoText(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


async def raise_without_text(ctx: ProgramContext) -> None:
    await ctx.client.execute(add("a"))
    raise NoText


def test_an_error_without_a_text_is_reported() -> None:
    result = simulate(raise_without_text)
    assert "raised NoText: <its text raised RuntimeError>" in notes(result)
    assert [each["outcome"] for each in programs(result)] == ["failed", "failed"]


@pytest.mark.parametrize("value", [{"a", "b"}, object()])
def test_a_record_takes_only_json_values(value: Any) -> None:
    """The text of a set or of an object would make the trace differ from process to process."""

    async def program(ctx: ProgramContext) -> None:
        await ctx.client.execute(add("a"))
        ctx.record("seen", keys=value)

    assert "record seen: the value of keys is no JSON value" in notes(simulate(program))


async def never_wait(ctx: ProgramContext) -> None:
    while True:  # noqa: ASYNC110  # the fault
        await asyncio.sleep(0)


def test_programs_that_never_wait_are_no_client_0() -> None:
    assert notes(simulate(never_wait)).startswith("program never_wait, at 0 ms: the programs took")
