"""Explains an operation: its way through the cluster, its outcome, and where the time went."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from qcore.analysis.course.course_types import Course, OperationCourse
from qcore.analysis.course.node_tracks import node_at
from qcore.analysis.course.voting.short_texts import (
    duration_text,
    joined,
    moment_text,
    reason_text,
)
from qcore.analysis.course.voting.vote_answers import loss_text
from qcore.analysis.explanations.explained_text import (
    Explanation,
    share_text,
    whole_and_parts,
)
from qcore.analysis.explanations.operation_effect import (
    chosen_attempt,
    effect_of,
    lost_forward,
    unsent_forward,
)

#: Parts below this fraction of the whole time are not listed. Their time counts for the next part.
_SMALLEST_PART: Final = 200
#: The most attempts that a sentence lists.
_MOST_ATTEMPTS: Final = 4
#: Below this share no part of the time is worth a sentence.
_LARGE_SHARE: Final = 0.35
#: What the longest part of the time means.
_MEANINGS: Final = {
    "earlier attempts": "the nodes that were asked first did not execute it",
    "to the node": "the request was on its way from the client, or the node was busy",
    "wait for a leader": "the node knew no leader to forward the request to",
    "to the leader": "the forwarded request was on its way, or the leader was busy",
    "queue": "the leader did not append the entry immediately",
    "disks of a majority": "the entry had to reach a majority and be durable there",
    "commit": "the leader had to hear from a majority that the entry was durable",
    "apply": "the leader had to apply the entries before it",
    "leader's answer": "the leader had to confirm that it still leads, or to apply what it had committed",
    "back to the node": "the answer of the leader was on its way",
    "back to the client": "the response was on its way to the client",
}


_VERBS: Final = {"write": "write", "cas": "change", "add": "change"}


def explain_operation(course: Course, operation: OperationCourse) -> Explanation:
    """Explain an operation of a course: see `explain`."""
    return Explanation(_title(operation), tuple(_Sentences(course, operation).all()))


def _title(operation: OperationCourse) -> str:
    what = operation_text(operation)
    outcome = operation.outcome if operation.outcome != "open" else "no outcome"
    took = ""
    if operation.end_us is not None:
        took = f" after {duration_text(operation.end_us - operation.invoke_us)}"
    return f"Client {operation.client}, operation {operation.op_id}: {what}: {outcome}{took}"


def operation_text(operation: OperationCourse) -> str:
    """An operation in a few words, as `operationName` in the viewer says it: `set k3 from 4 to 5`."""
    if not operation.key:
        return operation.op
    value = "nothing" if operation.value is None else operation.value
    match operation.op:
        case "read":
            return f"read {operation.key}"
        case "cas":
            before = "nothing" if operation.expected is None else operation.expected
            return f"set {operation.key} from {before} to {value}"
        case op:
            return f"{op} {operation.key} = {value}"


class _Sentences:
    """The sentences about one operation."""

    def __init__(self, course: Course, operation: OperationCourse) -> None:
        self._course = course
        self._operation = operation
        self._is_nodes = not course.is_simulated  # the client of a real trace is the node

    def all(self) -> Iterator[str]:
        yield self._asked()
        operation = self._operation
        if operation.is_inferred:
            yield from self._outcome()
            yield "This trace has no details of requests, so it does not show more."
            return
        yield from self._way()
        yield from self._entry()
        yield from self._outcome()
        if operation.outcome == "ok" and operation.end_us is not None:
            yield from self._parts()

    def _asked(self) -> str:
        operation = self._operation
        start = self._moment(operation.invoke_us)
        if self._is_nodes:
            return f"Node {operation.client} took the request at {start}."
        if not operation.took:
            return f"Client {operation.client} sent its request at {start}, but no node took it."
        if operation.is_inferred:
            return f"Client {operation.client} asked node {operation.took[0][0]} at {start}."
        if len(operation.took) > _MOST_ATTEMPTS:
            (first, first_us), *_, (last, last_us) = operation.took
            return (
                f"Client {operation.client} began at {start} and made {len(operation.took)} attempts: the first one "
                f"reached node {first} ({self._moment(first_us)}), the last one node {last} ({self._moment(last_us)})."
            )
        if len(operation.took) > 1:
            tries = joined(f"node {node} ({self._moment(t_us)})" for node, t_us in operation.took)
            return f"Client {operation.client} began at {start} and reached {tries}."
        node, took_us = operation.took[0]
        took = duration_text(took_us - operation.invoke_us)
        return f"Client {operation.client} asked node {node} at {start}; the request arrived {took} later."

    def _way(self) -> Iterator[str]:
        """How the request came to the leader."""
        operation = self._operation
        if not operation.took:
            return
        node, took_us = chosen_attempt(self._operation)
        if operation.forwarded_us is None:
            if operation.leader == node and self._leads(node, took_us):
                yield f"Node {node} was the leader."
            elif operation.leader == node:
                yield f"Node {node} waited until it was leader."
            elif operation.replied_us is not None and self._leads(node, operation.replied_us):
                yield f"Node {node} answered after it had become leader."
            elif operation.replied_us is not None and operation.outcome == "ok":
                yield f"Node {node} answered from its state, without the leader."
            else:
                yield self._not_forwarded(node, took_us)
            return
        waited_us = operation.forwarded_us - took_us
        waited = (
            f" after it had waited {duration_text(waited_us)} for a leader" if waited_us else ""
        )
        begin = f"Node {node} forwarded it to leader {operation.leader}{waited}"
        if operation.arrived_us is not None:
            took = duration_text(operation.arrived_us - operation.forwarded_us)
            yield f"{begin}, where it arrived {took} later."
            return
        message = lost_forward(self._course, operation)
        if message is not None:
            yield f"{begin}, but the message was lost ({loss_text(message.why)})."
        else:
            yield f"{begin}; the trace does not show that it arrived."

    def _not_forwarded(self, node: int, took_us: int) -> str:
        leader = node_at(self._course, node, took_us).leader
        if leader is None:
            return f"Node {node} knew no leader to which it could forward the request."
        until_us = self._operation.end_us
        until_us = self._course.end_us if until_us is None else until_us
        if unsent_forward(self._course, node, leader, took_us, until_us) is not None:
            return (
                f"Node {node} still took node {leader} for the leader, but had no connection to it, so it could not "
                "forward the request."
            )
        return f"Node {node} took node {leader} for the leader, but did not forward the request."

    def _entry(self) -> Iterator[str]:
        """What became of the entry."""
        operation = self._operation
        if operation.appended_us is None:
            if operation.index:
                yield f"It became entry {operation.index:,}."
            return
        text = f"Node {operation.leader} appended it as entry {operation.index:,} of term {operation.term}"
        if operation.durable_us is None:
            yield f"{text}; the entry did not become durable there."
        elif operation.quorum_us is None:
            disk = duration_text(operation.durable_us - operation.appended_us)
            yield f"{text} and stored it in {disk}, but no majority of the voters ever stored it."
        else:
            disk = duration_text(operation.durable_us - operation.appended_us)
            majority = duration_text(operation.quorum_us - operation.appended_us)
            yield f"{text} and stored it in {disk}; a majority of the voters had stored it after {majority}."
        if operation.committed_us is not None:
            when = self._moment(operation.committed_us)
            yield f"Node {operation.leader} knew at {when} that it was committed{self._applied()}."

    def _applied(self) -> str:
        operation = self._operation
        if operation.applied_us is None or operation.committed_us is None:
            return ""
        later_us = operation.applied_us - operation.committed_us
        return ", and applied it" + (f" {duration_text(later_us)} later" if later_us else "")

    def _outcome(self) -> Iterator[str]:
        operation = self._operation
        if operation.end_us is None:
            yield "The trace ends before the operation has an outcome."
            return
        when = self._moment(operation.end_us)
        who = f"Node {operation.client}" if self._is_nodes else f"Client {operation.client}"
        if operation.outcome == "ok":
            note = f" ({operation.note})" if operation.note else ""
            verb = "responded" if self._is_nodes else "had the response"
            yield f"{who} {verb} at {when}{note}."
        elif operation.outcome == "refused":
            verb = "refused it" if self._is_nodes else "got an error"
            why = f" (\u201c{reason_text(operation.note)}\u201d)" if operation.note else ""
            yield f"{who} {verb}{why} at {when}: the operation had no effect."
        else:
            yield from self._unknown(who, when)

    def _unknown(self, who: str, when: str) -> Iterator[str]:
        """What the client knew, and what the trace shows."""
        operation = self._operation
        yield from self._stopped_waiting()
        verb = "sent" if self._is_nodes else "got"
        match operation.note:
            case "timeout":
                text = f"{who} stopped waiting at {when}, without a response"
            case "connection lost":
                text = f"{who} lost the connection at {when}"
            case "OutcomeUnknown":
                is_known = operation.replied_us is not None
                answer = "this answer" if is_known else "the answer that the outcome is unknown"
                text = f"{who} {verb} {answer} at {when}"
            case note:
                text = f"{who} {verb} the error \u201c{reason_text(note)}\u201d at {when}"
        if operation.op == "read":
            yield f"{text}."
            return
        client = "the client" if self._is_nodes else "it"
        what = _VERBS.get(operation.op, "request")
        yield f"{text}, so {client} could not know whether the {what} had an effect."
        effect = effect_of(self._course, operation)
        match effect.kind:
            case "done":
                yield f"The trace shows that the {what} had an effect: {effect.why}."
            case "none":
                yield f"The trace shows that the {what} had no effect: {effect.why}."
            case _:
                yield f"The trace does not show it, either: {effect.why}."

    def _stopped_waiting(self) -> Iterator[str]:
        """Why the node answered that the outcome is unknown."""
        operation = self._operation
        if operation.note != "OutcomeUnknown" or operation.replied_us is None or not operation.took:
            return
        node, _ = chosen_attempt(operation)
        when = self._moment(operation.replied_us)
        since_us = self._leaderless_since(node, operation.replied_us)
        if since_us is None:
            yield f"Node {node} answered at {when} that the outcome is unknown."
            return
        yield (
            f"Node {node} knew no leader from {self._moment(since_us)} on. It stopped waiting at {when}, "
            f"{duration_text(operation.replied_us - since_us)} later, and answered that the outcome is unknown: a node "
            "waits no longer than the longest election timeout for a new leader."
        )

    def _leaderless_since(self, node: int, t_us: int) -> int | None:
        """Since when a node knew no leader; None if it knew one."""
        since_us = None
        for span in self._course.tracks[node].roles:
            if span.start_us > t_us:
                break
            if span.leader is not None or span.role == "down":
                since_us = None
            elif since_us is None:
                since_us = span.start_us
        return since_us if since_us is not None and since_us < t_us else None

    def _parts(self) -> Iterator[str]:
        """Where the time went."""
        operation = self._operation
        took_us = chosen_attempt(self._operation)[1] if operation.took else None
        is_read = operation.appended_us is None
        # A node that becomes leader meanwhile answers itself.
        waits = (
            took_us is not None
            and not operation.is_forwarded
            and not self._leads(*chosen_attempt(self._operation))
            and operation.replied_us is not None
            and self._leads(chosen_attempt(self._operation)[0], operation.replied_us)
        )
        answer = "wait for a leader" if waits else "leader's answer"
        back = "back to the node" if operation.is_forwarded else "reply"
        names: list[str] = []
        times = [operation.invoke_us]
        assert operation.end_us is not None, "an operation without an end has no parts"
        least_us = (operation.end_us - operation.invoke_us) // _SMALLEST_PART
        for name, t_us in (
            ("to the node" if len(operation.took) == 1 else "earlier attempts", took_us),
            ("wait for a leader", operation.forwarded_us),
            ("to the leader", operation.arrived_us if operation.is_forwarded else None),
            ("wait for a leader" if waits else "queue", operation.appended_us),
            ("disks of a majority", operation.quorum_us),
            ("commit", operation.committed_us),
            ("apply", operation.applied_us),
            (answer if is_read else back, operation.replied_us),
            ("back to the client", operation.end_us),
        ):
            if t_us is not None and t_us - times[-1] > least_us:
                names.append(name)
                times.append(t_us)
        if not names:
            return
        times[-1] = operation.end_us
        total_us = times[-1] - times[0]
        if len(names) > 1:
            yield whole_and_parts(names, times)
        lengths = [times[place + 1] - times[place] for place in range(len(names))]
        longest = max(range(len(names)), key=lengths.__getitem__)
        meaning = _MEANINGS.get(names[longest])
        if lengths[longest] >= _LARGE_SHARE * total_us and meaning:
            yield f"{share_text(lengths[longest], total_us)} of this was \u201c{names[longest]}\u201d: {meaning}."

    def _leads(self, node: int, t_us: int) -> bool:
        return node_at(self._course, node, t_us).role == "leader"

    def _moment(self, t_us: int) -> str:
        return moment_text(t_us, self._course.begin_us)
