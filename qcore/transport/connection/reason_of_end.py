"""Why a connection ended, as the library's state shows it."""

from __future__ import annotations

from websockets.protocol import Protocol

from qcore.errors import TransportError


def reason_of_end(
    remote: str, ws: Protocol, lost: Exception | None, *, closed_here: bool
) -> TransportError | None:
    """Why the connection ended; None after an orderly close.

    Args:
        remote: the other end.
        ws: the state of the protocol.
        lost: the error of the transport.
        closed_here: whether this end began to close it.
    """
    if ws.parser_exc is not None and not isinstance(ws.parser_exc, EOFError):
        return TransportError(f"{remote} broke the protocol: {ws.parser_exc}")
    received = ws.close_rcvd
    if received is not None and received.code not in (1000, 1001, 1005):
        text = f"{int(received.code)} {received.reason}".rstrip()
        return TransportError(f"closed by {remote}: {text}")
    if received is not None or closed_here:
        return None
    return TransportError(f"connection to {remote} lost: {lost or 'end of stream'}")
