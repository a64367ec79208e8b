"""Whole text frames are read and written as the library reads and writes them; it gets everything else."""

from __future__ import annotations

import secrets
from unittest import mock

from hypothesis import given
from hypothesis import strategies as st
from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.protocol import OPEN, Protocol
from websockets.server import ServerProtocol
from websockets.uri import parse_uri

from qcore.transport.connection.text_frames import masked_text_frame, take_texts, text_frame

MOST = 70_000
SIZES = st.sampled_from([0, 1, 125, 126, 127, 65535, 65536, MOST, MOST + 1])
FRAMES = st.builds(
    Frame,
    st.sampled_from([Opcode.TEXT, Opcode.TEXT, Opcode.TEXT, Opcode.BINARY, Opcode.PING]),
    st.binary(max_size=8) | SIZES.map(bytes),
    fin=st.sampled_from([True, True, True, False]),
    rsv1=st.sampled_from([False, False, False, True]),
)


def protocol(masked: bool) -> Protocol:
    """The library's end that reads such frames."""
    end: Protocol = (
        ServerProtocol(max_size=MOST)
        if masked
        else ClientProtocol(parse_uri("ws://h/"), max_size=MOST)
    )
    end.state = OPEN
    end.parser = end.parse()
    next(end.parser)
    return end


def raw(frame: Frame, masked: bool) -> bytes:
    """The bytes of a frame, valid or not."""
    with mock.patch.object(Frame, "check"):
        return frame.serialize(mask=masked)


@given(st.lists(FRAMES, max_size=5), st.booleans(), st.booleans(), st.data())
def test_what_is_taken_is_what_the_library_reads(
    frames: list[Frame], masked: bool, sent_masked: bool, data: st.DataObject
) -> None:
    sent = b"".join(raw(frame, sent_masked) for frame in frames)
    sent = sent[: data.draw(st.integers(0, len(sent)))] if data.draw(st.booleans()) else sent
    whole, rest = protocol(masked), protocol(masked)
    texts, used = take_texts(sent, masked, MOST)
    with mock.patch.object(secrets, "token_bytes", return_value=bytes(4)):  # for what it answers
        whole.receive_data(sent)
        rest.receive_data(sent[used:])
    found = [Frame(Opcode.TEXT, text) for text in texts] + rest.events_received()
    assert found == whole.events_received()
    assert rest.data_to_send() == whole.data_to_send()
    assert (rest.state, repr(rest.parser_exc)) == (whole.state, repr(whole.parser_exc))


@given(st.lists(st.binary(max_size=200), min_size=1, max_size=9), st.booleans())
def test_all_whole_texts_are_taken(texts: list[bytes], masked: bool) -> None:
    sent = b"".join(raw(Frame(Opcode.TEXT, text), masked) for text in texts)
    assert take_texts(sent, masked, 200) == (texts, len(sent))


@given(SIZES, st.binary(min_size=4, max_size=4))
def test_the_frame_of_a_text_is_that_of_the_library(size: int, mask: bytes) -> None:
    text = bytes(n % 251 for n in range(size))
    frame = Frame(Opcode.TEXT, text)
    assert text_frame(text) == frame.serialize(mask=False)
    with mock.patch.object(secrets, "token_bytes", return_value=mask):
        assert masked_text_frame(text, mask) == frame.serialize(mask=True)
