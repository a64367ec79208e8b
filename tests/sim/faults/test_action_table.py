"""Every action that a scenario file can name has a method that executes it."""

from __future__ import annotations

from qcore.sim import World
from qcore.sim.scenario.actions.registry import ACTIONS, REPAIRS, REVERSIBLE
from qcore.sim.scenario.actions.repair_action import Repair
from qcore.trace import TraceWriter
from tests.sim.support.scenario_texts import scenario


def test_every_kind_of_action_can_be_executed() -> None:
    kinds = World(scenario(), 1, TraceWriter()).timeline_runner.actions.kinds
    executed = {*kinds, Repair}  # the runner itself ends what its items have begun
    assert executed == {*ACTIONS.values()}
    assert executed >= {*REPAIRS, *REVERSIBLE}
