"""A client's connection: requests in flight at once, matched by id. Plain JSON values."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from pydantic import JsonValue

from qcore.errors import TransportError
from qcore.transport.limits import TransportLimits


class ClientConnection:
    """One connection to a node. Make it with `await ClientConnection.connect(...)`.

    Attributes:
        on_push: called with (type name, value) for an envelope that answers no request.
        on_close: called once with the reason (None after `close`).
    """

    on_push: Callable[[str, dict[str, JsonValue]], None] | None
    on_close: Callable[[TransportError | None], None] | None

    @classmethod
    async def connect(
        cls,
        host: str,
        port: int,
        *,
        timeout_s: float = 5.0,
        limits: TransportLimits | None = None,
    ) -> ClientConnection:
        """Open a connection.

        Raises:
            TransportError: no answer in time, refused, or not a qcore node; says which.
        """
        raise NotImplementedError

    @property
    def is_open(self) -> bool:
        raise NotImplementedError

    async def request(
        self,
        type_name: str,
        fields: Mapping[str, JsonValue] | None = None,
        *,
        timeout_s: float = 10.0,
    ) -> dict[str, JsonValue]:
        """Send `{type_name: {"id": ..., **fields}}` and return the reply's value.

        The value holds `id`, `response` and perhaps `detail`; an `Err` in `response` is returned, not
        raised: see `raise_for_error`.

        Raises:
            RemoteProtocolError: the node answered with an `Error` envelope; its text and detail.
            LocalProtocolError: the fields cannot be sent as JSON.
            OutcomeUnknown: no reply in time; the request may or may not have had effect.
            TransportError: the connection is closed (nothing was sent).
        """
        raise NotImplementedError

    async def close(self) -> None:
        """Close; requests still waiting fail."""
        raise NotImplementedError
