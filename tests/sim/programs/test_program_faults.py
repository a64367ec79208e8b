"""Client programs whose processes are paused and killed: as by SIGSTOP, SIGCONT and SIGKILL, with both fidelities."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections import Counter
from itertools import pairwise
from typing import Any

import pytest

from qcore.client.programs.program_context import ClientProgram, ProgramContext
from qcore.errors import ConfigError
from qcore.kv import KeyValue
from qcore.sim import RunResult, parse_scenario, run_scenario
from qcore.trace import TraceWriter

FIDELITIES = ("replica", "node")
#: For programs that ask the cluster nothing.
QUIET = ", expect: {may_do_nothing: true}"


def simulate(
    program: ClientProgram,
    faults: str,
    *,
    fidelity: str = "replica",
    seed: int = 1,
    more: str = "",
    trace: TraceWriter | None = None,
) -> RunResult:
    text = f"{{fidelity: {fidelity}, workload: {{clients: 2, program_faults: {faults}}}, until_ms: 9000{more}}}"
    return run_scenario(parse_scenario(text), seed, trace=trace, program=program)


def programs(result: RunResult) -> list[dict[str, Any]]:
    found: Any = result.metrics["programs"]
    return list(found)


def records(result: RunResult, client: int = 1) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = programs(result)[client - 1]["records"]
    return found


def operations(trace: TraceWriter) -> list[dict[str, Any]]:
    found = map(json.loads, trace.lines())
    return [each for each in found if each["kind"] == "op"]


def notes(result: RunResult) -> list[str]:
    return [violation.note for violation in result.violations]


def add(key: str) -> str:
    return json.dumps({"op": "add", "key": key, "amount": 1})


# -- pauses ---------------------------------------------------------------------------------------

#: One pause of each client, and then no fault.
ONE_PAUSE = "{every_ms: 1000, pause_ms: 3000, kill_fraction: 0, until_ms: 2000}"


async def tick(ctx: ProgramContext) -> None:
    """Ticks in one task, and waits for timers in others."""

    async def wait(seconds: float) -> None:
        await asyncio.sleep(seconds)
        ctx.record("timer", due=seconds, at=ctx.time())

    async with asyncio.TaskGroup() as group:
        for seconds in (2.5, 1.5, 2.0, 4.5):
            group.create_task(wait(seconds))
        while ctx.time() < 6:
            ctx.record("tick", at=ctx.time())
            await asyncio.sleep(0.1)


@pytest.mark.parametrize("fidelity", FIDELITIES)
def test_a_paused_program_takes_no_step_and_timers_are_late(fidelity: str) -> None:
    result = simulate(tick, ONE_PAUSE, fidelity=fidelity, more=QUIET)
    assert result.ok, (notes(result), result.failed())
    for client in (1, 2):
        found = records(result, client)
        times = [each["at"] for each in found]
        assert times == sorted(times)
        gaps = [after - before for before, after in pairwise(times)]
        assert max(gaps) >= 3.0, "no step during the pause"
        assert sorted(gaps)[-2] < 0.11, "and it was the only one"
        timers = [each for each in found if each["what"] == "timer"]
        assert [each["due"] for each in timers] == [1.5, 2.0, 2.5, 4.5], (
            "in the order of their times"
        )
        late = [each["at"] for each in timers][:3]
        assert late[0] >= 4.0, "what was due during the pause came after it"
        assert late[0] == pytest.approx(late[2], abs=0.01)
        assert timers[3]["at"] == pytest.approx(4.5, abs=0.01), "later timers are punctual"
    assert {(each["pauses"], each["kills"], each["lives"]) for each in programs(result)} == {
        (1, 0, 1)
    }


async def watch_while_paused(ctx: ProgramContext) -> None:
    """Client 1 counts, all the time; client 2 sees each count in a watch."""
    kv = KeyValue(ctx.client)
    if ctx.number == 1:
        for count in range(40):
            await kv.put("count", str(count))
            await asyncio.sleep(0.1)
        return
    async with kv.watch("count", from_revision=1) as changes:
        for _ in range(40):
            change = await anext(changes)
            ctx.record("seen", count=int(change.kv.text), at=ctx.time())


@pytest.mark.parametrize("fidelity", FIDELITIES)
def test_messages_that_arrive_during_a_pause_wait(fidelity: str) -> None:
    faults = "{every_ms: 900, pause_ms: 1200, kill_fraction: 0, until_ms: 1500}"
    result = simulate(
        watch_while_paused, faults, fidelity=fidelity, more=", cluster: {machine: kv}"
    )
    assert result.ok, (notes(result), result.failed())
    assert [each["count"] for each in records(result, 2)] == [*range(40)]
    assert [each["pauses"] for each in programs(result)] == [1, 1]


async def check_and_write(ctx: ProgramContext) -> None:
    """Notes the time, and what time it is when the request that relies on it has been answered."""
    while True:
        before = ctx.time()
        await ctx.client.execute(add("k"))
        if ctx.time() - before > 1.5:
            ctx.record("late", at=before)


def test_a_pause_falls_between_steps_that_take_no_time() -> None:
    """Also between a check and the request that relies on it. Else no run would show the fault of a stale check."""
    trace = TraceWriter(keep=True)
    faults = "{every_ms: 200, pause_ms: 2000, kill_fraction: 0}"
    simulate(check_and_write, faults, trace=trace)
    found = operations(trace)
    invoked = {(each["t_us"], each["client"]) for each in found if each["phase"] == "invoke"}
    paused = {(each["t_us"], each["client"]) for each in found if each["phase"] == "paused"}
    assert invoked & paused


async def record_time(ctx: ProgramContext) -> None:
    try:
        await asyncio.Event().wait()
    finally:
        ctx.record("cancelled", at=ctx.time())


@pytest.mark.parametrize("fidelity", FIDELITIES)
def test_a_paused_program_continues_when_the_load_stops(fidelity: str) -> None:
    faults = "{every_ms: 1000, pause_ms: 100000, kill_fraction: 0}"
    result = simulate(record_time, faults, fidelity=fidelity)
    assert [each["pauses"] for each in programs(result)] == [1, 1]
    for client in (1, 2):
        assert programs(result)[client - 1]["outcome"] == "stopped"
        assert records(result, client)[-1]["at"] == pytest.approx(8.0, abs=0.01)


# -- kills ----------------------------------------------------------------------------------------

KILLS = "{every_ms: {uniform: [600, 1500]}, kill_fraction: 1.0, restart_after_ms: [100, 400]}"

#: What programs did in code that no killed process runs.
left: list[tuple[int, str]] = []


async def work(ctx: ProgramContext) -> None:
    """Works until it is cancelled, and says in every way that it ends."""
    ctx.record("began", drawn=ctx.random.random())
    try:
        while True:
            await ctx.client.execute(add(f"k{ctx.number}"))
            ctx.record("step")
            await asyncio.sleep(0.05)
    except asyncio.CancelledError:
        ctx.record("cancelled")
        raise
    except BaseException:
        ctx.record("error")
        raise
    finally:
        ctx.record("finally")
        await ctx.client.execute(add("left"))
        await asyncio.sleep(0.01)
        ctx.record("late finally")


@pytest.mark.parametrize("fidelity", FIDELITIES)
def test_a_killed_program_runs_no_finally(fidelity: str) -> None:
    result = simulate(work, KILLS, fidelity=fidelity)
    assert result.ok, (notes(result), result.failed())
    for client in (1, 2):
        program, found = programs(result)[client - 1], records(result, client)
        whats = Counter(each["what"] for each in found)
        ends = int(program["outcome"] == "stopped")
        assert program["kills"] >= 2
        assert whats["error"] == 0
        assert whats["cancelled"] == whats["finally"] == whats["late finally"] == ends
        assert whats["began"] == program["lives"] == program["kills"] + ends
        assert len({each["drawn"] for each in found if each["what"] == "began"}) == whats["began"]
        assert [each["t_ms"] for each in found] == sorted(each["t_ms"] for each in found)
        assert [each["life"] for each in found] == sorted(each["life"] for each in found)


def test_no_killed_code_runs_in_the_run() -> None:
    seen: list[int] = []

    async def program(ctx: ProgramContext) -> None:
        try:
            await work(ctx)
        finally:
            left.append((ctx.number, "left"))

    async def observer(ctx: ProgramContext) -> None:
        if ctx.number == 1:
            await program(ctx)
        while True:
            await asyncio.sleep(0.1)
            seen.append(len(left))

    left.clear()
    result = simulate(observer, KILLS)
    assert programs(result)[0]["kills"] >= 2
    assert set(seen) == {0}, "not even while other programs run"


def test_the_trace_has_the_phases_of_a_program() -> None:
    trace = TraceWriter(keep=True)
    faults = "{every_ms: 700, kill_fraction: 0.5, pause_ms: 300, restart_after_ms: 200}"
    result = simulate(work, faults, trace=trace)
    found = operations(trace)
    phases = Counter(each["phase"] for each in found if each["op"] == "program")
    total = Counter[str]()
    for each in programs(result):
        total.update({name: each[name] for name in ("lives", "pauses", "kills")})
    assert phases["began"] == total["lives"] > 2
    assert phases["paused"] == phases["resumed"] == total["pauses"] > 0
    assert phases["killed"] == total["kills"] > 0
    killed = [each for each in found if each.get("note") == "killed"]
    assert {each["phase"] for each in killed} == {"unknown"}, "their outcome is not known"


async def hold_a_lease(ctx: ProgramContext) -> None:
    """The first client keeps a key alive. The other one waits until it is gone: only then its holder is dead."""
    kv = KeyValue(ctx.client)
    if ctx.number == 1 and await kv.get("held") is None:
        lease = await kv.grant(2)
        first = await kv.put("held", "x", lease=lease)
        ctx.record("held", revision=first)
        while True:
            await kv.keep_alive(lease)
            await asyncio.sleep(0.3)
    elif ctx.number == 2:
        async with kv.watch("held", from_revision=1, kinds=["delete"]) as changes:
            await anext(changes)
        ctx.record("gone", at=ctx.time())


@pytest.mark.parametrize("fidelity", FIDELITIES)
def test_the_lease_of_a_killed_program_expires(fidelity: str) -> None:
    faults = "{every_ms: 3000, kill_fraction: 1.0, restart_after_ms: 500, until_ms: 3500}"
    result = simulate(hold_a_lease, faults, fidelity=fidelity, more=", cluster: {machine: kv}")
    assert result.ok, (notes(result), result.failed())
    assert programs(result)[0]["kills"] == 1
    (gone,) = records(result, 2)
    assert 4500 <= gone["t_ms"] <= 6500, "two seconds after the last keep-alive"


async def expect_late(ctx: ProgramContext) -> None:
    """Fails in the second life only."""
    count = json.loads(await ctx.client.execute(add(f"lives{ctx.number}")))["value"]
    ctx.expect(count < 2, "this is the first life")
    await asyncio.sleep(100)


def test_a_failed_expectation_of_a_later_life_fails_the_run() -> None:
    result = simulate(expect_late, "{every_ms: 1500, kill_fraction: 1.0, restart_after_ms: 100}")
    assert not result.ok
    assert any("this is the first life" in note for note in notes(result))
    assert "failed" in {each["outcome"] for each in programs(result)}


async def fail_when_killed(ctx: ProgramContext) -> None:
    try:
        while True:
            await ctx.client.execute(add("k"))
    except asyncio.CancelledError:
        return
    finally:
        ctx.expect(ctx.time() > 7.9, "only the end of the load ends this program")


def test_a_kill_is_no_error_of_the_program() -> None:
    result = simulate(fail_when_killed, "{every_ms: 1500, kill_fraction: 1.0, until_ms: 2000}")
    assert [each["kills"] for each in programs(result)] == [1, 1]
    reported = notes(result)
    assert all("only the end of the load" in note for note in reported)
    # The second life is younger at the end of the load, so its expectation fails; that of the killed one does not.
    assert len(reported) == 2
    assert all("at 8000 ms" in note for note in reported)


# -- clocks ---------------------------------------------------------------------------------------


async def read_clocks(ctx: ProgramContext) -> None:
    runtime = ctx.client.runtime
    for _ in range(2):
        ctx.record(
            "clocks",
            monotonic=runtime.monotonic_us(),
            wall=runtime.wall_us(),
            true=round(runtime.seconds() * 1e6),
        )
        await asyncio.sleep(5)


@pytest.mark.parametrize("fidelity", FIDELITIES)
def test_clocks_drift_and_are_skewed_within_the_bounds(fidelity: str) -> None:
    rates, skews, bases = set[float](), set[float](), set[int]()
    for seed in range(1, 6):
        result = simulate(
            read_clocks,
            "{clock_drift_ppm: 1000, clock_skew_ms: 250}",
            fidelity=fidelity,
            seed=seed,
            more=QUIET,
        )
        assert result.ok, (notes(result), result.failed())
        for client in (1, 2):
            before, after = records(result, client)
            passed = after["true"] - before["true"]
            rates.add((after["monotonic"] - before["monotonic"]) / passed - 1)
            skews.add(before["wall"] - 1_700_000_000_000_000 - before["true"])
            bases.add(before["monotonic"])
    assert max(map(abs, rates)) <= 0.001
    assert min(rates) < 0 < max(rates)
    assert max(map(abs, skews)) <= 251_000
    assert min(skews) < 0 < max(skews)
    assert len(bases) == 10, "monotonic clocks of two clients cannot be compared"


@pytest.mark.parametrize("fidelity", FIDELITIES)
def test_clocks_are_exact_without_faults(fidelity: str) -> None:
    text = f"{{fidelity: {fidelity}, workload: {{clients: 1}}, until_ms: 9000}}"
    before, after = records(run_scenario(parse_scenario(text), 1, program=read_clocks))
    assert after["monotonic"] - before["monotonic"] == after["true"] - before["true"]
    assert before["wall"] == 1_700_000_000_000_000 + before["true"]


# -- determinism and errors -----------------------------------------------------------------------

MIXED = "{every_ms: [200, 1200], pause_ms: [50, 900], kill_fraction: 0.5, clock_drift_ppm: 300}"
PRINT_HASH = (
    "from tests.sim.programs.test_program_faults import *; "
    "print(*[simulate(work, MIXED, fidelity=each).trace_sha256 for each in FIDELITIES])"
)


def test_faults_are_the_same_in_another_process() -> None:
    hashes = {
        subprocess.run(
            [sys.executable, "-c", PRINT_HASH],
            env={**os.environ, "PYTHONHASHSEED": "7"},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip(),
        " ".join(simulate(work, MIXED, fidelity=each).trace_sha256 for each in FIDELITIES),
    }
    assert len(hashes) == 1
    assert simulate(work, MIXED, seed=2).trace_sha256 not in hashes.pop()


@pytest.mark.parametrize(
    ("faults", "error"),
    [
        ("{}", "it names no fault: give every_ms, clock_drift_ppm or clock_skew_ms"),
        ("{pause_ms: 100}", "pause_ms has no effect without every_ms"),
        ("{kill_fraction: 0.1}", "kill_fraction has no effect without every_ms"),
        ("{every_ms: 100, kill_fraction: 2}", "kill_fraction"),
        ("{every_ms: often}", "'often' is not a distribution; write milliseconds as 5"),
        ("{clock_drift_ppm: -1}", "clock_drift_ppm"),
        ("{every_ms: 100, until_ms: 0}", r"until_ms \(0\) is not after start_ms"),
        ("{every: 100}", "every_ms"),
    ],
)
def test_wrong_faults_are_explained(faults: str, error: str) -> None:
    with pytest.raises(ConfigError, match=error):
        simulate(work, faults)


def test_a_scenario_with_faults_of_programs_can_be_saved() -> None:
    scenario = parse_scenario(f"workload: {{program: 'a.py:f', program_faults: {MIXED}}}")
    assert parse_scenario(scenario.to_yaml()) == scenario


def test_faults_need_clients_that_run_a_program() -> None:
    text = "workload: {program_faults: {every_ms: 100}}"
    with pytest.raises(ConfigError, match=r"no client does: name one with workload\.program"):
        run_scenario(parse_scenario(text))
    with pytest.raises(ConfigError, match="kind: set and program_faults"):
        parse_scenario("workload: {kind: set, program_faults: {every_ms: 100}}")


def test_a_fault_that_never_acts_fails_the_run() -> None:
    async def short(ctx: ProgramContext) -> None:
        await ctx.client.execute(add("k"))

    result = simulate(short, "{every_ms: 5000}")
    assert [each.name for each in result.failed()] == ["every_fault_acted"]


def test_each_generator_of_a_program_draws_other_numbers() -> None:
    drawn: list[int] = []

    async def program(ctx: ProgramContext) -> None:
        drawn.extend(ctx.client.runtime.new_rng().getrandbits(64) for _ in range(3))

    simulate(program, "{clock_drift_ppm: 0}", more=QUIET)
    assert len({*drawn}) == len(drawn) > 3
