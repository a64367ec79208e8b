"""Runs in which the state machine of one node is not deterministic, or none is, and who was found to differ."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random
from typing import Any, Literal
from unittest.mock import patch

from qcore.machines.interface import ApplyContext, StateMachine
from qcore.machines.register import RegisterMachine
from qcore.replica.divergence.containment import Containment
from qcore.replica.replica import Replica
from qcore.sim import RunResult, Scenario, run_scenario
from qcore.sim.world.node.node_machine import HashedMachine
from tests.source.pure_build import need_pure_build

_KEY = "odd"


class OddMachine(RegisterMachine):
    """A register machine; that of the node `odd_node` changes something else from index `FROM_INDEX` on."""

    FROM_INDEX = 60
    odd_node: int | None = None
    node_id: int | None = None

    def apply(self, command: str, context: ApplyContext) -> str:
        planted = self.node_id is not None and self.node_id == self.odd_node
        if planted and context.index >= self.FROM_INDEX and context.index % 5 == 0:
            super().apply(json.dumps({"op": "set", "key": _KEY, "value": context.index}), context)
        return super().apply(command, context)

    @property
    def is_odd(self) -> bool:
        """Whether the state is not what the log makes."""
        return f'"{_KEY}"' in "".join(self.snapshot())


def writes(rng: Random) -> tuple[Literal["write", "read"], str]:
    """A client's next request."""
    key = f"k{rng.randrange(6)}"
    if rng.random() < 0.2:
        return "read", json.dumps({"op": "get", "key": key})
    return "write", json.dumps({"op": "set", "key": key, "value": rng.randrange(1000)})


@dataclass
class Found:
    """What a run showed.

    Attributes:
        result: the run.
        marked: each node that found that it differs: when, whether its state was odd, and whether those of most voters
            were.
        replicas: the newest life of each node.
    """

    result: RunResult | None = None
    marked: list[tuple[int, int, bool, bool]] = field(default_factory=list)
    replicas: dict[int, Replica] = field(default_factory=dict)

    def odd(self) -> set[int]:
        """The nodes whose newest life ended with an odd state."""
        return {node for node, replica in self.replicas.items() if _odd(replica)}

    def contained(self) -> set[int]:
        """The nodes whose newest life ended contained."""
        return {node for node, replica in self.replicas.items() if replica.core.contained}

    def missed(self) -> set[int]:
        """The voters at the end of the run with an odd state, although most are not odd, that are not contained."""
        leader = max(self.replicas.values(), key=lambda replica: replica.core.commit_index)
        voters = {*leader.core.membership.voters}
        odd = voters & self.odd()
        return odd - self.contained() if 2 * len(voters - odd) > len(voters) else set()


def _odd(replica: Replica) -> bool:
    return _unwrapped(replica.machine).is_odd


def _unwrapped(machine: StateMachine) -> OddMachine:
    while isinstance(machine, HashedMachine):
        machine = machine.inner
    assert isinstance(machine, OddMachine)
    return machine


def run_planted(scenario: Scenario, seed: int, odd_node: int | None) -> Found:
    """Run the scenario with an odd machine on one node, or on none."""
    found = Found()
    machine = type("Planted", (OddMachine,), {"odd_node": odd_node})
    with _watched(found):
        found.result = run_scenario(scenario, seed, machine=machine, requests=writes)
    return found


@contextmanager
def _watched(found: Found) -> Iterator[None]:
    need_pure_build("it observes the calls of a compiled method")
    make, judge = Replica.__init__, Containment._judge

    def made(self: Replica, config: Any, machine: Any, *args: Any, **named: Any) -> None:
        _unwrapped(machine).node_id = config.raft.node_id
        found.replicas[config.raft.node_id] = self
        make(self, config, machine, *args, **named)

    def judged(self: Containment) -> None:
        before = self.diverged_at
        judge(self)
        if before is None and self.diverged_at is not None:
            replica = self._replica
            assert isinstance(replica, Replica)
            voters = replica.core.membership.voters
            odd = [node for node in voters if node in found.replicas and _odd(found.replicas[node])]
            most = 2 * len(odd) > len(voters)
            found.marked.append((replica.now, replica.core.node_id, _odd(replica), most))

    with (
        patch.object(Replica, "__init__", made),
        patch.object(Containment, "_judge", judged),
    ):
        yield
