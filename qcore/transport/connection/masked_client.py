"""`MaskedClient`: the client's side of the WebSocket protocol. Its key and its masks come from the given entropy.

The library `websockets` draws both from the system's. A simulator needs the same frames in each run.
"""

from __future__ import annotations

import base64
import logging
import struct
from collections.abc import Callable
from typing import Final

from websockets.client import ClientProtocol
from websockets.frames import Frame
from websockets.uri import WebSocketURI

try:
    from websockets.speedups import apply_mask
except ImportError:  # the library was installed without a compiler
    from websockets.utils import apply_mask

_KEY_BYTES: Final = 16
_MASK_BYTES: Final = 4

#: The bits of the first two bytes of a frame (RFC 6455, section 5.2).
_FIN: Final = 0x80
_MASKED: Final = 0x80
#: In place of a length: two or eight bytes with the length follow.
_LENGTH_16, _LENGTH_64 = 126, 127

_SHORT: Final = struct.Struct("!BB")
_MEDIUM: Final = struct.Struct("!BBH")
_LONG: Final = struct.Struct("!BBQ")


def masked_frame(frame: Frame, mask: bytes) -> bytes:
    """The frame as a client sends it, with this mask of four bytes. Its reserved bits are 0.

    Raises:
        websockets.exceptions.ProtocolError: the frame is not allowed.
    """
    frame.check()
    data = frame.data
    first = _FIN | frame.opcode if frame.fin else int(frame.opcode)
    length = len(data)
    if length < _LENGTH_16:
        head = _SHORT.pack(first, _MASKED | length)
    elif length < 1 << 16:
        head = _MEDIUM.pack(first, _MASKED | _LENGTH_16, length)
    else:
        head = _LONG.pack(first, _MASKED | _LENGTH_64, length)
    return b"".join((head, mask, apply_mask(data, mask)))


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
        self.writes.append(masked_frame(frame, self._random_bytes(_MASK_BYTES)))
