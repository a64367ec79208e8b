"""Explains an operation: its way through the cluster, its outcome, and where the time went."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from typing import Final

from qcore.analysis.course.course_types import Course, MessageCourse, OperationCourse
from qcore.analysis.course.node_tracks import node_at
from qcore.analysis.course.voting.short_texts import (
    duration_text,
    joined,
    moment_text,
    parts_text,
    reason_text,
)
from qcore.analysis.course.voting.vote_answers import loss_text
from qcore.analysis.explanations.explained_text import Explanation, share_text, upper_first

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


def explain_operation(course: Course, operation: OperationCourse) -> Explanation:
    """Explain an operation of a course: see `explain`."""
    return Explanation(_title(operation), tuple(_Sentences(course, operation).all()))


def _title(operation: OperationCourse) -> str:
    what = operation.op
    if operation.key:
        what = f"{what} {operation.key}"
        if operation.op == "cas":
            what = f"{what} from {operation.expected} to {operation.value}"
        elif operation.op != "read":
            what = f"{what} = {operation.value}"
    outcome = operation.outcome if operation.outcome != "open" else "no outcome"
    took = ""
    if operation.end_us is not None:
        took = f" after {duration_text(operation.end_us - operation.invoke_us)}"
    return f"Client {operation.client}, operation {operation.op_id}: {what}: {outcome}{took}"


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
        node, took_us = self._chosen()
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
                leader = node_at(self._course, node, took_us).leader
                knew = f"leader {leader}" if leader else "no leader"
                yield f"Node {node} knew {knew} and did not forward the request."
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
        message = self._lost_forward()
        if message is not None:
            yield f"{begin}, but the message was lost ({loss_text(message.why)})."
        else:
            yield f"{begin}; the trace does not show that it arrived."

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
            why = reason_text(operation.note)
            error = f"the error \u201c{why}\u201d" if why else "an error"
            yield f"{who} got {error} at {when}: the operation had no effect."
        else:
            yield self._unknown(who, when)

    def _unknown(self, who: str, when: str) -> str:
        operation = self._operation
        match operation.note:
            case "timeout":
                text = f"{who} stopped waiting at {when}, without a response"
            case "connection lost":
                text = f"{who} lost the connection at {when}"
            case note if why := reason_text(note):
                text = f"{who} got the error \u201c{why}\u201d at {when}"
            case _:
                text = f"{who} got no definite answer at {when}"
        if operation.op == "read":
            return f"{text}."
        if operation.committed_us is not None:
            return f"{text}, so its outcome is unknown to the client; but the entry was committed, so it took effect."
        if not operation.took:
            return f"{text}, so its outcome is unknown to the client; but no node took it, so it had no effect."
        if len(operation.took) == 1 and self._lost_forward() is not None:
            return f"{text}, so its outcome is unknown to the client; but it reached no leader, so it had no effect."
        if operation.index:
            return f"{text}, so its outcome is unknown; the trace does not show that its entry was committed."
        return f"{text}, so its outcome is unknown; the trace shows no entry of it."

    def _parts(self) -> Iterator[str]:
        """Where the time went."""
        operation = self._operation
        took_us = self._chosen()[1] if operation.took else None
        is_read = operation.appended_us is None
        # A node that becomes leader meanwhile answers itself.
        waits = (
            took_us is not None
            and not operation.is_forwarded
            and not self._leads(*self._chosen())
            and operation.replied_us is not None
            and self._leads(self._chosen()[0], operation.replied_us)
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
        parts = [f"{name} {part}" for name, part in zip(names, parts_text(times), strict=True)]
        if len(parts) > 1:
            yield f"{upper_first(joined(parts))}: {parts_text([times[0], times[-1]])[0]} in all."
        lengths = [times[place + 1] - times[place] for place in range(len(names))]
        longest = max(range(len(names)), key=lengths.__getitem__)
        meaning = _MEANINGS.get(names[longest])
        if lengths[longest] >= _LARGE_SHARE * total_us and meaning:
            yield f"{share_text(lengths[longest], total_us)} of this was \u201c{names[longest]}\u201d: {meaning}."

    def _chosen(self) -> tuple[int, int]:
        """The attempt whose way the operation shows."""
        operation = self._operation
        before = operation.forwarded_us if operation.is_forwarded else operation.replied_us
        fitting = [took for took in operation.took if before is None or took[1] <= before]
        return (fitting or list(operation.took))[-1]

    def _leads(self, node: int, t_us: int) -> bool:
        return node_at(self._course, node, t_us).role == "leader"

    def _lost_forward(self) -> MessageCourse | None:
        """The message with the forwarded request, if it was lost."""
        operation = self._operation
        if operation.forwarded_us is None:
            return None
        messages = self._course.messages
        node, _ = self._chosen()
        place = bisect_left(messages.sent_us, operation.forwarded_us)
        while place < len(messages) and messages.sent_us[place] == operation.forwarded_us:
            link = (messages.name[place], messages.source[place], messages.target[place])
            if link == ("Forward", node, operation.leader):
                message = messages[place]
                return message if message.outcome == "lost" else None
            place += 1
        return None

    def _moment(self, t_us: int) -> str:
        return moment_text(t_us - self._course.begin_us)
