"""The example of a user's machine, as shown in the README, keeps the promises of the interface."""

from __future__ import annotations

from qcore.machines.interface import ApplyContext, StateMachine
from tests.checkout import EXAMPLES
from tests.examples import load_example

EXAMPLE = EXAMPLES / "counter_machine.py"
CounterMachine = load_example("counter_machine").CounterMachine


def test_the_example_is_a_state_machine_of_under_thirty_lines() -> None:
    assert isinstance(CounterMachine(), StateMachine)
    code = [line for line in EXAMPLE.read_text().splitlines() if line.strip()]
    assert len(code) <= 30


def test_example_counts_rejects_and_restores() -> None:
    machine, other = CounterMachine(), CounterMachine()
    assert machine.apply('{"name": "visits", "by": 2}', ApplyContext(5, 0)) == "2"
    assert machine.apply('{"name": "visits", "by": 3}', ApplyContext(6, 0)) == "5"
    before = machine.state_hash()
    assert machine.apply('{"name": "visits"}', ApplyContext(7, 0)).startswith("bad command")
    assert machine.apply("[1]", ApplyContext(8, 0)).startswith("bad command")
    assert machine.state_hash() == before
    other.restore(machine.snapshot())
    assert other.query("visits") == "5"
    assert other.state_hash() == before
