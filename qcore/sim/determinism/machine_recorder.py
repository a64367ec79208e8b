"""Records what the state machines of a run do, and compares the nodes with each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from qcore.compiled_build import register_copies
from qcore.errors import ResultInvalid
from qcore.machines.interface import ApplyContext, StateMachine
from qcore.replica.machine_results import exception_text, result_of_query
from qcore.sim.determinism.packed_table import PackedTable
from qcore.sim.determinism.run_history import AppliedCommand, History, as_text
from qcore.sim.determinism.state_difference import shorten


@dataclass(frozen=True)
class NodeDifference:
    """Two nodes (or two lives of one) gave different texts after the same commands.

    Attributes:
        index: the command's index, or the index of the state that was asked.
        query: the query; None for a result of a command.
        first_node, first: who answered first, and what.
        node, other: who differed, and what it answered.
    """

    index: int
    query: str | None
    first_node: int
    first: str
    node: int
    other: str


@dataclass(frozen=True)
class Fork:
    """Two nodes applied different commands at the same index: a fault of the cluster, not of the machine."""

    index: int
    first_node: int
    first: str
    node: int
    other: str

    def text(self) -> str:
        """The facts in one sentence."""
        return (
            f"at index {self.index} node {self.first_node} applied the command {ascii(self.first)[:120]}, and node "
            f"{self.node} applied {ascii(self.other)[:120]}"
        )


class InvalidResult(NamedTuple):
    """An answer that breaks the contract: it is no text, or has a lone surrogate, or a query raised another error."""

    node: int
    note: str


class NodeRestore(NamedTuple):
    """A node's machine was restored from a snapshot; the next command that it applied had the index `before`."""

    node: int
    before: int


class MachineRecorder:
    """Records what the machines of all nodes do (a `MachineObserver`), and compares the nodes with each other.

    Args:
        records_queries: whether queries are recorded, too.

    Attributes:
        difference: the difference between two nodes at the lowest index; None if they agree.
        restores: how often a machine was restored from a snapshot.
        node_restores: where, as far as a command followed.
        invalid: the first result or answer that breaks the contract; None if there is none.
        fork: where nodes applied different commands first; None if they did not.
    """

    def __init__(self, *, records_queries: bool = True) -> None:
        self._records_queries = records_queries
        self.difference: NodeDifference | None = None
        self.restores = 0
        self.node_restores: list[NodeRestore] = []
        self.invalid: InvalidResult | None = None
        self.fork: Fork | None = None
        self._records: PackedTable = PackedTable()
        self._answers: dict[int, dict[str, tuple[str, int]]] = {}
        #: The machine of each node and the index of the last command that it applied; 0 if that is not known.
        self._at: dict[int, tuple[StateMachine, int]] = {}
        self._restored: dict[int, StateMachine] = {}

    def applied(
        self, node: int, machine: StateMachine, command: str, context: ApplyContext, result: object
    ) -> None:
        """See `MachineObserver`."""
        index = context.index
        self._at[node] = machine, index
        if self._restored.pop(node, None) is machine:
            self.node_restores.append(NodeRestore(node, index))
        text = result if type(result) is str else as_text(result)
        if self.invalid is None and not is_ascii(result):
            self._validate(node, f"the result of the command {shorten(command)}", index, result)
        known = self._records.get(index)
        if known is None:
            time_us = context.time_us
            lag_us = (
                time_us - context.clock_us
            )  # changes less than the clock does, so it packs better
            record = command, time_us, context.version, lag_us, context.rules, text, node
            self._records.set(index, record)
            return
        first_command, first, first_node = known[0], known[5], known[6]
        if first_command != command:
            if self.fork is None or index < self.fork.index:
                self.fork = Fork(index, first_node, first_command, node, command)
        elif first != text:
            self._differ(NodeDifference(index, None, first_node, first, node, text))

    def queried(self, node: int, machine: StateMachine, query: str, result: object) -> None:
        """See `MachineObserver`."""
        owner, index = self._at.get(node, (None, 0))
        if owner is not machine or not index or not self._records_queries:
            return  # which state answered is known only after the next command
        if self.invalid is None and not is_ascii(result):
            self._validate(node, f"the answer to the query {shorten(query)}", index, result)
        text = as_text(result)
        first, first_node = self._answers.setdefault(index, {}).setdefault(query, (text, node))
        if first != text:
            self._differ(NodeDifference(index, query, first_node, first, node, text))

    def query_raised(self, node: int, query: str, error: Exception) -> None:
        """See `MachineObserver`."""
        if self.invalid is None:
            self.invalid = InvalidResult(
                node,
                f"the query {shorten(query)} raised {type(error).__name__}: {exception_text(error)}; a query that it "
                "cannot answer raises StoreError, and clients get its text",
            )

    def restored(self, node: int, machine: StateMachine) -> None:
        """See `MachineObserver`."""
        self.restores += 1
        self._at.pop(node, None)
        self._restored[node] = machine

    def history(self) -> History:
        """What was recorded."""
        found = History()
        for position, (index, record) in enumerate(self._records.items()):
            command, time_us, version, lag_us, rules, result, _ = record
            applied = AppliedCommand(command, index, time_us, version, time_us - lag_us, rules)
            found.commands.append(applied)
            found.results.append(result)
            asked = self._answers.get(index)
            if asked:
                found.queries[position] = list(asked)
                found.answers[position] = [text for text, _ in asked.values()]
        return found

    def _validate(self, node: int, what: str, index: int, result: object) -> None:
        reason = result_of_query(result)
        if isinstance(reason, ResultInvalid):
            fault = str(reason).partition(": ")[2]
            self.invalid = InvalidResult(node, f"{what} at index {index} is invalid: {fault}")

    def _differ(self, difference: NodeDifference) -> None:
        if self.fork is not None and difference.index >= self.fork.index:
            return
        if self.difference is None or difference.index < self.difference.index:
            self.difference = difference


def is_ascii(result: object) -> bool:
    """Whether a result is text of ASCII characters, and so certainly valid."""
    return isinstance(result, str) and result.isascii()


register_copies(globals())
