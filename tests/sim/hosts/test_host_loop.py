"""The event loop of a simulated computer: turns as in asyncio, the time of callbacks, pauses, clocks, the end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from qcore.sim.faults.ledger import Fault, Firing
from qcore.sim.world.clock.engine import Engine
from qcore.sim.world.hosts.host_loop import HostLoop, Processor, new_host_loop
from qcore.sim.world.node.node_clock import NodeClock
from qcore.sim.world.programs import sim_loop


class Bench:
    """A loop, and a list of what happened when: (true time, name)."""

    def __init__(self, processor: Processor | None = None, clock: NodeClock | None = None) -> None:
        self.engine = Engine()
        self.clock = clock or NodeClock()
        self.processor = processor or Processor(callback_us=10)
        self.loop: HostLoop = new_host_loop(self.engine, self.clock, self.processor)
        self.log: list[tuple[int, str]] = []

    def note(self, name: str) -> Callable[[], None]:
        return lambda: self.log.append((self.engine.now, name))

    def run(self, until_us: int) -> list[tuple[int, str]]:
        self.engine.run(until_us)
        return self.log


def test_callbacks_run_one_after_the_other() -> None:
    bench = Bench()
    for name in "abc":
        bench.loop.call_soon(bench.note(name))
    assert bench.run(1000) == [(0, "a"), (10, "b"), (20, "c")]
    assert (bench.loop.callbacks, bench.loop.busy_us) == (3, 30)


def test_what_a_callback_spends_delays_those_behind_it() -> None:
    bench = Bench()
    seen: list[float] = []

    def work() -> None:
        seen.append(bench.loop.time())
        bench.loop.spend(500)
        seen.append(bench.loop.time())

    bench.loop.call_soon(work)
    bench.loop.call_soon(bench.note("after"))
    assert bench.run(1000) == [(510, "after")]
    assert seen == pytest.approx([10e-6, 510e-6])


def test_time_spent_outside_a_callback_delays_the_next_one() -> None:
    bench = Bench()
    bench.loop.call_soon(bench.note("a"))
    bench.loop.spend(300)
    assert bench.run(1000) == [(300, "a")]


def test_a_slow_processor_multiplies_all_costs() -> None:
    bench = Bench(Processor(callback_us=10, slowdown=5.0))
    bench.loop.call_soon(lambda: bench.loop.spend(100))
    bench.loop.call_soon(bench.note("b"))
    assert bench.run(1000) == [(550, "b")]


def test_a_slow_down_adds_time_to_each_callback_and_acts() -> None:
    bench = Bench()
    fault = Fault("slow")
    firing = Firing(fault)
    bench.processor.slow_down(firing, lambda: 200)
    bench.loop.call_soon(bench.note("a"))
    bench.loop.call_soon(bench.note("b"))
    bench.run(215)
    bench.processor.end_slow_down(firing)
    bench.loop.call_soon(bench.note("c"))
    bench.loop.call_soon(bench.note("d"))
    assert bench.run(1000) == [(0, "a"), (210, "b"), (420, "c"), (430, "d")]
    assert fault.acted == 2


def test_new_callbacks_run_in_the_next_turn_behind_sockets() -> None:
    bench = Bench()
    ready = asyncio.Handle(bench.note("socket"), (), bench.loop)

    def first() -> None:
        bench.note("first")()
        bench.loop.call_soon(bench.note("soon"))
        bench.loop.signal(ready)
        bench.loop.signal(ready)  # once is enough

    bench.loop.call_later(15e-6, bench.note("timer"))
    bench.loop.call_soon(first)
    bench.loop.call_soon(bench.note("second"))
    names = [name for _, name in bench.run(1000)]
    assert names == ["first", "second", "soon", "socket", "timer"]


def test_a_timer_is_late_while_the_processor_is_busy() -> None:
    bench = Bench()
    bench.loop.call_later(0.0001, bench.note("timer"))
    bench.loop.call_soon(lambda: bench.loop.spend(5000))
    assert bench.run(10_000) == [(5010, "timer")]


def test_a_timer_is_never_early_by_the_clock_of_the_loop() -> None:
    bench = Bench(clock=NodeClock(123_456_789, drift_ppm=-300))
    early: list[float] = []

    def check(when: float) -> None:
        if bench.loop.time() < when:
            early.append(when)

    start = bench.loop.time()
    for number in range(1, 400):
        when = start + number * 0.000_137_3
        bench.loop.call_at(when, check, when)
    bench.run(1_000_000)
    assert bench.loop.callbacks == 399
    assert not early


def test_timers_follow_a_clock_that_drifts_and_changes() -> None:
    clock = NodeClock(0, drift_ppm=100_000)
    bench = Bench(clock=clock)
    bench.loop.call_later(0.11, bench.note("fast"))
    bench.loop.call_later(0.22, bench.note("changed"))
    bench.run(150_000)
    clock.set_drift(bench.engine.now, 1_000_000)
    bench.loop.clock_changed()
    bench.run(1_000_000)
    # 0.055 s of this clock were left at 0.15 s, and it runs twice as fast from then on.
    assert bench.log == [(100_000, "fast"), (177_500, "changed")]


def test_cancelled_timers_do_not_accumulate() -> None:
    bench = Bench()
    bench.loop.call_later(0.001, bench.note("timer"))
    for _ in range(5000):
        bench.loop.call_later(3600, bench.note("never")).cancel()
    assert len(bench.loop._timers) <= 102
    assert bench.run(10_000) == [(1000, "timer")]


def test_a_pause_delays_everything_and_keeps_its_order() -> None:
    bench = Bench()
    for name, at_s in (("t2", 0.002), ("t1", 0.001)):
        bench.loop.call_later(at_s, bench.note(name))
    bench.loop.pause()
    bench.loop.call_soon(bench.note("soon"))
    assert bench.run(50_000) == []
    bench.loop.resume()
    assert bench.run(60_000) == [(50_000, "soon"), (50_010, "t1"), (50_020, "t2")]


def test_effects_outside_happen_at_the_end_of_the_callback() -> None:
    bench = Bench()

    def work() -> None:
        bench.loop.defer(bench.note("sent"))
        bench.loop.spend(90)

    bench.loop.call_soon(work)
    bench.loop.call_soon(bench.note("next"))
    assert bench.run(1000) == [(100, "sent"), (100, "next")]


def test_effects_outside_happen_although_the_process_is_frozen() -> None:
    bench = Bench()

    def work() -> None:
        bench.loop.defer(bench.note("sent"))
        bench.loop.pause()

    bench.loop.call_soon(work)
    assert bench.run(1000) == [(10, "sent")]


def test_a_killed_process_runs_no_code_after_an_await() -> None:
    bench = Bench()
    log: list[str] = []

    async def work() -> None:
        try:
            log.append("began")
            await asyncio.sleep(1)
            log.append("went on")
        finally:
            log.append("closed")
            asyncio.get_running_loop().call_soon(log.append, "scheduled")

    bench.loop.create_task(work())
    bench.loop.call_later(0.5, log.append, "timer")
    bench.run(1000)
    bench.loop.close()
    bench.run(5_000_000)
    assert log == ["began", "closed"]


def test_a_process_may_die_in_one_of_its_callbacks() -> None:
    bench = Bench()

    def die() -> None:
        bench.loop.defer(bench.note("sent before"))
        bench.loop.close()

    bench.loop.call_soon(die)
    bench.loop.call_soon(bench.note("never"))
    assert bench.run(1000) == [(0, "sent before")]


def test_errors_of_callbacks_are_reported_and_the_loop_goes_on() -> None:
    bench = Bench()
    errors: list[str] = []
    bench.loop.on_error = lambda _owner, error, what: errors.append(f"{what}: {error!r}")

    def fail() -> None:
        raise ValueError("a bug")

    bench.loop.call_soon(fail)
    bench.loop.call_soon(bench.note("after"))
    assert bench.run(1000) == [(10, "after")]
    assert errors == ["a callback: ValueError('a bug')"]


def test_tasks_timeouts_and_queues_work_as_in_asyncio() -> None:
    bench = Bench()
    log: list[object] = []

    async def consumer(queue: asyncio.Queue[int]) -> None:
        while True:
            try:
                async with asyncio.timeout(0.05):
                    log.append(await queue.get())
            except TimeoutError:
                log.append("silent")
                return

    async def main() -> None:
        queue: asyncio.Queue[int] = asyncio.Queue()
        task = asyncio.create_task(consumer(queue))
        for number in range(3):
            queue.put_nowait(number)
            await asyncio.sleep(0.01)
        await task

    task = bench.loop.create_task(main())
    bench.run(1_000_000)
    assert task.done()
    assert log == [0, 1, 2, "silent"]


def test_a_loop_without_costs_that_never_ends_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sim_loop, "MAX_TURNS_AT_ONE_TIME", 1000)
    bench = Bench(Processor(callback_us=0))
    log: list[str] = []
    bench.loop.on_standstill = lambda: log.append("stopped")

    def again() -> None:
        bench.loop.call_soon(again)

    again()
    bench.run(1000)
    assert log == ["stopped"]
    assert bench.loop.is_closed()


def test_asynchronous_generators_are_closed_by_their_loop() -> None:
    bench = Bench()
    log: list[str] = []

    async def numbers() -> AsyncIterator[int]:
        try:
            yield 1
            yield 2
        finally:
            await asyncio.sleep(0.001)
            log.append("closed")

    async def main() -> None:
        async for number in numbers():
            log.append(str(number))
            break

    bench.loop.create_task(main())
    bench.run(100_000)
    assert log == ["1", "closed"]
