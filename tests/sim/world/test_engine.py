"""The event queue of the simulator, and the processes of SimPy that wait in it."""

from __future__ import annotations

from collections.abc import Generator
from random import Random

import pytest
from simpy.core import EmptySchedule
from simpy.events import Event

from qcore.sim.world.clock.engine import NEVER_US, Engine, running_engine


def test_events_of_one_time_run_in_their_order_urgent_ones_first() -> None:
    engine = Engine()
    seen: list[str] = []

    def first() -> None:
        seen.append("first")
        engine.after(0, lambda: seen.append("after all that is due"))
        engine.immediately(lambda: seen.append("urgent"))

    engine.at(5, first)
    engine.at(5, lambda: seen.append("second"))
    engine.at(4, lambda: seen.append("earlier"))
    engine.run(6)
    assert seen == ["earlier", "first", "urgent", "second", "after all that is due"]
    assert engine.now == 6


def test_many_events_come_in_the_order_of_time_and_call() -> None:
    engine, rng = Engine(), Random(1)
    due = [rng.randrange(300) for _ in range(2000)]
    seen: list[tuple[int, int]] = []
    for number, time_us in enumerate(due):
        engine.at(time_us, lambda each=(time_us, number): seen.append(each))  # type: ignore[misc]
    engine.run(NEVER_US)
    assert seen == sorted((time_us, number) for number, time_us in enumerate(due))


def test_a_run_ends_before_the_events_of_its_last_time() -> None:
    engine = Engine()
    seen: list[int] = []
    engine.at(10, lambda: seen.append(engine.now))
    engine.run(10)
    assert (seen, engine.now, engine.next_us) == ([], 10, 10)
    engine.step()
    assert (seen, engine.next_us) == ([10], NEVER_US)


def test_simpy_processes_and_events_of_the_run_share_the_clock() -> None:
    engine = Engine()
    seen: list[tuple[str, int]] = []

    def process() -> Generator[Event, object, None]:
        for _ in range(3):
            yield engine.env.timeout(10)
            seen.append(("process", engine.env.now))

    engine.env.process(process())
    engine.at(15, lambda: seen.append(("run", engine.env.now)))
    engine.run(25)
    assert seen == [("process", 10), ("run", 15), ("process", 20)]
    assert engine.env.peek() == 30
    engine.env.run()
    assert seen[-1] == ("process", 30)
    with pytest.raises(EmptySchedule):
        engine.env.step()


def test_simpy_runs_until_a_time_or_an_event() -> None:
    engine = Engine()
    assert engine.env.run(until=engine.env.timeout(5, "value")) == "value"
    engine.env.run(until=20)
    assert engine.now == 20


def test_the_error_of_a_simpy_process_ends_the_run() -> None:
    engine = Engine()

    def process() -> Generator[Event, object, None]:
        yield engine.env.timeout(7)
        raise KeyError("from the process")

    engine.env.process(process())
    with pytest.raises(KeyError, match="from the process"):
        engine.run(100)
    assert engine.now == 7


def test_the_running_engine_is_known_only_during_its_events() -> None:
    engine = Engine()
    seen: list[Engine | None] = []
    engine.at(1, lambda: seen.append(running_engine()))
    engine.run(2)
    assert seen == [engine]
    assert running_engine() is None
