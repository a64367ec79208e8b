"""The example of a user's own machine, as shown in the README, keeps the protocol's promises."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

from qcore.machines.interface import ApplyContext, StateMachine
from tests.checkout import EXAMPLES

EXAMPLE = EXAMPLES / "counter_machine.py"

if TYPE_CHECKING:
    from examples.counter_machine import CounterMachine


def load_example() -> CounterMachine:
    spec = importlib.util.spec_from_file_location("counter_machine", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    machine: CounterMachine = module.CounterMachine()
    return machine


def test_the_example_is_a_state_machine_of_under_thirty_lines() -> None:
    assert isinstance(load_example(), StateMachine)
    code = [line for line in EXAMPLE.read_text().splitlines() if line.strip()]
    assert len(code) <= 30


def test_example_counts_rejects_and_restores() -> None:
    machine, other = load_example(), load_example()
    assert machine.apply('{"name": "visits", "by": 2}', ApplyContext(5, 0)) == "2"
    assert machine.apply('{"name": "visits", "by": 3}', ApplyContext(6, 0)) == "5"
    before = machine.state_hash()
    assert machine.apply('{"name": "visits"}', ApplyContext(7, 0)).startswith("bad command")
    assert machine.apply("[1]", ApplyContext(8, 0)).startswith("bad command")
    assert machine.state_hash() == before
    other.restore(machine.snapshot())
    assert other.query("visits") == "5"
    assert other.state_hash() == before
