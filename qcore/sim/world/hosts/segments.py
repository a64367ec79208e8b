"""`Segment`: what the TCP of one computer sends to that of another, over one link of the simulated network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

#: The largest part of a stream in one segment, bytes: an Ethernet frame of 9,000 bytes, as data centres use them.
SEGMENT_BYTES: Final = 8948
#: The headers of Ethernet, IP and TCP, with time stamps.
HEADER_BYTES: Final = 66


@dataclass(slots=True, frozen=True)
class Segment:
    """One TCP segment. Sequence numbers are plain integers, which do not wrap.

    Attributes:
        source_port, target_port: the ends of the connection, together with the ends of the link.
        seq: the number of the first byte, or of the flag SYN or FIN.
        ack: the number of the next byte that the sender expects; None if it does not acknowledge.
        window: how many bytes from `ack` on the sender has room for.
        data: a part of the stream.
        syn, fin, rst: begins the stream; ends it; breaks the connection.
    """

    source_port: int
    target_port: int
    seq: int
    ack: int | None
    window: int
    data: bytes = b""
    syn: bool = False
    fin: bool = False
    rst: bool = False

    @property
    def size_bytes(self) -> int:
        """The size on the wire."""
        return HEADER_BYTES + len(self.data)

    @property
    def flags(self) -> str:
        """The flags and the kind of the content, in short, for traces."""
        named = [
            name for name, is_set in (("S", self.syn), ("F", self.fin), ("R", self.rst)) if is_set
        ]
        return "".join(named) + ("A" if self.ack is not None else "") + ("D" if self.data else "")

    def trace_id(self, sender: int) -> str:
        """What a trace calls a lost segment: its sender, ports and numbers.

        A segment that TCP sends again has the same name.
        """
        return f"tcp-{sender}-{self.source_port}-{self.target_port}-{self.seq}{self.flags}"
