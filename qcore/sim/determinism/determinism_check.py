"""Checks after a run that its user-defined machine is deterministic, and reports the first difference, once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from qcore.machines.interface import StateMachine
from qcore.sim.determinism.circumstances.shadows import Shadows
from qcore.sim.determinism.comparison import Comparison
from qcore.sim.determinism.machine_recorder import MachineRecorder
from qcore.sim.determinism.other_process.machine_reference import own_modules, reference_of
from qcore.sim.determinism.other_process.second_process import SecondCopies

CHECK = "determinism"


@dataclass(slots=True)
class DeterminismReport:
    """What the check did and found.

    Attributes:
        commands, queries: how many commands and queries of the run were repeated.
        copies: on how many copies.
        restores: how many snapshots were restored into copies.
        restores_in_run: how many snapshots the nodes restored in the run itself.
        no_second_process: why no copy ran in a second process; empty if one did.
        remark: what else the verdict says of the second process; usually empty.
        remark: what else the verdict says of the second process; usually empty.
        note: the first difference and its cause; empty if all copies agree.
    """

    commands: int = 0
    queries: int = 0
    copies: int = 0
    restores: int = 0
    restores_in_run: int = 0
    no_second_process: str = ""
    remark: str = ""
    note: str = ""

    def summary(self) -> str:
        """What was done, in one line for the verdict."""
        if not self.commands:
            return "nothing was applied, so nothing was compared"
        in_run = f"{self.restores_in_run} restores" if self.restores_in_run else "no restore"
        text = f"{self.commands} commands on {self.copies} copies with {self.restores} restores, {in_run} in the run"
        if self.no_second_process:
            return f"{text}; no second process: {self.no_second_process}"
        return f"{text}; second process {self.remark}" if self.remark else text


class DeterminismCheck:
    """Records a run, and checks its machine at the end.

    Args:
        make: makes the machine.
        reference: `file.py:Class` or `module:Class`, if the scenario names the machine.
        rng: draws where snapshots are taken.
        recorder: observes the machines of the nodes.
    """

    def __init__(
        self,
        make: Callable[[], StateMachine],
        reference: str,
        rng: Random,
        recorder: MachineRecorder,
    ) -> None:
        self.recorder = recorder
        self._make = make
        self._rng = rng
        self._second = SecondCopies(reference_of(make, reference))

    def close(self) -> None:
        """End what a run that raised has left."""
        self._second.close()

    def finish(self) -> DeterminismReport:
        """Compare the copies. Call it once, at the end of the run."""
        history = self.recorder.history()
        report = DeterminismReport(
            len(history.commands),
            sum(map(len, history.queries.values())),
            restores_in_run=self.recorder.restores,
        )
        if history.commands:
            with Shadows(own_modules(self._make)) as shadows:
                comparison = Comparison(
                    self._make, self.recorder, history, self._second, shadows, self._rng
                )
                found = list(comparison.differences())
                if found:
                    first = min(found, key=lambda each: each.rank)
                    report.note = first.explain()
            report.copies, report.restores = comparison.copies, comparison.restores
        report.no_second_process, report.remark = self._second.reason, self._second.remark
        self._second.give_back()
        return report
