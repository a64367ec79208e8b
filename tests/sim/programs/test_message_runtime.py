"""The runtime of client programs: simulated seconds, given generators and tokens, and nothing of a process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from qcore.client.programs.program_context import ProgramContext
from qcore.sim import parse_scenario, run_scenario
from qcore.sim.world.clock.engine import Engine
from qcore.sim.world.programs.message_runtime import MessageRuntime
from qcore.sim.world.programs.sim_loop import NotSimulated, new_loop


@pytest.mark.parametrize(
    "ask",
    [
        MessageRuntime.monotonic_us,
        MessageRuntime.wall_us,
        MessageRuntime.new_rng,
        MessageRuntime.new_token,
        lambda runtime: runtime.random_bytes(4),
        lambda runtime: runtime.listener(asyncio.Protocol, lambda: None),
        lambda runtime: asyncio.run(runtime.resolve("node-1", 1.0)),
        lambda runtime: asyncio.run(runtime.connect(asyncio.Protocol, "127.0.0.1", 1)),
    ],
)
def test_what_was_not_given_is_refused(ask: Callable[[MessageRuntime], object]) -> None:
    with pytest.raises(NotSimulated, match="exchange whole messages"):
        ask(MessageRuntime(new_loop(Engine())))


def test_it_gives_what_it_was_given_and_simulated_seconds() -> None:
    engine = Engine()
    runtime = MessageRuntime(
        new_loop(engine),
        monotonic_us=lambda: 7,
        new_rng=lambda: Random(3),
        new_token=lambda: "token",
    )
    engine.after(2_500_000, lambda: None)
    engine.run(3_000_000)
    assert runtime.seconds() >= 2.5
    assert runtime.monotonic_us() == 7
    assert runtime.new_rng().random() == Random(3).random()
    assert runtime.new_token() == "token"
    assert asyncio.run(runtime.run_long(lambda: "done")) == "done"


async def draw(ctx: ProgramContext) -> None:
    """Record what several generators of the runtime draw, in each life."""
    drawn = [ctx.client.runtime.new_rng().getrandbits(64) for _ in range(3)]
    ctx.record("drawn", numbers=[str(number) for number in drawn])
    await asyncio.sleep(60)


def test_each_generator_of_a_program_is_another_one() -> None:
    faults = "{every_ms: {uniform: [500, 1000]}, kill_fraction: 1, until_ms: 4000}"
    workload = f"{{clients: 2, program_faults: {faults}}}"
    text = f"{{workload: {workload}, until_ms: 6000, expect: {{may_do_nothing: true}}}}"
    result = run_scenario(parse_scenario(text), 1, program=draw)
    found: Any = result.metrics["programs"]
    drawn = [number for each in found for record in each["records"] for number in record["numbers"]]
    assert len(drawn) > 3 * 2 * 2, "the programs had several lives"
    assert len({*drawn}) == len(drawn)
