"""Nodes with different states are reported once, with everything that is known about the difference."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from random import Random
from typing import ClassVar, Literal

import pytest

from qcore.machines.interface import ApplyContext
from qcore.machines.register import RegisterMachine
from qcore.sim import RunResult, run_scenario
from tests.sim.support.scenario_texts import scenario

#: A follower falls behind the compacted log and installs a snapshot.
SNAPSHOT_FAULT = "[{at_ms: 900, isolate: follower_1, for_ms: 900}]"
LOAD = "{clients: 3, rate_per_s: 80, keys: 3}"


def notes(result: RunResult) -> list[str]:
    return [each.note for each in result.violations if each.check == "state_hash"]


def set_keys(rng: Random) -> tuple[Literal["write", "read"], str]:
    command = {"op": "set", "key": rng.choice("abc"), "value": rng.randrange(100)}
    return "write", json.dumps(command)


def forget_one(
    real: Callable[[RegisterMachine, Iterable[str]], Iterator[None]],
) -> Callable[[RegisterMachine, Iterable[str]], Iterator[None]]:
    """`restore_gradually` that forgets a register."""

    def restore_gradually(machine: RegisterMachine, chunks: Iterable[str]) -> Iterator[None]:
        yield from real(machine, chunks)
        machine.apply('{"op": "delete", "key": "k0"}', ApplyContext(1, 1))

    return restore_gradually


def test_a_faulty_restore_of_a_built_in_machine_is_explained(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A planted fault of the registers, which the nodes run without a check of determinism."""
    planted = forget_one(RegisterMachine.restore_gradually)
    monkeypatch.setattr(RegisterMachine, "restore_gradually", planted)
    spec = scenario(
        SNAPSHOT_FAULT, cluster="{nodes: 3, snapshot_entries: 10, keep_entries: 2}", workload=LOAD
    )
    (note,) = notes(run_scenario(spec, 1))
    assert re.search(
        r"^after index (\d+) node \d has the state [0-9a-f]{16}, node \d had [0-9a-f]{16}; after index \d+ they were "
        r"equal; snapshots in between: node \d restored that of index \1; ",
        note,
    ), note
    assert re.search(
        r"; the state differs right after that restore; a fresh copy that applies the same \d+ commands has the state "
        r"of node \d, so node \d is wrong; difference of the states, of node \d against the copy: .*'\[\"k0\",\d+\]'",
        note,
    ), note


class OneNodeForgets(RegisterMachine):
    """From index 30 on, the second machine that applies commands forgets one register."""

    appliers: ClassVar[list[RegisterMachine]] = []

    def apply(self, command: str, context: ApplyContext) -> str:
        result = super().apply(command, context)
        if not any(each is self for each in self.appliers):
            self.appliers.append(self)
        if context.index >= 30 and self.appliers[1] is self:
            super().apply('{"op": "delete", "key": "a"}', context)
        return result


def test_the_wrong_node_and_the_difference_are_named_once() -> None:
    OneNodeForgets.appliers.clear()
    spec = scenario(cluster="{nodes: 3, check_determinism: false}", workload=LOAD)
    (note,) = notes(run_scenario(spec, 1, machine=OneNodeForgets, requests=set_keys))
    assert "after index 24 they were equal; snapshots in between: none was restored; " in note, note
    assert re.search(r"the \d commands in between begin at index 25, the command '", note), note
    assert re.search(
        r"a fresh copy .* commands has the state of node \d, so node \d is wrong", note
    ), note


def test_different_commands_at_one_index_are_named() -> None:
    """Then the cluster is at fault, and not the state machine."""
    spec = scenario(
        "[{at_ms: 1000, isolate: follower_1, label: behind}, {at_ms: 2000, heal: behind},"
        " {at_ms: 2000, campaign: follower_1}]",
        "{violation: any}",
        cluster="{nodes: 3, safeguards: {log_freshness_check: false}, pre_vote: false, check_quorum: false}",
        workload="{clients: 3, rate_per_s: 100}",
        until_ms=4000,
    )
    found = [note for seed in range(1, 4) for note in notes(run_scenario(spec, seed))]
    assert found
    assert all(
        re.search(r"at index \d+ node \d applied the command '.*', and node \d", each)
        for each in found
    )
