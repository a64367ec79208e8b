"""Reads and writes whole text frames, which nearly all frames are, without the library's parser and its objects.

The library `websockets` gets all other bytes: control frames, fragments, partial frames, and everything that is wrong.
"""

from __future__ import annotations

import struct
from typing import Final

try:
    from websockets.speedups import apply_mask
except ImportError:  # the library was installed without a compiler
    from websockets.utils import apply_mask

#: The first byte of a whole text frame: it is final, has no reserved bits, and the opcode 1 (RFC 6455, section 5.2).
_WHOLE_TEXT: Final = 0x81
_MASKED: Final = 0x80
#: In place of a length: two or eight bytes with the length follow.
_LENGTH_16: Final = 126
_LENGTH_64: Final = 127

_SHORT: Final = struct.Struct("!BB")
_MEDIUM: Final = struct.Struct("!BBH")
_LONG: Final = struct.Struct("!BBQ")


def take_texts(data: bytes, masked: bool, most: int | None) -> tuple[list[bytes], int]:
    """The texts of the whole text frames with which `data` begins, and how many bytes these frames are.

    Args:
        data: begins with a frame that is no part of a fragmented message.
        masked: whether the frames must be masked. It ends at one that is not as it must be.
        most: the largest text, bytes; None for any. It ends at a larger one.
    """
    texts: list[bytes] = []
    size, begin = len(data), 0
    mask = _MASKED if masked else 0
    while begin + 2 <= size and data[begin] == _WHOLE_TEXT:
        length = data[begin + 1] ^ mask
        at = begin + 2
        if length == _LENGTH_16:
            at += 2
            length = int.from_bytes(data[begin + 2 : at], "big")
        elif length == _LENGTH_64:
            at += 8
            length = int.from_bytes(data[begin + 2 : at], "big")
        elif length > _LENGTH_64:
            break  # it is masked and must not be, or the other way
        if masked:
            at += 4
        end = at + length
        if end > size or (most is not None and length > most):
            break
        text = data[at:end]
        texts.append(apply_mask(text, data[at - 4 : at]) if masked else text)
        begin = end
    return texts, begin


def text_frame(text: bytes) -> bytes:
    """The frame of a text, as a server sends it."""
    length = len(text)
    if length < _LENGTH_16:
        return _SHORT.pack(_WHOLE_TEXT, length) + text
    if length < 1 << 16:
        return _MEDIUM.pack(_WHOLE_TEXT, _LENGTH_16, length) + text
    return _LONG.pack(_WHOLE_TEXT, _LENGTH_64, length) + text


def masked_text_frame(text: bytes, mask: bytes) -> bytes:
    """The frame of a text, as a client sends it, with this mask of four bytes."""
    return frame_head(_WHOLE_TEXT, _MASKED, len(text)) + mask + apply_mask(text, mask)


def frame_head(first: int, masked: int, length: int) -> bytes:
    """What comes before the mask and the data of a frame.

    Args:
        first: the first byte.
        masked: 128 if the frame is masked, else 0.
        length: of the data.
    """
    if length < _LENGTH_16:
        return _SHORT.pack(first, masked | length)
    if length < 1 << 16:
        return _MEDIUM.pack(first, masked | _LENGTH_16, length)
    return _LONG.pack(first, masked | _LENGTH_64, length)


__all__ = ["apply_mask", "frame_head", "masked_text_frame", "take_texts", "text_frame"]
