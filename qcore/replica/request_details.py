"""Writes the requests of one node as details of a trace, the same for simulated and real nodes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from qcore.replica.events import ClientRequest, Reply
from qcore.replica.messages import Forward, ForwardResponse, PeerMessage
from qcore.replica.requests.disk_space import writes_to_log
from qcore.trace import TraceWriter


class RequestDetails:
    """Follows the requests of one node from their arrival to their response. It does nothing if no trace takes details.

    Args:
        trace: takes the details.
        node_id: the node.
    """

    def __init__(self, trace: TraceWriter, node_id: int) -> None:
        self._trace = trace
        self._node = node_id
        self._requests: dict[int, tuple[ClientRequest, int, int]] = {}
        # A `Forward` has the content of its request, and not its number.
        self._by_payload: dict[str, deque[int]] = {}

    def took(self, t_us: int, request: ClientRequest, client: int, op_id: int) -> None:
        """A client's request reached the node.

        Args:
            t_us: when.
            request: the request.
            client, op_id: its operation in the trace; 0 if it is not known.
        """
        if not self._trace.takes_details:
            return
        number = request.request_id
        self._requests[number] = (request, client, op_id)
        self._by_payload.setdefault(request.payload, deque()).append(number)
        self._trace.request(t_us, self._node, "take", client, op_id, number)

    def ended(self, t_us: int, reply: Reply, term: int = 0) -> None:
        """The node has the outcome of a request.

        Args:
            t_us: when.
            reply: the outcome.
            term: the term of its entry; 0 if it is not known.
        """
        found = self._requests.pop(reply.request_id, None)
        if found is None:
            return
        request, client, op_id = found
        same = self._by_payload[request.payload]
        same.remove(request.request_id)
        if not same:
            del self._by_payload[request.payload]
        has_entry = reply.error is None and writes_to_log(request.kind)
        index, of_entry = (reply.index, term) if has_entry else (0, 0)
        number = request.request_id
        self._trace.request(t_us, self._node, "end", client, op_id, number, index, of_entry)

    def sent(
        self,
        t_us: int,
        message: PeerMessage,
        message_id: str,
        request_of: Callable[[int], int | None] | None = None,
    ) -> None:
        """The node sent a message: perhaps it passed a request on, or responded to a peer that did.

        Args:
            t_us: when.
            message, message_id: the message.
            request_of: gives the number of the request of a `forward_id`, if the driver can ask its replica. Otherwise
                only the order distinguishes requests with the same content.
        """
        if not self._trace.takes_details:
            return
        if type(message) is Forward:
            number = message.forward_id
            request = None if request_of is None else request_of(number)
            if request is None:
                client, op_id = self._next_to_forward(message.payload)
            else:
                _, client, op_id = self._requests.get(request, (None, 0, 0))
            self._trace.request(
                t_us, self._node, "forward", client, op_id, number, message=message_id
            )
        elif type(message) is ForwardResponse:
            number, index = message.forward_id, message.index
            self._trace.request(t_us, self._node, "answer", 0, 0, number, index, message=message_id)

    def process_died(self) -> None:
        """The process died, and its requests with it."""
        self._requests.clear()
        self._by_payload.clear()

    def _next_to_forward(self, payload: str) -> tuple[int, int]:
        """The operation whose request has this content. Of equal ones each is forwarded in turn."""
        same = self._by_payload.get(payload)
        if same is None:
            return 0, 0
        _, client, op_id = self._requests[same[0]]
        same.rotate(-1)
        return client, op_id
