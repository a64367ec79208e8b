"""Asks a user's invariant and properties about the states of all machines during a run."""

from __future__ import annotations

from collections.abc import Callable

from qcore.machines.interface import ApplyContext, StateMachine
from qcore.sim.invariants import Report
from qcore.sim.oracles.properties import Property
from qcore.sim.oracles.user_function import BrokenOracle, problem_found, raised_text, shortened
from qcore.sim.oracles.user_oracles import Oracles

_SHOWN = 200


class StateOracles:
    """Observes the machines (`MachineObserver`) and asks the invariant and the properties.

    Each function reports its first failure only: the states after it, and those of other nodes, repeat it.

    Args:
        oracles: the user's functions.
        report: receives violations.
        now: the simulated time, microseconds.

    Attributes:
        asked: by function, for how many states it was asked.
        broken: by function, what it raised; it is not asked again.
        failed: the functions that reported a violation.
        seen: by `@sometimes` property, where it first held.
        executed: the indexes of the entries whose commands some machine executed.
        restores: by node, the times at which it restored a snapshot, microseconds.
    """

    def __init__(self, oracles: Oracles, report: Report, now: Callable[[], int]) -> None:
        self._report = report
        self._now = now
        self._model = oracles.model is not None
        self._always: list[tuple[str, str, Callable[..., object]]] = []
        if oracles.invariant is not None:
            self._always.append(("invariant", "invariant", oracles.invariant))
        self._always += [
            ("always", one.name, one.function) for one in oracles.properties if one.kind == "always"
        ]
        self._sometimes = [one for one in oracles.properties if one.kind == "sometimes"]
        self.asked: dict[str, int] = {name: 0 for _, name, _ in self._always}
        self.asked.update((one.name, 0) for one in self._sometimes)
        self.broken: dict[str, str] = {}
        self.failed: dict[str, str] = {}
        self.seen: dict[str, str] = {}
        self.executed: set[int] = set()
        self.restores: dict[int, list[int]] = {}
        self._indexes: dict[int, int] = {}

    @property
    def needed(self) -> bool:
        """Whether there is anything to observe."""
        return bool(self._always or self._sometimes or self._model)

    def applied(
        self, node: int, machine: StateMachine, command: str, context: ApplyContext, result: object
    ) -> None:
        """See `MachineObserver`."""
        self._indexes[node] = context.index
        self.executed.add(context.index)
        shown = shortened(command, _SHOWN)
        self._ask(
            node,
            machine,
            lambda: (
                f"after node {node} applied entry {context.index}, the command {shown!r}, which returned "
                f"{shortened(repr(result), _SHOWN)}"
            ),
        )

    def queried(self, node: int, machine: StateMachine, query: str, result: object) -> None:
        """See `MachineObserver`."""

    def query_raised(self, node: int, query: str, error: Exception) -> None:
        """See `MachineObserver`."""

    def restored(self, node: int, machine: StateMachine) -> None:
        """See `MachineObserver`."""
        self.restores.setdefault(node, []).append(self._now())
        self._ask(
            node,
            machine,
            lambda: (
                f"after node {node} restored a snapshot; the last entry that it had applied before was "
                f"{self._indexes.get(node, 0)}"
            ),
        )

    def _ask(self, node: int, machine: StateMachine, where: Callable[[], str]) -> None:
        for check, name, function in self._always:
            if name in self.failed or name in self.broken:
                continue
            self.asked[name] += 1
            try:
                problem = problem_found(name, function, machine)
            except BrokenOracle as error:
                self.broken[name] = f"{error}, {where()}"
                continue
            if problem is not None:
                self.failed[name] = problem
                self._report(
                    check, node, f"{name}: {problem}\n{where()}\nits state: {_state_of(machine)}"
                )
        for one in self._sometimes:
            if one.name not in self.seen and one.name not in self.broken:
                self._look_for(one, node, machine, where)

    def _look_for(
        self, one: Property, node: int, machine: StateMachine, where: Callable[[], str]
    ) -> None:
        self.asked[one.name] += 1
        try:
            holds: object = one.function(machine)
        except AssertionError:
            holds = False
        except Exception as error:  # noqa: BLE001 - user code may raise anything
            self.broken[one.name] = f"{raised_text(one.name, error)}, {where()}"
            return
        if holds is True:
            self.seen[one.name] = f"at node {node}, index {self._indexes.get(node, 0)}"
        elif holds is not False:
            self.broken[one.name] = (
                f"{one.name} returned {holds!r:.100}: a property of kind sometimes returns True or False"
            )


def _state_of(machine: StateMachine) -> str:
    """The text of a snapshot of the machine, for the report of a failure."""
    try:
        return shortened("".join(machine.snapshot()))
    except Exception as error:  # noqa: BLE001 - user code may raise anything
        return f"<{raised_text('snapshot', error)}>"
