"""`MaskedClient`: the client's side of the WebSocket protocol. Its key and its masks come from the given entropy.

The library `websockets` draws both from the system's. A simulator needs the same frames in each run.
"""

from __future__ import annotations

import base64
import logging
from collections.abc import Callable
from typing import Final

from websockets.client import ClientProtocol
from websockets.frames import Frame
from websockets.uri import WebSocketURI

from qcore.transport.connection.text_frames import apply_mask, frame_head

_KEY_BYTES: Final = 16
_MASK_BYTES: Final = 4

#: The bits of the first two bytes of a frame (RFC 6455, section 5.2).
_FIN: Final = 0x80
_MASKED: Final = 0x80


def masked_frame(frame: Frame, mask: bytes) -> bytes:
    """The frame as a client sends it, with this mask of four bytes. Its reserved bits are 0.

    Raises:
        websockets.exceptions.ProtocolError: the frame is not allowed.
    """
    frame.check()
    first = _FIN | frame.opcode if frame.fin else int(frame.opcode)
    return b"".join(
        (frame_head(first, _MASKED, len(frame.data)), mask, apply_mask(frame.data, mask))
    )


class MaskedClient(ClientProtocol):
    """The client's side of one connection, without extensions.

    Args:
        uri: the node.
        random_bytes: returns so many random bytes.
        max_size: the largest message, bytes.
        logger: gets the library's lines.
    """

    def __init__(
        self,
        uri: WebSocketURI,
        random_bytes: Callable[[int], bytes],
        max_size: int,
        logger: logging.Logger,
    ) -> None:
        super().__init__(uri, max_size=max_size, logger=logger)
        self._random_bytes = random_bytes
        # In place of the one that the library has drawn.
        self.key = base64.b64encode(random_bytes(_KEY_BYTES)).decode()

    def send_frame(self, frame: Frame) -> None:
        """Queue a frame. The library calls this for every frame that it sends."""
        self.writes.append(masked_frame(frame, self.new_mask()))

    def new_mask(self) -> bytes:
        """The mask of the next frame."""
        return self._random_bytes(_MASK_BYTES)
