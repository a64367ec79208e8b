"""`SocketWire`: the WebSocket connection below a `ClientConnection`."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Protocol

from pydantic_core import from_json

from qcore.errors import TransportError
from qcore.runtime.interface import Runtime
from qcore.transport.address import Address
from qcore.transport.connection.outgoing import OutgoingConnection
from qcore.transport.limits import TransportLimits

logger = logging.getLogger("qcore.transport")


class WireOwner(Protocol):
    """What a wire calls."""

    def received(self, envelope: object) -> bool:
        """Handle one envelope. Returns False if the value is not an envelope."""
        ...

    def ended(self, error: TransportError | None) -> None:
        """The connection has ended; `error` is None after an orderly close."""
        ...


class SocketWire(OutgoingConnection):
    """The end of a client.

    Attributes:
        owner: gets the envelopes that arrive, and the end.
    """

    def __init__(
        self, address: Address, limits: TransportLimits, role: str | None, runtime: Runtime
    ) -> None:
        super().__init__(address, limits, role, runtime)
        self.owner: WireOwner | None = None

    def send_together(self, envelopes: Iterable[bytes]) -> None:
        """Send envelopes now, in as few frames as `batch_envelopes` makes of them."""
        self._flush_expected = True  # so that they wait for each other
        for envelope in envelopes:
            self.send_encoded(envelope)
        self._flush()

    def _frame_received(self, data: bytes | bytearray, is_text: bool) -> None:
        if self.owner is None:
            return  # no request was sent yet
        try:
            value = from_json(data) if is_text else None
        except ValueError as error:
            logger.warning("%s sent a frame that is not JSON: %s", self.remote, error)
            return
        invalid = 0
        for envelope in value if isinstance(value, list) else (value,):
            invalid += not self.owner.received(envelope)
        if invalid:  # one log line for all of them
            logger.warning("%s sent %d invalid envelopes: ignored", self.remote, invalid)

    def _closed(self, error: TransportError | None) -> None:
        super()._closed(error)
        if self.owner is not None:
            self.owner.ended(error)
