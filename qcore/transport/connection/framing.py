"""Batches envelopes into frames, and gives the sizes of frames and their memory."""

from __future__ import annotations

from websockets.frames import Frame
from websockets.protocol import Event

from qcore.errors import LocalProtocolError

#: The approximate size of an array frame, bytes: large enough that the cost of a frame does not matter, and small
#: enough that it does not delay a ping behind it.
BATCH_BYTES = 64 * 1024
BATCH_MESSAGES = 256

#: The memory of a parsed frame besides its data, at most, bytes.
_FRAME_BYTES = 200

#: The longest reason that fits into a close frame, bytes.
_MAX_REASON_BYTES = 123


def batch_envelopes(envelopes: list[bytes]) -> list[bytes]:
    """The texts of array frames that together hold these envelopes, in order."""
    texts: list[bytes] = []
    batch: list[bytes] = []
    size = 0
    for envelope in envelopes:
        if batch and (size + len(envelope) > BATCH_BYTES or len(batch) == BATCH_MESSAGES):
            texts.append(_batch_text(batch))
            batch, size = [], 0
        batch.append(envelope)
        size += len(envelope)
    if batch:
        texts.append(_batch_text(batch))
    return texts


def _batch_text(batch: list[bytes]) -> bytes:
    return batch[0] if len(batch) == 1 else b"[" + b",".join(batch) + b"]"


def check_size(envelope: bytes, most: int) -> None:
    """Raise `LocalProtocolError` if the envelope is larger than a frame may be."""
    if len(envelope) > most:
        raise LocalProtocolError(
            f"a message of {len(envelope)} bytes exceeds the limit of a frame, {most} bytes"
        )


def clip_reason(reason: str) -> str:
    """The part of a reason that fits into a close frame."""
    return reason.encode(errors="replace")[:_MAX_REASON_BYTES].decode(errors="ignore")


def allocated(buffer: bytearray | None) -> int:
    """The memory of a growing buffer, which is up to an eighth more than its content."""
    return buffer.__alloc__() if buffer else 0


def memory_of(event: Event) -> int:
    """The memory that a parsed frame holds, bytes; 0 for other events."""
    return len(event.data) + _FRAME_BYTES if isinstance(event, Frame) else 0
