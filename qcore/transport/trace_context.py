"""The trace context of a request, as W3C Trace Context has it, within the `id` of its message.

Nodes of every version pass an `id` through unchanged, and would reject a field that they do not know. So a client may
trace its requests whatever version the nodes have.
"""

from __future__ import annotations

import re
from typing import Final, Protocol

#: Version, trace id, span id and flags of a `traceparent`; of a later version the part that this one has.
_TRACEPARENT: Final = re.compile(r" ([0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2})$")


def with_traceparent(message_id: str, traceparent: str) -> str:
    """The id of a message that carries this trace context."""
    return f"{message_id} {traceparent}"


def traceparent_in(message_id: str) -> str:
    """The trace context that a message carries in its id; empty for none."""
    found = _TRACEPARENT.search(message_id)
    return "" if found is None else found[1]


class RequestSpan(Protocol):
    """The span of one request, from `RequestTracer.begin` to `end`."""

    @property
    def traceparent(self) -> str:
        """The context that the request carries; empty if it is not traced."""
        ...

    def end(self, error: BaseException | None) -> None:
        """The request ended, with an error or with a response."""
        ...


class RequestTracer(Protocol):
    """Makes the spans of a client's requests. `qcore.client.OtelTracer` is one."""

    def begin(self, name: str, remote: str) -> RequestSpan:
        """A request begins.

        Args:
            name: the message.
            remote: `host:port` of the node.
        """
        ...
