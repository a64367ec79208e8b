"""Explains why two nodes have different states after the same index, by applying the commands again."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Protocol

from qcore.machines.interface import StateMachine
from qcore.sim.determinism.copies import Copy
from qcore.sim.determinism.machine_recorder import MachineRecorder
from qcore.sim.determinism.report_text import command_text
from qcore.sim.determinism.run_history import AppliedCommand
from qcore.sim.determinism.state_difference import describe_difference


class LiveStates(Protocol):
    """The states of the nodes at the moment of the report."""

    def snapshot(self, node: int) -> str | None:
        """The snapshot of the machine of a running node; None if it cannot be taken now."""
        ...

    def restored(self, node: int) -> tuple[int, StateMachine] | None:
        """A fresh machine, restored from the snapshot on the node's disk, and the index of that; None without one."""
        ...


class DifferingNodes:
    """Explains a difference of two nodes' states.

    Args:
        make: makes the machine.
        recorder: the commands that the nodes applied.
        live: the nodes.
    """

    def __init__(
        self, make: Callable[[], StateMachine], recorder: MachineRecorder, live: LiveStates
    ) -> None:
        self._make = make
        self._recorder = recorder
        self._live = live

    def explain(
        self,
        index: int,
        last_equal: int,
        node: tuple[int, str],
        other: tuple[int, str],
        restores: Collection[tuple[int, int]],
    ) -> str:
        """What is known about the difference, to append to the report.

        Args:
            index: after which the nodes differ.
            last_equal: after which they were equal.
            node, other: the nodes, each with the digest of its state.
            restores: (node, index) of the snapshots that they restored in between.
        """
        recorder = self._recorder
        if recorder.fork is not None and recorder.fork.index <= index:
            return f"; {recorder.fork.text()}"
        commands = [each for each in recorder.history().commands if each.index <= index]
        if not commands:
            return ""
        reference = self._reference(commands)
        digest = reference.state_hash()
        right = [number for number, seen in (node, other) if seen == digest]
        between = [each for each in commands if each.index > last_equal]
        if (node[0], index) in restores:
            parts = ["the state differs right after that restore"]
        else:
            parts = [self._where(commands, between, node[0], restores)]
        if len(right) == 1:
            wrong = node[0] if right[0] == other[0] else other[0]
            parts.append(
                f"a fresh copy that applies the same {len(commands)} commands has the state of node {right[0]}, so "
                f"node {wrong} is wrong"
            )
        elif not right:
            parts.append("a fresh copy that applies the same commands has neither state")
        text = self._live.snapshot(node[0])
        if text is not None and digest != node[1]:
            parts.append(
                f"difference of the states, of node {node[0]} against the copy: "
                f"{describe_difference(text, reference.snapshot())}"
            )
        return "".join(f"; {part}" for part in parts if part)

    def _reference(self, commands: list[AppliedCommand]) -> Copy:
        copy = Copy(self._make)
        for command in commands:
            copy.apply(command)
        return copy

    def _where(
        self,
        commands: list[AppliedCommand],
        between: list[AppliedCommand],
        node: int,
        restores: Collection[tuple[int, int]],
    ) -> str:
        """The first index after which the states differ, if it can be found."""
        seen = self._recorder.difference
        if seen is not None and between and between[0].index <= seen.index <= between[-1].index:
            at = next(each for each in between if each.index == seen.index)
            return f"the first different answer is that at index {at.index}, {command_text(at)}"
        restored = self._live.restored(node)
        if restored is not None and (node, restored[0]) in restores:
            found = self._after_restore(commands, *restored)
            if found:
                return found
        if len(between) == 1:
            return f"the only command in between is at index {between[0].index}, {command_text(between[0])}"
        if between:
            first = between[0]
            return f"the {len(between)} commands in between begin at index {first.index}, {command_text(first)}"
        return ""

    def _after_restore(
        self, commands: list[AppliedCommand], start: int, machine: StateMachine
    ) -> str:
        """Apply the commands on the snapshot of the wrong node, and on a copy, until they differ."""
        restored, copy = Copy(lambda: machine), Copy(self._make)
        for command in commands:
            copy.apply(command)
            if command.index > start:
                restored.apply(command)
            if command.index >= start and restored.state_hash() != copy.state_hash():
                difference = describe_difference(restored.snapshot(), copy.snapshot())
                if command.index == start:
                    return f"the state differs right after the restore from the snapshot of index {start}: {difference}"
                return (
                    f"after the restore from the snapshot of index {start}, the first different state is that after "
                    f"index {command.index}, {command_text(command)}: {difference}"
                )
        return ""
