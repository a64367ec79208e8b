"""The operations that a model judges, and their places in the log."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from qcore.core.entry import Entry
from qcore.sim.linearizability import Operation
from qcore.sim.oracles.model.sequential_model import Request
from qcore.sim.oracles.request_record import command_text, run_command
from qcore.sim.oracles.user_function import shortened
from qcore.sim.workload.operations import ClientOperation

_SHOWN = 120


@dataclass(slots=True, frozen=True)
class ModelOperation:
    """One operation that took effect, or may have taken effect. Times in microseconds.

    Attributes:
        client, op_id: the client, and the number of the operation, which grows within a client.
        request, answer: as the model sees them.
        invoke_us: when the client sent the request.
        return_us: when the client received the response. None: the outcome is unknown.
        place: the index in the log of a write, or the index that was applied when a read was served; 0 if the log
            shows none.
        node: the node that responded; 0 without a response.
        key: the part of the state that it concerns. Operations of different keys are independent.
        register: the same operation for the model of registers; None with a user's model.
    """

    client: int
    op_id: int
    request: Request
    answer: str | None
    invoke_us: int
    return_us: int | None
    place: int
    node: int
    key: Hashable = None
    register: Operation | None = None

    @property
    def is_read(self) -> bool:
        return self.request.kind == "read"

    def describe(self) -> str:
        """One line for explanations."""
        text = shortened(self.request.text, _SHOWN)
        if self.return_us is None:
            answered = "no answer"
        elif self.answer is None:
            answered = "answered, without a text"
        else:
            answered = f"answered {shortened(self.answer, _SHOWN)!r}"
        where = f" through node {self.node}" if self.node and self.return_us is not None else ""
        at = f", {'after ' if self.is_read else ''}index {self.place}" if self.place else ""
        until = "" if self.return_us is None else f" to {self.return_us / 1000:.3f}"
        return (
            f"client {self.client}, {self.request.kind} {text!r}: {answered}{where} "
            f"({self.invoke_us / 1000:.3f}{until} ms{at})"
        )


def operations_of(
    history: Iterable[ClientOperation], executed: Mapping[int, Entry], *, stale_reads: bool
) -> list[ModelOperation]:
    """The operations that a model must explain, with their places in the log.

    Left out is what shows nothing: requests that certainly had no effect, and reads without an answer.

    Args:
        history: the operations of all clients.
        executed: by index, the entries whose commands some machine executed. A repeated command of a session is not
            executed again.
        stale_reads: whether stale reads belong to the history. They promise less than a linearizable read.
    """
    kept: list[tuple[ClientOperation, str]] = []
    for op in history:
        text = command_text(op)
        if (
            text is None
            or op.outcome == "refused"
            or (op.request == "stale_read" and not stale_reads)
            or (not op.writes and op.outcome != "ok")
        ):
            continue
        kept.append((op, text))
    places = _places([op for op, _ in kept if op.writes], executed)
    return [
        ModelOperation(
            op.client,
            op.op_id,
            Request("write" if op.writes else "read", text),
            op.answer if op.outcome == "ok" else None,
            op.invoke_us,
            op.return_us if op.outcome == "ok" else None,
            places.get((op.client, op.op_id), 0) if op.writes else op.index,
            op.served_by,
            register=None if op.is_raw else op.as_operation(stale_reads=stale_reads),
        )
        for op, text in kept
    ]


def _places(
    writes: Sequence[ClientOperation], entries: Mapping[int, Entry]
) -> dict[tuple[int, int], int]:
    """The index at which each write took effect, as far as the log shows it.

    A write in a session takes effect at its first entry, however often its client repeated it. A write without an
    answer has the place of an entry with its text that no other write has. Of several such writes, the one that was
    asked first gets the first entry; if any assignment fits the answers of a correct machine, this one does.
    """
    places: dict[tuple[int, int], int] = {}
    open_writes: list[ClientOperation] = []
    for op in writes:
        entry = entries.get(op.index)
        if op.request != "session" and entry is not None and entry.data == op.payload:
            places[op.client, op.op_id] = op.index
        else:
            open_writes.append(op)
    taken = set(places.values())
    free: dict[str, list[int]] = {}
    wanted = {op.payload for op in open_writes}
    for index in sorted(entries, reverse=True):
        if index not in taken and entries[index].data in wanted:
            free.setdefault(entries[index].data, []).append(index)
    for op in sorted(open_writes, key=lambda op: (op.invoke_us, op.client, op.op_id)):
        indexes = free.get(op.payload)
        if indexes:
            places[op.client, op.op_id] = indexes.pop()
        elif op.index:
            places[op.client, op.op_id] = op.index
    _add_cancelled(places, open_writes, entries)
    return places


def _add_cancelled(
    places: dict[tuple[int, int], int],
    open_writes: Sequence[ClientOperation],
    entries: Mapping[int, Entry],
) -> None:
    """Places of the writes of programs that were cancelled: nothing says in which session they were sent."""
    left = [
        op for op in open_writes if op.request == "write" and (op.client, op.op_id) not in places
    ]
    if not left:
        return
    taken = set(places.values())
    wanted = {op.payload for op in left}
    free: dict[str, list[int]] = {}
    for index in sorted(entries, reverse=True):
        entry = entries[index]
        if entry.kind == "session" and index not in taken:
            command = run_command(entry.data)
            if command is not None and command in wanted:
                free.setdefault(command, []).append(index)
    for op in sorted(left, key=lambda op: (op.invoke_us, op.client, op.op_id)):
        indexes = free.get(op.payload)
        if indexes:
            places[op.client, op.op_id] = indexes.pop()
