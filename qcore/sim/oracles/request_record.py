"""The history that a user's `check(history)` receives: one record for each request of a client."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from qcore.replica.messages import RequestKind
from qcore.sim.workload.operations import ClientOperation, Outcome


@dataclass(slots=True, frozen=True)
class RequestRecord:
    """One request of one client. Times in simulated microseconds.

    Attributes:
        client: the number of the client, from 1.
        kind: `write`, or how it was read: `read`, `lease_read`, `follower_read` or `stale_read`.
        text: the command or the query.
        answer: the machine's answer; None if the client received none.
        outcome: `ok`: answered. `refused`: it certainly had no effect. `unknown`: it may have taken effect, or may take
            effect later.
        error: why the outcome is not `ok`; empty if it is.
        invoke_us: when the client sent the request.
        return_us: when the client received the answer, or stopped waiting; None if it waits at the end of the run.
        node: the node that sent the last answer; 0 without one.
        index: the log index of a write, or the index that the node had applied when it served a read; None if unknown.
    """

    client: int
    kind: RequestKind
    text: str
    answer: str | None
    outcome: Outcome
    error: str
    invoke_us: int
    return_us: int | None
    node: int
    index: int | None

    def __str__(self) -> str:
        answered = repr(self.answer) if self.answer is not None else self.error or "no answer"
        return f"client {self.client}: {self.kind} {self.text!r} -> {self.outcome}, {answered}"


def records_of(history: Iterable[ClientOperation]) -> Sequence[RequestRecord]:
    """The records of a history, in the order in which the requests began.

    A command in a session is one write, however often its client repeated it. Requests that only open or close sessions
    are left out.
    """
    records: list[RequestRecord] = []
    for op in history:
        text = command_text(op)
        if text is None:
            continue
        records.append(
            RequestRecord(
                op.client,
                "write" if op.writes else op.request,
                text,
                op.answer,
                op.outcome or "unknown",
                op.note if op.outcome != "ok" or op.answer is None else "",
                op.invoke_us,
                op.return_us if op.outcome is not None else None,
                op.served_by,
                op.index or None,
            )
        )
    return tuple(records)


def command_text(op: ClientOperation) -> str | None:
    """The command or query of an operation; None if it only opens, keeps or closes a session."""
    if op.request != "session":
        return op.payload
    return run_command(op.payload)


def run_command(payload: str) -> str | None:
    """The command in the data of a session entry; None if the entry only opens, keeps or closes a session."""
    request = json.loads(payload)
    return str(request[4]) if request[0] == "run" else None
