"""Frames to messages and back: strict validation, once, at the edge."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from qcore.transport.wire import Error


@dataclass(slots=True)
class Malformed:
    """An envelope that could not be understood.

    Attributes:
        reply: what to answer: the sender's id if it could be read, else a fresh one, and a text that
            names the field.
        type_name: the envelope's key if it names a known type, else None.
    """

    reply: Error
    type_name: str | None = None


class Codec:
    """Decodes and encodes frames of the message types it was given.

    Args:
        registry: name on the wire -> dataclass with an `id: str` field. See `wire.REGISTRY`.
    """

    def __init__(self, registry: Mapping[str, type]) -> None:
        raise NotImplementedError

    def decode(self, data: bytes | bytearray, *, check_duplicates: bool = True) -> list[object]:
        """The messages of one text frame, in order; `Malformed` in the place of each bad envelope.

        Never raises, whatever `data` is.

        Args:
            data: the frame's payload.
            check_duplicates: refuse objects with a key twice (else the last one counts).
        """
        raise NotImplementedError

    def encode(self, message: object) -> bytes:
        """The envelope of a message of a registered class, as JSON.

        Raises:
            qcore.errors.LocalProtocolError: the class is not registered, or a value cannot be sent.
        """
        raise NotImplementedError


def encode_reply(name: str, message_id: str, response_json: str) -> bytes:
    """`{name: {"id": message_id, "response": ...}}` around a response that is JSON text already."""
    raise NotImplementedError
