"""Client programs and the other names of a machine's file work together: the model judges what the programs asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from qcore.sim import RunResult, run_scenario
from tests.sim.support.scenario_texts import failures, seen

FILE = """
import asyncio

from qcore.errors import QcoreError
from tests.sim.planted.answers.faulty_machines import LostUpdate
from tests.sim.support.counter_store import CounterModel, CounterStore

class Store(CounterStore):
    pass

class Lossy(LostUpdate):
    pass

Model = CounterModel

def check(history):
    return [] if history else "no request"

async def client(ctx):
    while True:
        try:
            await ctx.client.execute('["add", "a", 1]')
            await ctx.client.execute("a", read=True)
        except QcoreError:
            pass
        await asyncio.sleep(0.03)
"""

SCENARIO = """
cluster: {nodes: 3, machine: "store.py:%s"}
workload: {clients: 2}
timeline: [{at_ms: 700, crash: leader, for_ms: 300}]
until_ms: 2500
"""


def run(tmp_path: Path, machine: str, text: str = FILE) -> RunResult:
    (tmp_path / "store.py").write_text(text)
    (tmp_path / "store.yaml").write_text(SCENARIO % machine)
    return run_scenario(tmp_path / "store.yaml", 1)


def test_a_model_judges_the_requests_of_programs(tmp_path: Path) -> None:
    right = run(tmp_path, "Store")
    assert right.ok, failures(right)
    assert seen(right)["model"].endswith("the order of the log explains them")
    wrong = run(tmp_path, "Lossy")
    assert {each.check for each in wrong.violations} <= {"linearizability", "model"}
    assert "this does not fit: the model does not allow this answer" in wrong.violations[0].note


@pytest.mark.parametrize("line", ["1 / 0", "assert not ctx"])
def test_a_program_that_raises_is_a_violation(tmp_path: Path, line: str) -> None:
    result = run(tmp_path, "Store", FILE.replace("await asyncio.sleep(0.03)", line))
    assert {each.check for each in result.violations} == {"client_program"}
