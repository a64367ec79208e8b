"""Faulty user-defined machines are found by a `Model` alone, and each report explains itself."""

from __future__ import annotations

import re

import pytest

from qcore.sim import RunResult, run_scenario
from qcore.sim.oracles import Oracles
from tests.sim.planted.answers.faulty_machines import FAULTY_MACHINES
from tests.sim.support.counter_store import CounterModel, CounterStore, draw_request
from tests.sim.support.scenario_texts import failures, scenario

#: Nothing here depends on the fault.
FAULTS = scenario(
    "[{at_ms: 500, crash: leader, for_ms: 200}, {at_ms: 900, isolate: leader, for_ms: 300},"
    " {at_ms: 1400, isolate: 3, for_ms: 500}, {at_ms: 1850, snapshot: {nodes: leader, keep_entries: 0}},"
    " {at_ms: 2000, transfer: 3}, {at_ms: 2300, restart: all}]",
    cluster="{nodes: 3, snapshot_entries: 25, election_timeout_ms: [100, 150]}",
    workload="{clients: 4, rate_per_s: 120, stop_ms: 2800}",
    until_ms=3000,
)

#: What one of the runs of a machine must report.
EXPLANATION = re.compile(
    r"in the order of the log, the first \d+ requests of the key '[abcd]' fit.*"
    r"^then the state is -?\d+, and this does not fit: the model does not allow this answer\n"
    r"  client \d, (write|read) .*: answered '.*' through node \d .*index \d+\)\n"
    r"    the model answers '.*'",
    re.DOTALL | re.MULTILINE,
)


def run(machine: type[CounterStore], seed: int) -> RunResult:
    return run_scenario(
        FAULTS, seed, machine=machine, requests=draw_request, oracles=Oracles(model=CounterModel)
    )


@pytest.mark.parametrize(
    "machine",
    [
        pytest.param(machine, id=machine.__name__, marks=[pytest.mark.long] if number % 3 else [])
        for number, machine in enumerate(FAULTY_MACHINES)
    ],
)
def test_a_faulty_machine_is_found_and_explained(machine: type[CounterStore]) -> None:
    for seed in range(1, 6):
        notes = [
            each.note
            for each in run(machine, seed).violations
            if each.check in ("linearizability", "model")
        ]
        if notes:
            assert EXPLANATION.search(notes[0]), notes[0]
            return
    pytest.fail(f"no seed finds {machine.__name__}")


@pytest.mark.parametrize(
    "seed", [1, *(pytest.param(n, marks=pytest.mark.long) for n in range(2, 20))]
)
def test_the_machine_without_a_fault_passes(seed: int) -> None:
    result = run(CounterStore, seed)
    assert result.violations == ()
    rows = [each for each in result.failed() if each.name != "every_fault_acted"]
    assert rows == [], failures(result)
